"""Small files in the published formats, one writer for each kind."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.helmet import DATASETS

QUESTIONS = 5
LENGTH = 8_192


def lines(path: Path, records: Sequence[object]) -> None:
    """A JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def ruler(path: Path, values: int) -> None:
    """Needles among numbered sentences."""
    records = []
    for index in range(QUESTIONS):
        key, noise = f"quiet-harbor-{index}", [f"Note {n} of {index} says nothing." for n in range(40)]
        answers = [f"{index}{value}77{index}" for value in range(values)]
        for value, answer in enumerate(answers):
            noise.insert(7 + 9 * value + index, f"One of the special magic numbers for {key} is: {answer}.")
        records.append({"index": index, "query": key, "type_needle_v": "numbers", "context": "\n".join(noise), "outputs": answers})
    lines(path, records)


def json_kv(path: Path) -> None:
    """Random keys and values, laid out as the benchmark does."""
    records = []
    for index in range(QUESTIONS):
        pairs = [(str(UUID(int=index * 1_000 + n)), str(UUID(int=10**9 + index * 1_000 + n))) for n in range(30)]
        context = "{" + ",\n ".join(f'"{key}": "{value}"' for key, value in pairs) + "}"
        key, value = pairs[10 + index]
        records.append({"context": context, "question": key, "answer": value, "demos": [list(pair) for pair in pairs[:3]], "num_kvs": 30})
    lines(path, records)


def kilt(path: Path, depths: int, passages: int, prefix: str) -> None:
    """Each question at every depth; odd questions are about famous things."""
    records = []
    for index in range(QUESTIONS):
        for depth in range(depths):
            gold = depth * (passages - 1) // max(1, depths - 1)
            ctxs = [
                {"title": f"Page {n}", "text": f"Nothing of note {n} {{braces}}.", "has_answer": False, "score": 1.0}
                for n in range(passages)
            ]
            ctxs[gold] = {"title": f"Town {index}", "text": f"The mayor of {prefix} town {index} is Ada {index}.", "has_answer": True}
            question = f"who is the mayor of {prefix} town {index}"
            record = {"id": f"{prefix}-{index}", "question": question, "answers": [f"Ada {index}", f"A. {index}"], "ctxs": ctxs}
            records.append({**record, "s_pop": 90 + index if index % 2 == 0 else 20_000})
    lines(path, records)


def nq(path: Path, depths: int, passages: int, prefix: str) -> None:
    """As :func:`kilt`, without identifiers."""
    kilt(path, depths, passages, prefix)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    lines(path, [{key: value for key, value in record.items() if key not in ("id", "s_pop")} for record in records])


def msmarco(path: Path, passages: int, first: int = 0) -> None:
    """Queries with graded passages, at three depths."""
    records = []
    for index in range(first, first + QUESTIONS):
        for depth in range(3):
            ctxs = [
                {"id": str(1_000 * index + n), "text": f"Passage {n} on subject {index}.", "label": (n + depth) % passages}
                for n in range(passages)
            ]
            for ctx in ctxs:
                ctx["label"] = int(str(ctx["label"])) if int(str(ctx["label"])) < 4 else 0
            records.append({"qid": str(500 + index), "query": f"what is subject {index}", "ctxs": ctxs})
    lines(path, records)


def alce(path: Path, kind: str) -> None:
    """One array with more documents than any length of the tests shows."""
    records: list[Mapping[str, object]] = []
    for index in range(QUESTIONS):
        docs = [{"id": str(n), "title": f"Page {n}", "text": f"Fact {n} of question {index} – é.", "score": "1.0"} for n in range(60)]
        facts = [[f"Fact 3 of question {index}", "fact three"], [f"Fact 5 of question {index}"]]
        record = {"question": f"Fact of question {index}?", "docs": docs, "sample_id": str(index)}
        if kind == "asqa":
            notes = [{"knowledge": [], "long_answer": f"Facts 3 and 5 of {index}."}]
            records.append({**record, "qa_pairs": [{"question": "?", "short_answers": fact} for fact in facts], "annotations": notes})
        else:
            records.append({**record, "answers": facts})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records, indent=4, ensure_ascii=False))


