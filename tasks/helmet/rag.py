"""RAG: NaturalQuestions, TriviaQA, HotpotQA and PopQA with retrieved Wikipedia passages (KILT, arXiv 2009.02252).

    {"id": "...", "question": "who ...", "answers": ["..."], "s_pop": 812, "ctxs": [{"title": "...", "text": "...", "has_answer": false}]}

Each question is there three or six times, with the passage that answers it at another depth each time.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from tasks.example import Example
from tasks.helmet.fit import Piece, fit
from tasks.helmet.records import DataError, Record, Span, json_lines, read_span
from tasks.helmet.request import Request
from tasks.helmet.selection import demonstrations, sample_keys
from tasks.helmet.wordings import Wording, fill

#: PopQA asks about entities with fewer than 10³ page views a month.
LOG_POPULARITY: Final = 3.0


def kilt(request: Request) -> Iterator[Example]:
    """Ask for a short answer from many passages, after two worked examples with three passages each."""
    path = request.test_file()
    field, chosen = _choose(request)
    rare = request.dataset.name.startswith("kilt_popqa")
    pool = [record for _, record in json_lines(request.train_file()) if not rare or _is_rare(record)]
    for span in chosen:
        record = read_span(path, span, "line")
        key = record.text(field)
        # PopQA has one split: a question must not be its own worked example.
        others = [demo for demo in pool if demo.text(field) != key] if rare else pool
        yield _example(request, record, key, _demos(request, others, field, key))


def _choose(request: Request) -> tuple[str, list[Span]]:
    """The field that names a question, and the chosen records in file order."""
    path, rare = request.test_file(), request.dataset.name.startswith("kilt_popqa")
    field, rows = "", []
    for span, record in json_lines(path):
        field = field or ("id" if "id" in record else "question")
        if not rare or _is_rare(record):
            rows.append((span, record.key(field)))
    if not rows:
        raise DataError(
            f"{path}: no question is about an entity with s_pop below {10**LOG_POPULARITY:.0f}; this is not HELMET's PopQA file"
        )
    keys = sample_keys([key for _, key in rows], request.examples, request.seed)
    return field, [span for span, key in rows if str(key) in keys]


def _is_rare(record: Record) -> bool:
    popularity = record.number_of("s_pop")
    if popularity <= 0:
        raise record.wrong("s_pop", "a number above 0")
    return math.log10(popularity) < LOG_POPULARITY


def _demos(request: Request, pool: Sequence[Record], field: str, key: str) -> str:
    found = demonstrations(pool, field, key, request.dataset.shots)
    if len(found) < request.dataset.shots:
        raise DataError(
            f"{request.train_file()}: {len(found)} questions to choose {request.dataset.shots} worked examples from; "
            "the file is cut short: get it again with `harness data fetch`"
        )
    wording = request.wording
    return "".join(
        fill(
            wording.demo,
            {
                "documents": "\n\n".join(_passage(wording, passage) for passage in demo.records("ctxs")),
                "question": demo.text("question"),
                "answer": demo.texts("answers")[0],
            },
        )
        + wording.demo_joint
        for demo in found
    )


def _passage(wording: Wording, passage: Record) -> str:
    return fill(wording.passage, {"title": passage.text("title", null=True), "text": passage.text("text")})


def _example(request: Request, record: Record, key: str, demos: str) -> Example:
    wording = request.wording
    question, answers, passages = record.text("question"), record.texts("answers"), record.records("ctxs")
    gold = _gold(passages, answers)
    pieces = [Piece(_passage(wording, passage), is_gold) for passage, is_gold in zip(passages, gold, strict=True)]

    def render(parts: Sequence[str]) -> str:
        return fill(wording.user, {"context": "\n\n".join(parts), "question": question, "demos": demos})

    def tokens(prompt: str) -> int:
        return request.count(prompt, wording.joint + wording.prefix)

    fitted = fit(request.shown(pieces), render, tokens, request.room, request.title)
    return request.example(
        record.number,
        key,
        fitted,
        prefix=wording.prefix,
        targets=answers,
        answer=answers[0],
        meta={"question": question, "answer": list(answers), "passages": len(fitted.kept)},
    )


def _gold(passages: Sequence[Record], answers: Sequence[str]) -> list[bool]:
    """Which passages answer the question: as the file marks them, or else those that contain an answer."""
    if any("has_answer" in passage for passage in passages):
        return [bool(passage.values.get("has_answer")) for passage in passages]
    return [any(answer.lower() in passage.text("text").lower() for answer in answers) for passage in passages]
