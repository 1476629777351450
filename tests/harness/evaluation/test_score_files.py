"""``harness score``: published formats in, one line an example out; bad input is one line with file, line and field."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.root import HarnessGroup
from harness.commands.score import score_command

HARNESS = HarnessGroup(commands={"score": score_command})
DOCS = [{"title": "Drums", "text": "the red drum"}, {"title": "Kites", "text": "a blue kite"}]
ASQA = {"question": "What?", "docs": DOCS, "qa_pairs": [{"short_answers": ["red drum"]}], "sample_id": "s1"}


def score(source: Path, target: Path, *options: str, task: str = "kilt_nq") -> Result:
    return CliRunner().invoke(HARNESS, ["score", "--task", task, "--input", str(source), "--output", str(target), *options])


def write(path: Path, records: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines(tmp_path: Path) -> None:
    records = [{"id": "b", "answers": ["Rome"], "output": "Answer: Rome"}, {"answers": ["Oslo"], "output": "Rome"}]
    result = score(write(tmp_path / "in.jsonl", records), tmp_path / "new" / "out.jsonl")
    assert result.exit_code == 0, result.output
    first, second = read(tmp_path / "new" / "out.jsonl")
    assert first["id"] == "b"
    assert first["metrics"]["exact_match"] == 1
    assert set(first["metrics"]) == {
        *("exact_match", "f1", "substring_exact_match", "rougeL_f1", "rougeL_recall", "rougeLsum_f1", "rougeLsum_recall")
    }
    assert second["id"] == 1
    assert second["metrics"]["substring_exact_match"] == 0
    assert "exact_match                50.00   of 2" in result.output


@pytest.mark.parametrize("indent", [None, 4])
def test_a_helmet_result_gives_the_same_as_json_lines(tmp_path: Path, indent: int | None) -> None:
    records = [{"qid": str(n), "qrel": [["5", "2"], ["3", "1"]], "output": output} for n, output in enumerate(("3 > 5", "5 > 3", ""))]
    (tmp_path / "result.json").write_text(json.dumps({"args": {"datasets": "x"}, "data": records, "metrics": {}}, indent=indent))
    score(write(tmp_path / "in.jsonl", records), tmp_path / "lines", task="msmarco_rerank_psg")
    result = score(tmp_path / "result.json", tmp_path / "object", task="msmarco_rerank_psg")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "lines").read_text() == (tmp_path / "object").read_text()
    assert [line["metrics"]["NDCG@10"] for line in read(tmp_path / "object")] == [0.85972, 1, 0]


def test_citations_take_a_judge(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{**ASQA, "output": "The red drum [1][2]."}, {**ASQA, "output": ""}])
    options = ("--judge", "exact-words", "--sentences", "simple")
    assert score(source, tmp_path / "out", *options, task="alce_asqa_2").exit_code == 0
    some, empty = read(tmp_path / "out")
    assert some["id"] == "s1"
    assert (some["metrics"]["citation_rec"], some["metrics"]["citation_prec"]) == (1, 0.5)
    assert empty["metrics"]["citation_rec"] == 0
    assert empty["left_out"] == ["citation_rec", "citation_prec"]
    without = score(source, tmp_path / "out", task="alce_asqa_2")
    assert "--judge" in without.output
    assert "citation_rec" not in read(tmp_path / "out")[0]["metrics"]


def test_strict_mode(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"answers": ["3"], "output": "13"}])
    for mode, expected in (("parity", 1), ("strict", 0)):
        assert score(source, tmp_path / mode, "--mode", mode).exit_code == 0
        assert read(tmp_path / mode)[0]["metrics"]["substring_exact_match"] == expected


GOOD = {"answers": ["Rome"], "output": "Rome", "question": "Q"}


@pytest.mark.parametrize(
    ("task", "content", "words"),
    [
        ("kilt_nq", json.dumps(GOOD) + "\n{'output': 1}\n", ["line 2", "not valid JSON", "column 2"]),
        ("kilt_nq", json.dumps(GOOD) + "\n\n[1]\n", ["line 3", "not a JSON object"]),
        ("kilt_nq", '{"answers": ["x"]}', ["line 1", "'output' is missing"]),
        ("kilt_nq", '{"answers": ["x"], "output": null}', ["line 1", "'output' is null"]),
        ("kilt_nq", json.dumps(GOOD) + '\n{"output": "x"}', ["line 2", "'answers' is missing"]),
        ("kilt_nq", '{"output": "x", "answers": []}', ["line 1", "'answers' holds an empty list"]),
        ("kilt_nq", '{"output": "x", "answers": [1]}', ["line 1", "'answers'"]),
        ("kilt_nq", '{"output": "x", "answers": {"a": 1}}', ["line 1", "'answers' holds an object"]),
        ("kilt_nq", '{\n "data": [\n  {"output": 1', ["line 3", "not valid JSON", "cut off"]),
        ("kilt_nq", '{"data": [{"output": "x", "answer": "x"}, 3]}', ["data[1]", "not a JSON object"]),
        ("kilt_nq", '{"data": [{"output": "x", "answer": "x"}, {"output": "x"}]}', ["data[1]", "'answers' is missing"]),
        ("kilt_nq", "", ["holds no records"]),
        ("kilt_nq", '{"data": []}', ["holds no records"]),
        ("kilt_nq", "[" * 100_000, ["line 1"]),
        ("json_kv", '{"output": "x"}', ["line 1", "'answer' is missing"]),
        ("ruler_niah_mv", '{"output": "x", "answer": ""}', ["line 1", "'answer' is empty"]),
        ("msmarco_rerank_psg", '{"output": "x", "query": "q"}', ["line 1", "'qrel' is missing"]),
        ("msmarco_rerank_psg", '{"output": "x", "ctxs": [{"id": "1"}]}', ["line 1", "'ctxs'", "'label'"]),
        ("msmarco_rerank_psg", '{"output": "x", "ctxs": [{"id": "1", "label": "high"}]}', ["line 1", "'ctxs'", "whole numbers"]),
        ("msmarco_rerank_psg", '{"output": "x", "ctxs": [{"id": "1", "label": 99999999999}]}', ["line 1", "'ctxs'", "1000"]),
        ("alce_asqa_2", '{"output": "x [1].", "docs": []}', ["line 1", "'qa_pairs' is missing"]),
        ("alce_asqa_2", '{"output": "x [1].", "qa_pairs": [{"short_answers": ["x"]}]}', ["line 1", "'docs' is missing"]),
        ("alce_qampari_2", '{"output": "x [1]", "answers": [["x"]], "docs": []}', ["line 1", "'question' is missing"]),
        ("alce_qampari_2", '{"output": "x", "answers": ["x"], "docs": []}', ["line 1", "'answers'", "list of its names"]),
        ("infbench_choice_eng_8192", '{"output": "x", "answer": ["x"], "options": ["y"]}', ["line 1", "'options'"]),
        ("nosuchtask", json.dumps(GOOD), ["nosuchtask", "kilt_nq"]),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(tmp_path: Path, task: str, content: str, words: list[str]) -> None:
    (tmp_path / "in.jsonl").write_text(content)
    result = score(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--judge", "exact-words", task=task)
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1
    for word in words:
        assert word in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    assert "cannot be read" in score(tmp_path / "none", tmp_path / "out").output
    (tmp_path / "latin").write_bytes(b'{"output": "\xe9", "answer": "x"}')
    assert "not UTF-8" in score(tmp_path / "latin", tmp_path / "out").output
    source = write(tmp_path / "in.jsonl", [GOOD])
    result = score(source, source / "out")
    assert result.exit_code == 2
    assert "cannot write" in result.output


def test_a_cache_that_is_none(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{**ASQA, "output": "Red drum [1]."}])
    result = score(source, tmp_path / "out", "--judge", "some/model", "--judge-cache", str(source), task="alce_asqa_2")
    assert result.exit_code == 2, result.output
    assert "--judge-cache" in result.output
    assert not (tmp_path / "out").exists()


def test_a_record_may_lack_names_of_an_answer(tmp_path: Path) -> None:
    record = {"qa_pairs": [{"short_answers": []}, {"short_answers": ["drum"]}], "annotations": [], "output": "A drum."}
    assert score(write(tmp_path / "in.jsonl", [record]), tmp_path / "out", task="alce_asqa_2").exit_code == 0
    assert read(tmp_path / "out")[0]["metrics"]["str_em"] == 0.5


def test_help_teaches_by_example() -> None:
    result = CliRunner().invoke(HARNESS, ["score", "--help"])
    assert "harness score --task kilt_nq" in result.output