def icl(path: Path, columns: Mapping[str, int], rows: int, prefix: str) -> None:
    """Texts whose classes take turns; ``columns`` are the label columns with their number of classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [f"{prefix} text {row}" for row in range(rows)]
    pq.write_table(pa.table({"text": texts, **{name: [row % n for row in range(rows)] for name, n in columns.items()}}), path)


def _kilt_files(name: str, write: Callable[[Path, int, int, str], None]) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        dataset = DATASETS[name]
        write(root / dataset.test_file(LENGTH).path, dataset.depths, 12, name)
        write(root / dataset.train, dataset.depths, 3, name if name == "kilt_popqa_3" else f"train-{name}")

    return make


def _trec(root: Path) -> None:
    for part, rows in (("train", 300), ("test", 20)):
        icl(root / f"icl/trec/{part}.parquet", {"coarse_label": 6, "fine_label": 50}, rows, part)


def _rerank(root: Path) -> None:
    msmarco(root / "msmarco/test_reranking_data_k50_dep3.jsonl", 12)
    msmarco(root / "msmarco/test_reranking_data_k10_dep3.jsonl", 4)


def _simple(name: str, part: str, label: str, classes: int) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        icl(root / f"icl/{name}/train.parquet", {label: classes}, 8 * classes, "train")
        if part != "train":
            icl(root / f"icl/{name}/{part}.parquet", {label: classes}, 20, part)

    return make


#: Dataset -> writes the files it needs at 8K.
MAKERS: Mapping[str, Callable[[Path], None]] = {
    "ruler_niah_mk_2": lambda root: ruler(root / "ruler/niah_multikey_2/validation_8192.jsonl", 1),
    "ruler_niah_mk_3": lambda root: ruler(root / "ruler/niah_multikey_3/validation_8192.jsonl", 1),
    "ruler_niah_mv": lambda root: ruler(root / "ruler/niah_multivalue/validation_8192.jsonl", 3),
    "json_kv": lambda root: json_kv(root / "json_kv/test_k105_dep6.jsonl"),
    "kilt_nq": _kilt_files("kilt_nq", nq),
    "kilt_triviaqa": _kilt_files("kilt_triviaqa", kilt),
    "kilt_hotpotqa": _kilt_files("kilt_hotpotqa", kilt),
    "kilt_popqa_3": _kilt_files("kilt_popqa_3", kilt),
    "alce_asqa": lambda root: alce(root / "alce/asqa_eval_gtr_top2000.json", "asqa"),
    "alce_qampari": lambda root: alce(root / "alce/qampari_eval_gtr_top2000.json", "qampari"),
    "msmarco_rerank_psg": _rerank,
    "icl_trec_coarse": _trec,
    "icl_trec_fine": _trec,
    "icl_banking77": _simple("banking77", "test", "label", 77),
    "icl_clinic150": _simple("clinc_oos", "validation", "intent", 151),
    "icl_nlu": _simple("nlu", "train", "label", 68),
}

#: What HELMET's checkout looks like to a reader of its templates: the same shape, other words.
DATA_PY = """
raise RuntimeError("this file is parsed and never run")

def load_qa(dataset, path, demo_path, shots=0):
    if "nq_bad" in dataset:
        user_template = "WRONG {context} {question}"
    else:
        user_template = "QA please.\\n\\n{demos}{context}\\n\\nQ: {question}"
    system_template = "Answer:"
    prompt_template = user_template + "\\n" + system_template
    if path.endswith(".json"):
        data = None
    demo_template = "{documents}\\n\\nQ: {question}\\nAnswer: {answer}"
    passage_template = "Doc (Title: {title}): {text}"

def load_json_kv(path, shots):
    user_template = "{context}\\n\\nLook it up.\\n\\n{demos}Key: {question}"
    system_template = "Corresponding value:"
    demo_template = "Key: {key}\\nCorresponding value:{value}"

def load_msmarco_rerank(path):
    user_template = "Rank.\\n\\n{demos}{context}\\n\\nQuery: {question}"
    system_template = "Ranking:"
    def update(sample, demos):
        passage_template = "[ID: {id}] D (Title: {title}): {text}" if "title" in sample["ctxs"][0] else "[ID: {id}] D: {text}"
        for d in demos:
            demo_text += "\\n\\n".join([]) + f"\\n\\nQuery: {d['query']}\\nRanking: {ranking}" + "\\n\\n"

