"""Files that others wrote, or that a disk damaged: read, or refused in one line."""

import gzip
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from harness.api import Artifact, HarnessError
from harness.commands.import_ import import_command
from harness.commands.parameters import Lengths, Setting
from harness.commands.root import HarnessGroup
from harness.commands.score import score_command
from harness.config import from_manifest, load_preset
from harness.evaluation.suite import load as load_suite
from harness.files import DamagedError, read_json, read_sealed, write_sealed
from harness.helmet_files.fetch import fetch
from harness.models import gguf_header as ggufheader
from harness.models.lookup import resolve
from harness.store.find import Evaluation
from harness.store.journal import Generation, Journal
from harness.store.steps import check
from reports import samples
from reports.policy import PolicyError, parse
from reports.samples import SamplesError
from reports.stopping import StoppingError, stopping_of
from retmask.heads.needle_texts import read_haystack, read_needles
from retmask.heads.score_files import read_scores
from retmask.pairs.pairing import read_pairs
from retmask.pairs.prompts import collect, read_prompts, rows, write_prompts
from retmask.pairs.responses import Response, append_responses, read_responses
from tasks.helmet import OWN, DataError, select
from tasks.helmet.checkout import read as read_checkout
from tasks.helmet.records import json_array, json_lines
from tasks.helmet.wordings import WordingError, dump, load
from tests.conftest import row, table
from tests.fuzz.hostile import changed, damaged, fuzz, json_lines_of, json_of, survives, texts, within
from tests.tasks.helmet.published import checkout

