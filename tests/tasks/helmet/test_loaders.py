"""Every published set, from small files of its format."""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.build import BudgetError
from tasks.example import Example
from tasks.helmet import DATASETS, LENGTHS, DataError, examples, select
from tasks.helmet.catalog import HUB_PARQUET, files
from tasks.helmet.icl import Row
from tasks.helmet.selection import permutation, split
from tasks.references import Reference
from tasks.remarks import MOVED
from tests.tasks.helmet.published import LENGTH, MAKERS, QUESTIONS, lines


def count(prompt: str, prefix: str) -> int:
    """A tokenizer good enough for tests: words and signs."""
    return len(re.findall(r"\w+|[^\w\s]", prompt + prefix))


def load(name: str, root: Path, n: int | None = None, seed: int = 42, length: int = LENGTH) -> list[Example]:
    MAKERS[name](root)
    return list(examples(DATASETS[name], length, [root], count, examples=n, seed=seed))


def answerable(example: Example) -> bool:
    """Whether the gold is in the prompt: one of its names where they are alternatives."""
    if example.category in ("icl", "cite"):
        return True
    return (any if example.category == "rag" else all)(target in example.prompt for target in example.targets)


def test_there_are_sixteen_sets_and_the_tests_make_files_for_each() -> None:
    assert len(DATASETS) == 16
    assert list(MAKERS) == list(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_every_set_loads(name: str, tmp_path: Path) -> None:
    dataset, made = DATASETS[name], load(name, tmp_path)
    assert made
    assert len({example.id for example in made}) == len(made)
    for example in made:
        assert (example.task, example.category, example.length) == (name, dataset.category, LENGTH)
        assert example.targets
        assert count(example.prompt, example.answer_prefix) + dataset.max_new_tokens <= LENGTH
        assert example.meta["dropped_passages"] == example.meta["dropped_tokens"] == 0
        assert "{" not in example.answer_prefix
        json.dumps(dict(example.meta))  # the samples table keeps it
        assert answerable(example)


@pytest.mark.parametrize("name", DATASETS)
def test_the_same_seed_gives_the_same_examples_and_another_seed_others(name: str, tmp_path: Path) -> None:
    first, again, other = (load(name, tmp_path, 2, seed) for seed in (42, 42, 7))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", DATASETS)
def test_the_limit_is_on_questions(name: str, tmp_path: Path) -> None:
    made = load(name, tmp_path, 2)
    assert len({example.cluster for example in made}) == 2
    assert set(Counter(example.cluster for example in made).values()) == {DATASETS[name].depths}


def test_the_selection_is_helmets_own() -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"n": list(range(53))})
    assert permutation(53, 42) == rows.shuffle(seed=42)["n"][:]
    train, test = split(53, 0.1, 42)
    halves = rows.train_test_split(test_size=0.1, seed=42)
    assert (train, test) == (halves["train"]["n"][:], halves["test"]["n"][:])


def test_kilt_questions_are_sampled_as_helmet_samples_them(tmp_path: Path) -> None:
    random.seed(42)
    keys = random.sample(sorted({f"kilt_triviaqa-{index}" for index in range(QUESTIONS)}), 2)
    made = load("kilt_triviaqa", tmp_path, 2)
    assert {example.meta["question"] for example in made} == {f"who is the mayor of kilt_triviaqa town {key[-1]}" for key in keys}


@pytest.mark.parametrize("name", ["kilt_popqa_3", "msmarco_rerank_psg"])
@pytest.mark.parametrize("kind", [int, str])
def test_identifiers_are_sorted_as_what_they_are(name: str, kind: type[int | str], tmp_path: Path) -> None:
    """PopQA's are numbers: 200000 stands before 1000000. As texts it is the other way round, and other questions are drawn."""
    MAKERS[name](tmp_path)
    dataset, field = DATASETS[name], "id" if name == "kilt_popqa_3" else "qid"
    names = [kind(number) for number in (1_000_000, 200_000, 30_000, 100, 4_500)]
    for path in (dataset.test_file(LENGTH).path, dataset.train):
        records = [json.loads(line) for line in (tmp_path / path).read_text().splitlines()]
        lines(tmp_path / path, [{**record, field: names[int(str(record[field])[-1]) % 5], "s_pop": 7} for record in records])
    asked = random.Random(42).sample(sorted(set(names)), 2)
    made = list(examples(dataset, LENGTH, [tmp_path], count, examples=2))
    clusters = {f"{name}-{sha256(str(key).encode()).hexdigest()[:12]}" for key in asked}
    assert {example.cluster for example in made} == clusters


