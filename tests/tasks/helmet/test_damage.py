"""Wrong and damaged files: one line that names file, line and field, and says what to do."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.helmet import DATASETS, DataError, examples
from tasks.helmet.records import json_array, read_span
from tests.tasks.helmet.published import LENGTH, MAKERS

TEXT = [name for name, dataset in DATASETS.items() if dataset.category != "icl"]
LINES = [name for name in TEXT if not name.startswith("alce")]
ICL = [name for name in DATASETS if name not in TEXT]


def complaint(name: str, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(examples(DATASETS[name], LENGTH, [root], lambda prompt, prefix: len(prompt) // 8))
    message = str(caught.value)
    assert "\n" not in message
    assert "harness data fetch" in message
    return message


def path_of(name: str, root: Path) -> Path:
    MAKERS[name](root)
    return root / DATASETS[name].test_file(LENGTH).path


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the third record in place."""
    if path.suffix == ".json":
        records = json.loads(path.read_text())
        edit(records[2])
        path.write_text(json.dumps(records))
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        edit(rows[2])
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


#: Dataset -> a field without which it cannot be asked or scored, for every loader.
NEEDED = {
    "ruler_niah_mk_2": ("context", "outputs", "type_needle_v"),
    "ruler_niah_mk_3": ("query",),
    "ruler_niah_mv": ("outputs",),
    "json_kv": ("context", "question", "answer", "demos"),
    "kilt_nq": ("question", "answers", "ctxs"),
    "kilt_triviaqa": ("id", "ctxs"),
    "kilt_hotpotqa": ("answers",),
    "kilt_popqa_3": ("s_pop", "question"),
    "alce_asqa": ("question", "docs", "qa_pairs"),
    "alce_qampari": ("answers",),
    "msmarco_rerank_psg": ("qid", "query", "ctxs"),
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, needed in NEEDED.items() for field in needed])
def test_a_missing_field(name: str, field: str, tmp_path: Path) -> None:
    path = path_of(name, tmp_path)
    change(path, lambda record: record.pop(field))
    place = "record 3" if path.suffix == ".json" else "line 3"
    named = "question" if field == "query" and name.startswith("ruler") else field
    assert f"{path}, {place}: field {named!r} is missing" in complaint(name, tmp_path)


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, needed in NEEDED.items() for field in needed])
def test_a_field_of_another_type(name: str, field: str, tmp_path: Path) -> None:
    path = path_of(name, tmp_path)
    change(path, lambda record: record.update({field: {"unexpected": True}}))
    place = "record 3" if path.suffix == ".json" else "line 3"
    assert f"{path}, {place}: field {field!r} is not " in complaint(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "nested", "field"),
    [
        ("kilt_nq", "ctxs", "text"),
        ("alce_asqa", "docs", "title"),
        ("alce_asqa", "qa_pairs", "short_answers"),
        ("msmarco_rerank_psg", "ctxs", "label"),
    ],
)
def test_a_field_missing_inside_a_list(name: str, nested: str, field: str, tmp_path: Path) -> None:
    path = path_of(name, tmp_path)
    change(path, lambda record: record[nested][1].pop(field))
    assert re.search(rf"(line|record) 3, {nested}\[1\]: field '{field}' is missing", complaint(name, tmp_path))


@pytest.mark.parametrize("name", LINES)
def test_a_bad_line(name: str, tmp_path: Path) -> None:
    path = path_of(name, tmp_path)
    rows = path.read_text().splitlines()
    rows[1] = "{'not': json}"
    path.write_text("\n".join(rows))
    assert f"{path}, line 2: not JSON" in complaint(name, tmp_path)
    rows[1] = "[1, 2]"
    path.write_text("\n".join(rows))
    assert f"{path}, line 2: not a JSON object" in complaint(name, tmp_path)