def load_icl(dataset):
    if "trec_fine" in dataset.lower():
        num_labels = 50
    item_template = "{text}\\nlabel: {label}"
    user_template = "Label it. Only \\"label: {{label}}\\".\\n\\n{context}\\n\\n{question}"
    system_template = "label:"

def load_ruler(dataset, path):
    user_template = "{context}\\n\\n{question}"
    system_template = "Answer:"
    if "niah_mv" in dataset or "niah_mq" in dataset:
        user_template = "Magic {type_needle_v} hide.\\n{context}\\nAll {type_needle_v} for {query}?"
        system_template = "The {type_needle_v} for {query} are"
    elif "niah" in dataset:
        user_template = "A magic {type_needle_v} hides.\\n{context}\\nThe {type_needle_v} for {query}?"
        system_template = "The {type_needle_v} for {query} is"
    elif "vt" in dataset:
        user_template = "{example}WRONG {context}"

def load_alce(dataset, path):
    user_template = "{demo_text}{instruction}\\n\\nQuestion: {question}\\n\\n{context}"
    system_template = "Answer:"

def truncate_llama2(dataset, data, postfix_text=" ... [cut]"):
    raise NotImplementedError

def load_narrativeqa(dataset, shots=0):
    user_template = "A story.\\n\\n{demo}{context}\\n\\nQ: {question}"
    system_template = "Answer:"
    prompt_template = user_template + "\\n" + system_template
    data = data.map(lambda example: {
        "demo": "" if shots == 0 else "So:\\n\\n"
        + "\\n\\n".join([f"Q: {ex['question']['text']}\\nA: {ex['answers'][0]['text']}" for ex in train]) + "\\n\\nNow:\\n\\n",
    })

def load_multi_lexsum(dataset, shots=0):
    user_template = "A case.\\n\\n{demo}{context}\\n\\nSummarize."
    system_template = "Summary:"
    prompt_template = user_template + "\\n\\n" + system_template
    data = data.map(lambda x: {
        "context": "\\n\\n".join(x["sources"]),
        "demo": "" if shots == 0 else "So:\\n\\n" + "\\n\\n".join(["S: {}".format(ex["summary/short"]) for ex in train]) + "\\n\\nNow.\\n",
    })

def load_infbench(dataset, shots=0):
    if "qa_eng" in dataset:
        user_template = "A book.\\n\\n{demo}{context}\\n\\nQ: {question}"
        system_template = "Answer:"
    elif "choice_eng" in dataset:
        user_template = "A book, a choice.\\n\\n{demo}{context}\\n\\nQ: {question}\\n{options}"
        system_template = "Answer:"
    elif "sum_eng" in dataset:
        user_template = "Summarize.\\n\\n{demo}{context}\\n\\nNow."
        system_template = "Summary:"
    prompt_template = user_template + "\\n\\n" + system_template
    def add_demos(example):
        if "qa_eng" in dataset:
            temp = "[text]\\nQ: {question}\\nA: {answer[0]}"
            demo = "\\n\\n".join([temp.format(**x) for x in demos])
        elif "choice_eng" in dataset:
            temp = "[text]\\nQ: {question}\\n{options}\\nA: {answer[0]}"
            demo = "\\n\\n".join([temp.format(**x) for x in demos])
        elif "sum_eng" in dataset:
            demo = "\\n\\n".join([f"[text]\\nS: {x['answer'][0].strip()}" for x in demos])
        return {"demo": f"So:\\n\\n{demo}\\n\\nRead:\\n\\n"}
"""


def checkout(root: Path) -> Path:
    """A checkout of the benchmark with templates of its shape."""
    (root / "prompts").mkdir(parents=True)
    (root / "data.py").write_text(DATA_PY)
    for kind in ("asqa", "qampari"):
        docs = [{"title": f"T{n}", "text": f"text {n}"} for n in range(2)]
        prompt = {
            "instruction": f"Instruction: cite ({kind}).",
            "demo_sep": "\n\n\n",
            "demo_prompt": "{instruction}\n\nQuestion: {question}\n\n{context}\n\nAnswer: {answer}",
            "doc_prompt": "Document [{ID}](Title: {title}): {text}",
            "demos": [{"question": f"q{n}?", "answer": f"a{n} [1].", "docs": docs} for n in range(4)],
        }
        (root / f"prompts/{kind}_revised.json").write_text(json.dumps(prompt))
    return root