def test_popqa_asks_about_rare_things_only_and_never_shows_the_question_as_a_worked_example(tmp_path: Path) -> None:
    made = load("kilt_popqa_3", tmp_path)
    assert {int(str(example.meta["question"])[-1]) for example in made} == {0, 2, 4}
    for example in made:
        demos = re.findall(r"Question: (.*)\nAnswer: Ada", example.prompt)
        assert len(set(demos)) == 2
        assert example.meta["question"] not in demos


def test_rag_shows_two_worked_examples_of_three_passages_and_tells_the_depth(tmp_path: Path) -> None:
    made = load("kilt_nq", tmp_path)
    for example in made:
        assert example.prompt.count("\nAnswer: Ada") == 2
        assert example.prompt.count("Document (Title:") == 12 + 2 * 3
        assert "{braces}" in example.prompt
    depths = [example.depth for example in made if example.cluster == made[0].cluster]
    assert depths == sorted(depths)
    assert depths[0] == 0.0
    assert 0.85 < depths[-1] < 1.0


def test_a_question_is_one_cluster_at_every_length(tmp_path: Path) -> None:
    MAKERS["kilt_nq"](tmp_path)
    folder = tmp_path / "kilt"
    (folder / "nq-dev-multikilt_1000_k105_dep6.jsonl").write_bytes((folder / "nq-dev-multikilt_1000_k50_dep6.jsonl").read_bytes())
    short, long = (list(examples(DATASETS["kilt_nq"], length, [tmp_path], count, examples=3)) for length in (8_192, 16_384))
    assert [example.cluster for example in short] == [example.cluster for example in long]
    assert not {example.id for example in short} & {example.id for example in long}


def test_ruler(tmp_path: Path) -> None:
    single, several = load("ruler_niah_mk_2", tmp_path)[0], load("ruler_niah_mv", tmp_path)[0]
    assert single.answer_prefix == f"\nThe special magic numbers for {single.meta['query']} is"
    assert 0.1 < single.depth < 0.4
    assert len(several.targets) == 3
    assert math.isnan(several.depth)


def test_json_kv_shows_its_context_as_it_is(tmp_path: Path) -> None:
    example = load("json_kv", tmp_path)[0]
    context, tail = example.prompt.split("\n\n", 1)
    assert json.loads(context)[example.meta["question"]] == example.targets[0]
    assert tail.count("Corresponding value: ") == 2


def framed(root: Path) -> None:
    """JSON KV with a frame around its pairs, as it is published, and worked examples from all over the object."""
    MAKERS["json_kv"](root)
    (path,) = root.rglob("test_k105*")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        pairs = json.loads(record["context"])
        record["context"] = f"JSON data:\n{json.dumps(pairs, indent=4)}\n\nThat is all."
        record["demos"] = [list(pair) for pair in (list(pairs.items())[at] for at in (-1, 20, 25))]
    lines(path, records)


@pytest.mark.parametrize("reference", [None, "ceiling", "floor"])
def test_json_kv_is_cut_inside_its_text(reference: Reference | None, tmp_path: Path) -> None:
    """Its frame stays, and the pairs that are asked about, in the worked examples too."""
    framed(tmp_path)
    whole = list(examples(DATASETS["json_kv"], LENGTH, [tmp_path], count))

    def wasteful(prompt: str, prefix: str) -> int:
        return 14 * count(prompt, prefix)

    cut = list(examples(DATASETS["json_kv"], LENGTH, [tmp_path], wasteful, reference=reference))
    assert all(example.meta["dropped_passages"] or reference for example in cut)
    for example, before in zip(cut, whole, strict=True):
        start, rest = example.prompt.split('"', 1)
        assert start == "JSON data:\n{\n    " == before.prompt.split('"', 1)[0]
        inside, frame, tail = rest.partition("\n}\n\nThat is all.\n\n")
        assert frame
        assert tail == before.prompt.partition(frame)[2]
        pairs = json.loads('{"' + inside + "}")
        assert json.dumps(pairs, indent=4)[7:-2] == inside
        asked = re.findall(r"Key: (\S+)\nCorresponding value: (\S+)", tail)
        assert len(asked) == 2
        assert all(pairs[key] == value for key, value in asked)
        assert (pairs.get(before.meta["question"]) == before.targets[0]) == (reference != "floor")
        if reference:
            assert len(pairs) == 3