HARNESS = HarnessGroup(commands={"import": import_command, "score": score_command})


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One folder for all inputs of a test: hypothesis calls it many times."""
    path = Path(tempfile.mkdtemp(prefix="fuzz-"))
    yield path
    shutil.rmtree(path)


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def command(*arguments: str | Path) -> int:
    """The exit code; anything but a result, or a complaint of one line, fails the test."""
    with within(30):
        result = CliRunner().invoke(HARNESS, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 2)
    if result.exit_code == 2:
        lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
        assert len(lines) == 1
        assert lines[0].startswith("harness: ")
    return result.exit_code


HEADS = {f"{layer}-{head}": [0.25 * head, 0.5] for layer in range(2) for head in range(2)}


@fuzz
@given(json_of(HEADS))
@example(json.dumps({"1" * 5000 + "-0": [0.5]}).encode())
@example(b'{"0-0": [0.1], "00-0": [0.9]}')
@example(b'{"0-0": [0.1], "0-0": [0.9]}')
@example(b"[" * 100_000)
def test_head_files(folder: Path, data: bytes) -> None:
    found = survives(lambda: read_scores(written(folder, "heads.json", data)), HarnessError)
    if found is not None:
        assert found.mean.size == len(json.loads(data))


@fuzz
@given(st.data())
def test_our_own_head_files(folder: Path, data: st.DataObject) -> None:
    path = written(folder, "plain.json", json.dumps(HEADS).encode())
    read_scores(path).save(folder / "heads.safetensors")
    content = data.draw(damaged((folder / "heads.safetensors").read_bytes()))
    survives(lambda: read_scores(written(folder, "damaged.safetensors", content)), HarnessError)


PAIRS = [
    {"prompt": "p", "chosen": "c", "rejected": "r", "chosen_ids": [1, 2], "rejected_ids": [3]},
    {"prompt": "p", "chosen": "c", "rejected": "r"},
]


@fuzz
@given(json_lines_of(PAIRS), st.booleans())
@example(b'{"prompt": "p", "chosen": "c", "rejected": "r", "chosen_ids": [1e999]}', False)
@example(b'{"prompt": "p", "chosen": "c", "rejected": "r", "chosen_ids": [1.5]}', False)
@example(b'{"prompt": "p", "chosen": "c", "rejected": "r", "chosen_ids": [-1]}', False)
@example(b'{"prompt": "\\ud800", "chosen": "c", "rejected": "r"}', False)
@example(b"[" * 100_000, False)
def test_pairs(folder: Path, data: bytes, chosen_only: bool) -> None:
    for pair in survives(lambda: read_pairs(written(folder, "pairs.jsonl", data), chosen_only=chosen_only), HarnessError) or ():
        pair.prompt.encode(), pair.chosen.encode(), pair.rejected.encode()
        assert all(0 <= token < 2**31 for token in (*pair.chosen_ids, *pair.rejected_ids))


PROMPTS = [{"messages": [{"role": "user", "content": "Name a river."}]}, {"prompt": "p", "language": "English", "redacted": False}]


@fuzz
@given(json_lines_of(PROMPTS), st.sampled_from(["p.jsonl", "p.jsonl.gz", "q.jsonl.gz"]), st.data())
@example(b'{"prompt": "\\ud800"}', "p.jsonl", None)
@example(gzip.compress(b'{"prompt": "a river"}' * 50)[:30] + b"\xff" * 40, "q.jsonl.gz", None)
def test_prompt_files(folder: Path, data: bytes, name: str, draw: st.DataObject | None) -> None:
    if name.startswith("p") and name.endswith(".gz"):
        data = gzip.compress(data)
        if draw is not None:
            data = draw.draw(damaged(data))
    path = written(folder, name, data)
    found = survives(lambda: collect(rows(str(path), "train", ""), 0, "English"), HarnessError)
    if found is not None:
        write_prompts(found.prompts, folder / "kept.jsonl")
        assert tuple(read_prompts(folder / "kept.jsonl")) == found.prompts


NEEDLES = [{"needle": "The river is the Po.", "question": "Which?", "answer": "the Po"}]


@fuzz
@given(json_lines_of(NEEDLES), texts)
@example(b"[" * 100_000, "")
@example(json.dumps({**NEEDLES[0], "question": "\ud800"}).encode(), "")
@example(json.dumps({**NEEDLES[0], "question": "a\u2028b"}, ensure_ascii=False).encode(), "\n" * 50_000)
def test_needles_and_haystacks(folder: Path, needles: bytes, haystack: str) -> None:
    survives(lambda: read_needles(written(folder, "needles.jsonl", needles)), HarnessError)
    written(folder, "haystack/a.txt", haystack.encode("utf-8", "surrogatepass"))
    survives(lambda: next(read_haystack(folder / "haystack")(Random(0))), HarnessError)


@fuzz
@given(st.data())
def test_answers_of_a_model_survive_a_damaged_journal(folder: Path, data: st.DataObject) -> None:
    journal = folder / "responses.jsonl"
    journal.unlink(missing_ok=True)
    append_responses(journal, [Response(0, data.draw(texts), (1, 2), True), Response(1, "b", (), False, 3)])
    whole = read_responses(journal)
    assert len(whole) == 2
    journal.write_bytes(data.draw(damaged(journal.read_bytes())))
    survives(lambda: read_responses(journal), HarnessError)


@fuzz
@given(st.data())
def test_generations_survive_a_damaged_journal(folder: Path, data: st.DataObject) -> None:
    path = folder / "generations.journal"
    path.unlink(missing_ok=True)
    Journal(path).append({"a": Generation(data.draw(texts), 1, 2, "stop"), data.draw(texts): Generation("b", 1, 2, "length")})
    before = Journal(path).finished
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    with within():
        assert Journal(path).finished.items() <= before.items()


TOML = b"""[run]
tasks = ["recall"]
lengths = [512, 1024]
examples = 2
seed = 1
data = "generated"
confidence = 0.95
clip = true
[method]
top_k = 8
"""


@fuzz
@given(damaged(TOML))
@example(b"\xff")
@example(b"run = 5")
@example(b"method = 5")
@example(b"[run]\nlengths = [1.5, 'x']")
@example(b"[run]\nlengths = 512")
@example(b"[run]\ntasks = 'recall'")
@example(b"[run]\nseed = 'x'")
@example(b"[run]\nresamples = true")
@example(b"[run]\nbatch_tokens = 0")
@example(b"[run]\nlengths = [9223372036854775808]")
@example(b"[run]\nseed = 0x" + b"f" * 5000)
@example(b"[run]\nseed = " + b"1" * 5000)
@example(b"[run]\ntasks = " + b"[" * 5000)
@example(b"[run]\nconfidence = nan")
def test_presets(folder: Path, data: bytes) -> None:
    found = survives(lambda: load_preset(str(written(folder, "mine.toml", data))), HarnessError)
    if found is not None:
        assert all(type(length) is int for length in found.lengths)
        assert all(isinstance(task, str) for task in found.tasks)
        assert type(found.seed) is int
        assert type(found.resamples) is int
        assert 0 < found.confidence < 1


@fuzz
@given(texts, texts)
@example("x", "0x" + "f" * 5000)
@example("x", "1" * 5000)
@example("x", "[" * 5000)
def test_settings_of_the_command_line(key: str, value: str) -> None:
    import click

    survives(lambda: Setting().convert(f"{key}={value}", None, None), click.BadParameter)
    survives(lambda: Lengths().convert(value, None, None), click.BadParameter)


POLICY = b"""confidence = 0.95
[margin]
overall = 1.0
category = 3.0
categories = { recall = 2.0 }
[floor]
overall = 50.0
[limit]
missing = 0.0
"""


@fuzz
@given(damaged(POLICY))
@example(b"confidence = 0x" + b"f" * 5000)
@example(b"confidence = " + b"1" * 5000)
@example(b"confidence = nan")
@example(b"margin = " + b"[" * 5000)
@example(b"[margin]\noverall = inf")
@example(b'[margin]\n"over\\nall" = 1')
def test_policies(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    found = survives(lambda: parse(text, "policy.toml"), PolicyError)
    if found is not None:
        assert 0 <= found.margin_overall <= 1
        assert 0.5 < found.confidence < 1


@fuzz
@given(json_of(json.loads(dump(OWN))))
@example(b"[" * 100_000)
@example(json.dumps({**json.loads(dump(OWN)), "qa": {**json.loads(dump(OWN))["qa"], "prefix": "\ud800"}}).encode())
def test_stored_wordings(data: bytes) -> None:
    found = survives(lambda: load(data.decode("utf-8", "replace")), WordingError)
    if found is not None:
        dump(found).encode()
        assert all(wording.user.encode() for wording in found.values())


@fuzz
@given(st.data())
def test_checkouts(folder: Path, data: st.DataObject) -> None:
    root = folder / "checkout"
    shutil.rmtree(root, ignore_errors=True)
    checkout(root)
    for path in (root / "data.py", *sorted((root / "prompts").iterdir())):
        if path.suffix == ".json" and data.draw(st.booleans()):
            path.write_bytes(data.draw(json_of(json.loads(path.read_text()))))
        else:
            path.write_bytes(data.draw(damaged(path.read_bytes())))
    found = survives(lambda: read_checkout(root), WordingError)
    if found is not None:
        assert all(wording.user.encode() for wording in found[0].values())


def test_a_checkout_with_half_a_surrogate_pair(tmp_path: Path) -> None:
    root = checkout(tmp_path / "c")
    (root / "data.py").write_text((root / "data.py").read_text().replace("QA please.", "QA \\ud800 please."))
    assert survives(lambda: read_checkout(root), WordingError) is None


RECORD = {"id": "q", "question": "Q?", "answers": ["a"], "ctxs": [{"title": "t", "text": "x"}], "number": "12"}


@fuzz
@given(json_lines_of([RECORD, RECORD]), json_of([RECORD, RECORD]))
@example(b'{"a": ' + b"1" * 5000 + b"}", b'[{"a": ' + b"1" * 5000 + b"}]")
@example(b'{"question": "\\ud800"}', b'[{"question": "\\ud800"}]')
def test_published_records(folder: Path, lines: bytes, array: bytes) -> None:
    for reader, data in ((json_lines, lines), (json_array, array)):
        path = written(folder, "records", data)

        def take(reader: Any = reader, path: Path = path) -> None:
            for _, record in reader(path):
                for ask in (record.text, record.texts, record.lists, record.number_of, record.records):
                    for field in ("id", "answers", "ctxs", "number"):
                        survives(lambda ask=ask, field=field: ask(field), DataError)

        survives(take, DataError)


OUTPUTS = [{"id": "q", "answers": ["Rome"], "output": "Rome"}, {"qid": 7, "answers": ["Oslo"], "output": "x"}]


@fuzz
@given(
    json_lines_of(OUTPUTS) | json_of({"args": {}, "data": OUTPUTS}), st.sampled_from(["kilt_nq", "msmarco_rerank_psg", "nothing", "\x00"])
)
@example(b'{"id": [Infinity], "answers": ["Rome"], "output": ""}', "kilt_nq")
@example(b'{"id": "\\ud800", "answers": ["Rome"], "output": "\\ud800"}', "kilt_nq")
@example(b'{"id": ' + b"[" * 500 + b"]" * 500 + b', "answers": ["Rome"], "output": ""}', "kilt_nq")
def test_outputs_to_score(folder: Path, data: bytes, task: str) -> None:
    source = written(folder, "outputs.jsonl", data)
    if command("score", "--task", task, "--input", source, "--output", folder / "scores.jsonl") == 0:
        for line in (folder / "scores.jsonl").read_text().splitlines():
            assert json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["metrics"]


RESULT = {
    "args": {"datasets": "kilt_nq", "input_max_length": 8192, "model_name_or_path": "org/m", "generation_max_length": 20},
    "data": [{"id": "q", "answers": ["Rome"], "output": "Rome", "input_len": 80, "output_len": 4, "substring_exact_match": 1.0}],
}


@fuzz
@given(json_of(RESULT))
@example(json.dumps({**RESULT, "args": {**RESULT["args"], "input_max_length": "9" * 5000}}).encode())
@example(json.dumps({**RESULT, "args": {**RESULT["args"], "input_max_length": 2**63}}).encode())
@example(json.dumps({**RESULT, "data": [{**RESULT["data"][0], "output": "\ud800"}]}).encode())
@example(json.dumps({**RESULT, "data": [{**RESULT["data"][0], "substring_exact_match": 10**400}]}).encode())
@example(json.dumps({**RESULT, "data": [{**RESULT["data"][0], "input_len": 10**30}]}).encode())
def test_results_of_helmet(folder: Path, data: bytes) -> None:
    shutil.rmtree(folder / "helmet", ignore_errors=True)
    written(folder, "helmet/kilt_nq.json", data)
    if command("import", "helmet", folder / "helmet", "--output", folder / "helmet/run") == 0:
        manifest = json.loads((folder / "helmet/run/manifest.json").read_text())
        samples.read(folder / "helmet/run/steps" / f"eval-{manifest['evaluations'][0][:12]}" / "samples.parquet")


LMEVAL_ROW = {
    "doc_id": 0, "doc": {"question": "Q", "max_length": 4096}, "target": "Rome", "doc_hash": "h", "filter": "none",
    "metrics": ["exact_match"], "exact_match": 1.0, "filtered_resps": ["Rome"],
}  # fmt: skip
OWN_EXAMPLE = {"id": "e", "task": "niah_mk", "category": "recall", "length": 512, "cluster": "q", "depth": 0.5, "targets": ["1"]}


@fuzz
@given(
    json_lines_of([LMEVAL_ROW, {**LMEVAL_ROW, "doc_id": 1, "doc": {"example": json.dumps(OWN_EXAMPLE)}}]),
    json_of({"model_name": "org/m", "higher_is_better": {"kilt_nq": {"exact_match": True}}}),
)
@example(json.dumps({**LMEVAL_ROW, "exact_match": 10**400}).encode(), b'{"model_name": "m"}')
@example(json.dumps({**LMEVAL_ROW, "metrics": ["1" * 5000], "1" * 5000: 0.5}).encode(), b'{"model_name": "m"}')
@example(json.dumps({**LMEVAL_ROW, "doc": {"example": json.dumps({**OWN_EXAMPLE, "depth": 10**400})}}).encode(), b'{"model_name": "m"}')
@example(json.dumps({**LMEVAL_ROW, "doc": {"example": "[" * 100_000}}).encode(), b'{"model_name": "m"}')
@example(json.dumps({**LMEVAL_ROW, "filtered_resps": ["\ud800"]}).encode(), b'{"model_name": "m"}')
def test_results_of_lm_eval(folder: Path, lines: bytes, results: bytes) -> None:
    shutil.rmtree(folder / "lmeval", ignore_errors=True)
    written(folder, "lmeval/samples_kilt_nq_2026-01-02T03-04-05.678901.jsonl", lines)
    written(folder, "lmeval/results_2026-01-02T03-04-05.678901.json", results)
    command("import", "lm-eval", folder / "lmeval", "--length", "512", "--output", folder / "lmeval/run")


ROWS = [row(example_id=f"e{number}", cluster=f"q{number}", output="x", score=0.5) for number in range(2)]


def frames() -> st.SearchStrategy[Any]:
    return changed(ROWS)


@fuzz
@given(frames())
@example([{**ROWS[0], "output": ["a", "b"]}])
@example([{**ROWS[0], "output": {"a": 1}}])
@example([{**ROWS[0], "score": float("nan")}])
@example([{**ROWS[0], "task": "\ud800"}])
@example([{**ROWS[0], "length": 2**63}])
def test_tables_of_samples(found: Any) -> None:
    try:
        frame = pd.DataFrame(found)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return  # no table at all
    valid = survives(lambda: samples.validate(frame), SamplesError)
    if valid is not None:
        assert valid["score"].between(0, 1).all()


@fuzz
@given(st.data())
def test_files_of_samples(folder: Path, data: st.DataObject) -> None:
    path = folder / "samples.parquet"
    samples.write(table(ROWS), path)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    survives(lambda: Evaluation("x", path, "").read(), HarnessError)


@pytest.mark.parametrize(
    "metadata",
    [b"[]", b"{}", b"no JSON", b'{"index_columns": [{"kind": "range"}], "columns": 3}', b'{"index_columns": ["task"], "columns": []}'],
)
def test_samples_with_damaged_pandas_metadata(tmp_path: Path, metadata: bytes) -> None:
    import pyarrow.parquet as pq

    samples.write(table(ROWS), tmp_path / "s.parquet")
    pq.write_table(pq.read_table(tmp_path / "s.parquet").replace_schema_metadata({b"pandas": metadata}), tmp_path / "s.parquet")
    survives(lambda: Evaluation("x", tmp_path / "s.parquet", "").read(), HarnessError)


STRATUM = {"category": "c", "task": "t", "metrics": ["em"], "lengths": [512], "asked_at": [2], "questions": 2}
MARK = {
    "order": {"seed": 1, "strata": [STRATUM], "examples": 2},
    "rounds": 1, "examples": 1, "complete": False, "looks": [1], "confidence": 0.95, "margin": 0.01, "decision": "better",
}  # fmt: skip


@fuzz
@given(json_of({"stopping": MARK}))
@example(b"[]")
@example(b'{"stopping": []}')
@example(b"[" * 100_000)
def test_marks_of_an_early_stop(folder: Path, data: bytes) -> None:
    import pyarrow.parquet as pq

    path = folder / "marked.parquet"
    samples.write(table(ROWS), path)
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"retmask-harness": data}), path)
    found = survives(lambda: Evaluation("x", path, "").read(), HarnessError)
    if found is not None:
        survives(lambda: stopping_of(found), StoppingError)


def test_samples_with_a_column_twice(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    samples.write(table(ROWS), tmp_path / "s.parquet")
    twice = pq.read_table(tmp_path / "s.parquet")
    pq.write_table(twice.append_column("task", pa.array(["a", "b"])), tmp_path / "s.parquet")
    assert survives(lambda: Evaluation("x", tmp_path / "s.parquet", "").read(), HarnessError) is None


CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "max_position_embeddings": 512}


@fuzz
@given(json_of(CONFIG), json_of({"eos_token_id": 1}))
@example(json.dumps({**CONFIG, "x": float("nan")}).encode(), b"{}")
@example(json.dumps(CONFIG).encode(), b"[]")
@example(json.dumps(CONFIG).encode(), b"[" * 100_000)
@example(b"[" * 100_000, b"{}")
@example(json.dumps({**CONFIG, "architectures": [[]]}).encode(), b"{}")
def test_model_directories(folder: Path, config: bytes, generation: bytes) -> None:
    written(folder, "model/config.json", config)
    written(folder, "model/generation_config.json", generation)
    written(folder, "model/model.safetensors", b"")
    survives(lambda: resolve(str(folder / "model")), HarnessError)


def gguf_file() -> bytes:
    """A small whole GGUF file: a text, a number, arrays of texts and of numbers, two tensors."""
    import numpy as np
    from gguf import GGUFWriter

    with tempfile.TemporaryDirectory() as folder:
        writer = GGUFWriter(Path(folder) / "m.gguf", "llama")
        writer.add_block_count(1)
        writer.add_token_list(["a", "bc", "<|end|>"])
        writer.add_token_types([1, 1, 3])
        writer.add_tensor("token_embd.weight", np.ones((3, 4), np.float32))
        writer.add_tensor("output_norm.weight", np.ones(4, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return (Path(folder) / "m.gguf").read_bytes()


GGUF = gguf_file()
LONGEST = (2**62).to_bytes(8, "little")


@fuzz
@given(damaged(GGUF))
@example(GGUF)
@example(GGUF[:8] + LONGEST + GGUF[16:])
@example(GGUF[:16] + LONGEST + GGUF[24:])
@example(GGUF.replace((3).to_bytes(8, "little"), LONGEST))
@example(GGUF.replace((4).to_bytes(8, "little"), LONGEST))
def test_gguf_files(folder: Path, data: bytes) -> None:
    found = survives(lambda: ggufheader.read(written(folder, "m.gguf", data)), HarnessError)
    assert (found is not None) or data != GGUF


@fuzz
@given(json_of({"key": "k", "files": {"a": 1}, "evaluations": ["0" * 64], "methods": []}))
@example(b"[" * 100_000)
def test_manifests(folder: Path, data: bytes) -> None:
    survives(lambda: read_json(written(folder, "manifest.json", data)), DamagedError)
    survives(lambda: read_sealed(folder / "manifest.json"), DamagedError)


@fuzz
@given(json_of({"key": "k", "files": {"a": {"bytes": 1, "sha256": "0", "modified": 1}, "b": 2}, "inputs": {}, "facts": {}}))
@example(b'{"files": {"a": {}}}')
@example(b'{"files": {"\\u0000": 1, "\\ud800": 1}}')
def test_manifests_of_steps(folder: Path, data: bytes) -> None:
    """Sealed as ours are: whoever makes a file can make its checksum too."""
    written(folder, "step/a", b"x")
    try:
        write_sealed(folder / "step/manifest.json", json.loads(data))
    except (ValueError, RecursionError, AttributeError, TypeError):
        return
    survives(lambda: check(folder / "step"), DamagedError)


@fuzz
@given(
    json_of({"tasks": ["recall"], "lengths": [512], "seed": 1, "judge": None, "clip": False, "confidence": 0.95, "options": {"prompts": 4}})
)
@example(b'{"trust_remote_code": true}')
@example(b'{"allow_unsafe_weights": 1}')
@example(b'{"options": []}')
def test_settings_that_a_manifest_recorded(data: bytes) -> None:
    try:
        settings = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(settings, dict):
        found = survives(lambda: from_manifest(settings, "manifest.json"), HarnessError)
        assert found is None or not (found.trust_remote_code or found.allow_unsafe_weights)


SUITE_ROW = {
    "id": "e", "cluster": "q", "task": "niah_mk", "category": "recall", "length": 512, "prompt": "p", "answer_prefix": "", "targets": ["1"],
    "answer": "1", "depth": 0.5, "meta": {},
}  # fmt: skip


@fuzz
@given(json_lines_of([SUITE_ROW, SUITE_ROW]))
@example(b"[" * 100_000)
@example(b"{}")
def test_suites(folder: Path, data: bytes) -> None:
    written(folder, "suite/examples.jsonl", data)
    survives(lambda: list(load_suite(Artifact("suite", "k", folder / "suite", {}, True))), HarnessError)


@fuzz
@given(st.data(), st.sampled_from(["w", "w:gz", "w:bz2", "w:xz"]))
def test_archives(folder: Path, data: st.DataObject, mode: str) -> None:
    out, archive, content = folder / "fetched", folder / "data.tar", b"x" * 3000
    shutil.rmtree(out, ignore_errors=True)
    member = tarfile.TarInfo("data/json_kv/test_k105_dep6.jsonl")
    member.size = len(content)
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        tar.addfile(member, io.BytesIO(content))
    archive.write_bytes(data.draw(damaged(archive.read_bytes())))
    survives(lambda: fetch(select(["json_kv"]), [8192], out, archive=archive), HarnessError)
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} <= {
        ".lock", "manifest.json", "json_kv/test_k105_dep6.jsonl",
    }  # fmt: skip
