"""Small sets in the layouts of NarrativeQA, InfiniteBench and Multi-LexSum: few records, and texts longer than the shortest prompt."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.helmet import LONGER, lawsuits, stories

#: Words of a text that is long enough, and of one that is not; HELMET asks for many more, which would take minutes (:func:`shorten`).
LONG = 9_000
SHORT = 1_000
ENOUGH = 8_500
#: Long and short books, and questions about each.
BOOKS = 4
QUESTIONS = 3


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have shorter texts count as long enough."""
    monkeypatch.setattr(stories, "NARRATIVE", ENOUGH)
    monkeypatch.setattr(stories, "INFBENCH", ENOUGH)
    monkeypatch.setattr(lawsuits, "LEAST", ENOUGH)


def text(name: str, words: int) -> str:
    """A text that says where it begins."""
    return f"{name} begins. " + " ".join(f"w{number % 89}" for number in range(words))


def table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)


def narrativeqa(root: Path) -> None:
    """Questions of a book stand together; every other book is too short. The files hold some rows each."""
    rows = [
        {
            "document": {"id": f"book{book}", "kind": "gutenberg", "text": text(f"Book {book}", LONG if book % 2 else SHORT)},
            "question": {"text": f"Who is {number} in book {book}?", "tokens": ["Who"]},
            "answers": [{"text": f"Person {book}.{number}", "tokens": []}, {"text": f"the person {book}.{number}", "tokens": []}],
        }
        for book in range(BOOKS)
        for number in range(QUESTIONS)
    ]
    dataset = LONGER["narrativeqa"]
    paths = [dataset.test_file(8_192).path, *(file.path for file in dataset.more)]
    for at, path in enumerate(paths):
        table(root / path, rows[at::1][:1] if at < len(paths) - 1 else rows[at:])
    train = [{"question": {"text": f"Train {n}?"}, "answers": [{"text": f"Shot {n}"}], "document": {"id": "t"}} for n in range(9)]
    table(root / dataset.train, train)


def infbench(name: str) -> Callable[[Path], None]:
    """Records of two books, in which each question stands once."""

    def make(root: Path) -> None:
        records = []
        for number in range(BOOKS * QUESTIONS):
            options = [f"option {number}.{at}" for at in range(4)]
            answer = {"choice_eng": options[number % 4], "qa_eng": f"Answer {number}", "sum_eng": f" Summary {number}. \n"}[name]
            record = {"id": number, "context": text(f"Book {number % 2}", LONG), "input": f"What is {number}?", "answer": [answer]}
            records.append({**record, "options": options if name == "choice_eng" else []})
        path = root / f"infbench/longbook_{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        if name == "sum_eng":
            points = [{"id": number, "keypoints": [f"Point {number}.1", f"Point {number}.2"]} for number in range(BOOKS * QUESTIONS)]
            (root / "infbench/longbook_sum_eng_keypoints.jsonl").write_text("".join(json.dumps(each) + "\n" for each in points))

    return make


def multi_lexsum(root: Path) -> None:
    """Every fourth case is too short, every fifth has no short summary."""
    rows = [
        {
            "id": f"EE-{number}",
            "sources": [f"Case {number}.", text("Complaint", SHORT if number % 4 == 3 else LONG), "Settled."],
            "summary/long": f"The long summary of {number}.",
            "summary/short": None if number % 5 == 4 else f"The summary of {number}.",
            "summary/tiny": None,
        }
        for number in range(10)
    ]
    dataset = LONGER["multi_lexsum"]
    table(root / dataset.test_file(8_192).path, rows)
    table(root / dataset.train, [{"id": f"t{n}", "summary/short": f"Train summary {n}." if n % 2 else None} for n in range(12)])
    points = [{"id": f"EE-{number}", "summary/short_keypoints": [f"Point {number}"]} for number in range(10)]
    (root / "multi_lexsum/multi_lexsum_val.jsonl").write_text("".join(json.dumps(each) + "\n" for each in points))


#: Set -> writes the files it needs.
LONG_MAKERS: Mapping[str, Callable[[Path], None]] = {
    "narrativeqa": narrativeqa,
    "infbench_qa_eng": infbench("qa_eng"),
    "infbench_choice_eng": infbench("choice_eng"),
    "infbench_sum_eng": infbench("sum_eng"),
    "multi_lexsum": multi_lexsum,
}