def test_cite_shows_as_many_documents_as_the_length_has(tmp_path: Path) -> None:
    for name in ("alce_asqa", "alce_qampari"):
        example = load(name, tmp_path)[0]
        asked = example.prompt.rsplit("Question: ", 1)[1]
        assert re.findall(r"Document \[(\d+)\]", asked) == [str(number) for number in range(1, 31)]
        docs = example.meta["docs"]
        assert isinstance(docs, list)
        assert (len(docs), example.meta["documents"]) == (30, 60)
        assert example.prompt.count("Question: ") == 3
        assert len(example.targets) == 2
        assert "[4]" in example.answer
        assert "[6]" in example.answer
    assert "qa_pairs" in load("alce_asqa", tmp_path)[0].meta
    assert load("alce_asqa", tmp_path)[0].meta["annotations"]
    assert "answers" in load("alce_qampari", tmp_path)[0].meta


def test_rerank_grades_and_ranks(tmp_path: Path) -> None:
    for example in load("msmarco_rerank_psg", tmp_path):
        grades = example.meta["grades"]
        assert isinstance(grades, dict)
        ranked = [grades[name] for name in example.answer.split(" > ")]
        assert ranked == sorted(ranked, reverse=True)
        assert [grades[name] for name in example.targets] == [3, 2, 1]
        assert example.meta["qrel"] == [[name, str(grade)] for name, grade in grades.items()]
        assert example.prompt.count("\nRanking: ") == 2 + 1  # two worked examples, and the form
        assert example.prompt.count(str(example.meta["query"])) == 1


@pytest.mark.parametrize("name", [name for name in DATASETS if name.startswith("icl")])
def test_icl_is_balanced_and_labels_are_numbers_that_its_shots_tell(name: str, tmp_path: Path) -> None:
    dataset = DATASETS[name]
    for example in load(name, tmp_path, 3):
        labels = re.findall(r"label: (\d+)\n", example.prompt)
        assert len(labels) == dataset.size(LENGTH)
        times = Counter(labels)
        assert len(times) == dataset.classes
        assert max(times.values()) - min(times.values()) <= 1
        assert example.targets[0] in times
        assert example.prompt.endswith(f"\n\n{example.meta['question']}")
        assert example.answer_prefix == "\nlabel:"


def drawn(rows: Sequence[Row], n: int, seed: int) -> list[Row]:
    """HELMET's balanced draw, told from its rules: every class in each round, what a class lacks drawn again."""
    rng, classes = random.Random(seed), list(dict.fromkeys(label for _, label in rows))
    rounds = math.ceil(n / len(classes))
    columns = []
    for label in classes:
        mine = [row for row in rows if row[1] == label]
        picks = rng.sample(mine, rounds % len(mine))
        while len(picks) < rounds:
            picks += rng.sample(mine, min(rounds - len(picks), len(mine)))
        columns.append(picks)
    lines = [list(line) for line in zip(*columns, strict=True)]
    for line in lines:
        rng.shuffle(line)
    return [row for line in lines for row in line][:n]


