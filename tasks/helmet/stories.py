"""Books: NarrativeQA (arXiv 1712.07040), and InfiniteBench's questions, choices and summaries (arXiv 2402.13718).

{"document": {"id": "...", "text": "..."}, "question": {"text": "..."}, "answers": [{"text": "..."}]}        NarrativeQA, Parquet
{"id": 3, "context": "...", "input": "Who ...?", "answer": ["..."], "options": ["...", ...]}                  InfiniteBench, JSONL
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final

from tasks.example import Example
from tasks.helmet.long_texts import Asked, LongRequest, Shot, drawn, none_long_enough, too_few
from tasks.helmet.records import Record, Span, json_lines, parquet_records, read_span
from tasks.helmet.selection import permutation

#: Tokens that HELMET asks of a text, at every length: more than this, and at least this.
NARRATIVE: Final = 131_072
INFBENCH: Final = 65_536
_LETTERS: Final = "ABCD"


@dataclass(frozen=True)
class _Row:
    """A question of NarrativeQA without its text."""

    number: int
    document: str
    question: str
    answers: tuple[str, ...]


def narrativeqa(long: LongRequest) -> Iterator[Example]:
    """Ask for a short answer from a story of more than 131,072 tokens, of which the prompt shows the beginning."""
    request = long.request
    paths = [request.find(file.path) for file in (request.dataset.test_file(request.length), *request.dataset.more)]
    rows: list[_Row] = []
    contexts: dict[str, str | None] = {}
    for path in paths:
        for record in parquet_records(path, ("document", "question", "answers")):
            document = record.record("document")
            name = document.text("id")
            if name not in contexts:
                text = document.text("text")
                contexts[name] = long.cut(text) if long.long_enough(text, NARRATIVE + 1) else None
            rows.append(_Row(len(rows) + 1, name, *_asked(record)))
    order = (rows[index] for index in permutation(len(rows), request.seed))
    chosen = list(islice((row for row in order if contexts[row.document] is not None), request.examples))
    if not chosen:
        raise none_long_enough(request, NARRATIVE + 1, long.cutter, paths)
    train = parquet_records(request.train_file(), ("question", "answers"))
    pool: list[Shot] = [{"question": question, "answer": answers[0]} for question, answers in map(_asked, train)]
    for row in chosen:
        yield long.example(
            Asked(
                number=row.number,
                text=row.document,
                context=contexts[row.document] or "",
                shots=drawn(pool, row.question, request),
                values={"question": row.question},
                targets=row.answers,
                answer=row.answers[0],
                meta={"question": row.question},
            )
        )


def _asked(record: Record) -> tuple[str, tuple[str, ...]]:
    return record.record("question").text("text"), tuple(answer.text("text") for answer in record.records("answers"))


@dataclass(frozen=True)
class _Book:
    """A record of InfiniteBench without its text."""

    span: Span
    id: str
    shot: Shot
    long: bool


def infbench(long: LongRequest) -> Iterator[Example]:
    """Ask for a short answer, a letter or a summary, from a book of at least 65,536 tokens, of which the prompt shows the beginning."""
    request, path = long.request, long.request.test_file()
    books: list[_Book] = []
    known: dict[str, bool] = {}
    for span, record in json_lines(path):
        text = record.text("context")
        name = sha256(text.encode()).hexdigest()
        if name not in known:
            known[name] = long.long_enough(text, INFBENCH)
        books.append(_Book(span, record.text("id"), _shot(long, record), known[name]))
    if len(books) <= request.dataset.shots:
        raise too_few(request, len(books))
    rows = [row for row, book in enumerate(books) if book.long]
    if not rows:
        raise none_long_enough(request, INFBENCH, long.cutter, [path])
    for at in permutation(len(rows), request.seed)[: request.examples]:
        book = books[rows[at]]
        yield _example(long, read_span(path, book.span, "line"), book.shot, _shots(books, book, request.seed, request.dataset.shots))


def _shots(books: Sequence[_Book], asked: _Book, seed: int, shots: int) -> list[Shot]:
    """The demonstrations: HELMET's own draw among all other records."""
    others = [book.shot for book in books if book.id != asked.id]
    return [others[index] for index in permutation(len(others), seed)[:shots]]


def _shot(long: LongRequest, record: Record) -> Shot:
    """What a record is as a demonstration, and its fields of the prompt: question, options in their lines, answer."""
    answers = record.texts("answer")
    if long.request.dataset.category == "summ":
        return {"answer": answers[0].strip()}
    question = record.text("input")
    if "choice" not in long.request.dataset.name:
        return {"question": question, "answer": answers[0]}
    options = record.texts("options")
    if len(options) != len(_LETTERS) or answers[0] not in options:
        raise record.wrong("options", "a list of four, the answer among them")
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=True))
    return {"question": question, "options": lines, "answer": _LETTERS[options.index(answers[0])]}


def _example(long: LongRequest, record: Record, shot: Shot, shots: Sequence[Shot]) -> Example:
    text, answers = record.text("context"), record.texts("answer")
    choice = "options" in shot
    targets = (shot["answer"], f"{shot['answer']}. {answers[0]}") if choice else answers
    return long.example(
        Asked(
            number=record.number,
            text=text,
            context=long.cut(text),
            shots=shots,
            values={name: shot[name] for name in ("question", "options") if name in shot},
            targets=targets,
            answer=shot["answer"] if choice else answers[0],
            meta={"id": record.text("id"), **({"question": shot["question"]} if "question" in shot else {})},
        )
    )