@pytest.mark.parametrize("name", TEXT)
def test_a_truncated_file(name: str, tmp_path: Path) -> None:
    path = path_of(name, tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    message = complaint(name, tmp_path)
    assert str(path) in message
    assert "cut short" in message
    path.write_bytes(b"")
    assert str(path) in complaint(name, tmp_path)


@pytest.mark.parametrize("name", TEXT)
def test_a_file_that_is_not_text(name: str, tmp_path: Path) -> None:
    path = path_of(name, tmp_path)
    path.write_bytes(b'{"question": "\xff\xfe"}\n' if path.suffix == ".jsonl" else b'[{"question": "\xff\xfe"}]')
    assert str(path) in complaint(name, tmp_path)


@pytest.mark.parametrize("name", ["kilt_nq", "msmarco_rerank_psg"])
def test_a_file_of_worked_examples_that_is_too_short(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    path = tmp_path / DATASETS[name].train
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert f"{path}: " in complaint(name, tmp_path)
    assert "worked examples" in complaint(name, tmp_path)


def test_a_context_without_its_gold(tmp_path: Path) -> None:
    for name in ("json_kv", "ruler_niah_mk_2"):
        path = path_of(name, tmp_path)
        change(path, lambda record: record.update(context='{"a": "b"}'))
        assert "line 3: field 'context' is not" in complaint(name, tmp_path)


@pytest.mark.parametrize("name", ["json_kv", "alce_asqa"])
def test_half_a_surrogate_pair_is_refused_and_a_whole_one_is_read(name: str, tmp_path: Path) -> None:
    path = path_of(name, tmp_path)
    change(path, lambda record: record.update(note="\N{PILE OF POO}"))
    assert "\\ud83d\\udca9" in path.read_text()
    assert list(examples(DATASETS[name], LENGTH, [tmp_path], lambda prompt, prefix: 9))
    change(path, lambda record: record.update(note="\ud83d"))
    assert re.search(r"(line|record) 3: not JSON", complaint(name, tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**40, True, "many", -1])
def test_a_popularity_that_is_none(value: object, tmp_path: Path) -> None:
    change(path_of("kilt_popqa_3", tmp_path), lambda record: record.update(s_pop=value))
    assert "line 3: field 's_pop' is not a number" in complaint("kilt_popqa_3", tmp_path)


def test_deep_nesting_is_refused_and_not_followed(tmp_path: Path) -> None:
    path = path_of("json_kv", tmp_path)
    path.write_text("[" * 200_000 + "\n")
    assert "line 1: not JSON" in complaint("json_kv", tmp_path)


@pytest.mark.parametrize("name", ICL)
def test_a_damaged_parquet_file(name: str, tmp_path: Path) -> None:
    path = path_of(name, tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    assert f"{path}: not a Parquet file, or cut short" in complaint(name, tmp_path)


@pytest.mark.parametrize("name", ICL)
def test_a_parquet_file_of_another_edition(name: str, tmp_path: Path) -> None:
    dataset, path = DATASETS[name], path_of(name, tmp_path)
    pq.write_table(pa.table({"text": ["a"], "other": [1]}), path)
    assert f"{path}: no column {dataset.label!r} (it has text, other)" in complaint(name, tmp_path)
    pq.write_table(pa.table({"text": ["a", "b"], dataset.label: [0, dataset.classes]}), path)
    assert f"{path}, row 2: field {dataset.label!r} is {dataset.classes}" in complaint(name, tmp_path)
    pq.write_table(pa.table({"text": ["a", None], dataset.label: [0, 1]}), path)
    assert f"{path}, row 2: field 'text' is not a string" in complaint(name, tmp_path)
    pq.write_table(pa.table({"text": ["a"], dataset.label: ["zero"]}), path)
    assert f"row 1: field {dataset.label!r} is not a whole number" in complaint(name, tmp_path)


@settings(deadline=None)
@given(
    texts=st.lists(st.text(max_size=40), min_size=1, max_size=6),
    indent=st.sampled_from([None, 0, 4]),
    ascii_only=st.booleans(),
    tail=st.sampled_from(["", "\n", " \n\n"]),
)
def test_an_array_reads_record_by_record_what_json_reads_at_once(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], indent: int | None, ascii_only: bool, tail: str
) -> None:
    records = [{"text": text, "n": number} for number, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("array") / "array.json"
    path.write_text(json.dumps(records, indent=indent, ensure_ascii=ascii_only) + tail)
    found = list(json_array(path))
    assert [record.values for _, record in found] == records
    assert [read_span(path, span, "record").values for span, _ in found] == records


def test_an_array_larger_than_a_chunk_with_wide_characters_at_its_border(tmp_path: Path) -> None:
    records = [{"text": "é" * 700_001}, {"text": "x" + "漢" * 500_000}, {"text": "end"}]
    path = tmp_path / "array.json"
    path.write_text(json.dumps(records, ensure_ascii=False))
    found = list(json_array(path))
    assert [record.values for _, record in found] == records
    assert [read_span(path, span, "record").values for span, _ in found] == records