def skewed(root: Path) -> tuple[list[Row], list[Row]]:
    """Write TREC with classes of many sizes; (training, test) rows with the fine label."""
    found = []
    for part, rows in (("train", 130), ("test", 60)):
        labels = [min(49, row * row // 70) for row in range(rows)]
        random.Random(part).shuffle(labels)
        texts = [f"{part} text {row}" for row in range(rows)]
        path = root / f"icl/trec/{part}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": texts, "fine_label": labels, "coarse_label": [label // 9 for label in labels]}), path)
        found.append(list(zip(texts, labels, strict=True)))
    return found[0], found[1]


def test_icl_asks_and_shows_what_helmet_does(tmp_path: Path) -> None:
    train, test = skewed(tmp_path)
    made = list(examples(DATASETS["icl_trec_fine"], LENGTH, [tmp_path], count, examples=40))
    shuffled = [test[int(index)] for index in np.random.default_rng(42).permutation(len(test))]
    assert [(example.meta["question"], example.meta["class"]) for example in made] == drawn(shuffled, 40, 42)
    for example in made:
        question = str(example.meta["question"])
        seed = (int(sha256(question.encode()).hexdigest(), 16) + 42) % 2**31
        names = list(range(50))
        random.Random(seed).shuffle(names)
        shots = [f"{text}\nlabel: {names[label]}" for text, label in drawn(train, 400, seed)]
        assert example.prompt.endswith("\n\n".join([*shots, question]))
        assert example.targets == (str(names[int(str(example.meta["class"]))]),)


def test_icl_asks_rare_classes_again_and_again(tmp_path: Path) -> None:
    """As HELMET does. Such examples are one cluster, and have names of their own."""
    _, test = skewed(tmp_path)
    made = list(examples(DATASETS["icl_trec_fine"], LENGTH, [tmp_path], count, examples=59))
    classes = Counter(example.meta["class"] for example in made)
    assert max(classes.values()) - min(classes.values()) <= 1
    assert len({example.id for example in made}) == len(made)
    assert len({example.cluster for example in made}) < len(made)
    assert [example.prompt for example in made if example.id.endswith("-2")]
    assert len(list(examples(DATASETS["icl_trec_fine"], LENGTH, [tmp_path], count, examples=60))) == len(test)


def test_icl_of_december_2024_shows_every_question_the_same_shots(tmp_path: Path) -> None:
    train, test = skewed(tmp_path)
    made = list(examples(DATASETS["icl_trec_fine"], LENGTH, [tmp_path], count, examples=40, edition="2024-12"))
    order = np.random.default_rng(42).permutation(len(test))[:40]
    assert [example.meta["question"] for example in made] == [test[int(index)][0] for index in order]
    texts = [text for text, _ in drawn(train, 400, 42)]
    for example in made:
        assert re.findall(r"(train text \d+)\nlabel: ", example.prompt) == texts


@pytest.mark.parametrize("name", [name for name in DATASETS if not name.startswith("icl")])
def test_the_edition_changes_icl_alone(name: str, tmp_path: Path) -> None:
    made = load(name, tmp_path, 3)
    assert list(examples(DATASETS[name], LENGTH, [tmp_path], count, examples=3, edition="2024-12")) == made


def test_nlu_tests_on_a_tenth_that_no_shot_comes_from(tmp_path: Path) -> None:
    made = load("icl_nlu", tmp_path)
    assert len(made) == math.ceil(0.1 * 8 * 68)
    for example in made[:3]:
        assert example.prompt.count(f"{example.meta['question']}\n") == 0


@pytest.mark.parametrize("name", DATASETS)
def test_whole_passages_are_dropped_from_the_end_until_the_prompt_fits(name: str, tmp_path: Path) -> None:
    """With a tokenizer so wasteful that only part of the context fits."""
    whole = load(name, tmp_path, 2)
    dataset = DATASETS[name]
    largest = max(count(example.prompt, example.answer_prefix) for example in whole)
    asked = {example.id: example for example in whole}
    factor = (LENGTH - dataset.max_new_tokens) / (0.9 * largest)

    def wasteful(prompt: str, prefix: str) -> int:
        return math.ceil(count(prompt, prefix) * factor)

    cut = list(examples(dataset, LENGTH, [tmp_path], wasteful, examples=2))
    assert [example.id for example in cut] == list(asked)
    assert any(example.meta["dropped_passages"] for example in cut)
    for example in cut:
        before = asked[example.id]
        used = wasteful(example.prompt, example.answer_prefix) + dataset.max_new_tokens
        assert used <= LENGTH
        assert example.meta["dropped_tokens"] == wasteful(before.prompt, before.answer_prefix) - (used - dataset.max_new_tokens)
        assert str(example.meta["question"]) in example.prompt
        assert example.targets == before.targets
        assert answerable(example)
        if example.meta["dropped_passages"]:
            assert used > LENGTH - 60 * factor, "room for another passage was left empty"


@pytest.mark.parametrize("name", ["kilt_nq", "kilt_popqa_3"])
def test_no_two_golds_of_a_question_stand_at_one_depth(name: str, tmp_path: Path) -> None:
    """Half of the passages are lost, and the later golds all come to the end: those that were elsewhere have no depth any more."""
    whole = load(name, tmp_path)
    room = LENGTH - DATASETS[name].max_new_tokens
    factor = room / (max(count(example.prompt, example.answer_prefix) for example in whole) - 40)
    cut = list(examples(DATASETS[name], LENGTH, [tmp_path], lambda *parts: math.ceil(count(*parts) * factor)))
    assert all(math.isnan(example.depth) == (MOVED in example.meta) for example in cut)
    for question in {example.cluster for example in cut}:
        prompts = [example.prompt for example in cut if example.cluster == question]
        depths = [example.depth for example in cut if example.cluster == question and MOVED not in example.meta]
        assert len(set(prompts)) < len(prompts)
        assert len(set(depths)) == len(depths) == len(set(prompts))


def test_a_question_that_cannot_fit_is_an_error_that_says_so(tmp_path: Path) -> None:
    MAKERS["kilt_nq"](tmp_path)
    with pytest.raises(BudgetError, match=r"kilt_nq at 8192 tokens: .* ask for a longer length"):
        list(examples(DATASETS["kilt_nq"], LENGTH, [tmp_path], lambda prompt, prefix: 100 * count(prompt, prefix)))


def test_data_may_lie_below_data_and_in_several_places(tmp_path: Path) -> None:
    MAKERS["json_kv"](tmp_path / "one" / "data")
    MAKERS["icl_nlu"](tmp_path / "two")
    roots = [tmp_path / "one", tmp_path / "two"]
    for name in ("json_kv", "icl_nlu"):
        assert next(examples(DATASETS[name], LENGTH, roots, count))


@pytest.mark.parametrize("name", DATASETS)
def test_without_data_one_line_says_which_command_fetches_it_and_how_large_it_is(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"harness data fetch --tasks {name} --lengths 8k.*\(about .*, estimated\)") as caught:
        list(examples(DATASETS[name], LENGTH, [tmp_path], count))
    assert "\n" not in str(caught.value)


def test_a_length_that_was_not_published(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no length 4096; choose --lengths from 8k,16k"):
        list(examples(DATASETS["kilt_nq"], 4_096, [tmp_path], count))


def test_the_catalog_is_the_papers_table() -> None:
    assert [dataset.name for dataset in select(["cite"])] == ["alce_asqa", "alce_qampari"]
    assert DATASETS["alce_asqa"].published_name(131_072) == "alce_asqa_700"
    assert DATASETS["icl_trec_fine"].published_name(65_536) == "icl_trec_fine_3200shot_balance"
    assert [dataset.examples for dataset in select(["icl"])] == [500] * 5
    assert DATASETS["json_kv"].test_file(32_768).path == "json_kv/test_k440_dep6.jsonl"
    assert [dataset.name for dataset in select([]) if dataset.chat] == ["alce_asqa", "alce_qampari"]
    parquet = {file.path for file in files(select(["icl"]), LENGTHS)}
    assert parquet == set(HUB_PARQUET)
    with pytest.raises(KeyError, match="nonsense"):
        select(["rag", "nonsense"])


def test_numpy_scalars_stay_out_of_the_examples() -> None:
    assert not any(isinstance(index, np.integer) for index in permutation(3, 0))


@pytest.mark.parametrize("mode", ["parity", "strict"])
@pytest.mark.parametrize("name", DATASETS)
def test_a_perfect_answerer_scores_1_and_an_empty_one_0(name: str, mode: str, tmp_path: Path) -> None:
    scoring = pytest.importorskip("tasks.scoring")
    judges = pytest.importorskip("tasks.judges")
    dataset = DATASETS[name]
    for example in load(name, tmp_path, 2):
        for task in (name, dataset.published_name(LENGTH)):
            settings = {"mode": mode, "only": dataset.metrics, "judge": judges.ExactWords(), "sentences": "simple"}
            assert scoring.score(task, example, example.answer, **settings) == dict.fromkeys(dataset.metrics, 1.0)
            assert scoring.score(task, example, "", **settings) == dict.fromkeys(dataset.metrics, 0.0)
