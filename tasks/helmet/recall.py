"""Recall: RULER's needles (arXiv 2404.06654) and the JSON key-value lookup of "Lost in the Middle" (arXiv 2307.03172).

{"query": "quiet-harbor", "type_needle_v": "numbers", "context": "... One of the special magic numbers for quiet-harbor is: 8231477. ...",
 "outputs": ["8231477"]}
{"context": "{\\"9f1c...\\": \\"02ab...\\", ...}", "question": "9f1c...", "answer": "02ab...", "demos": [["...", "..."]], "num_kvs": 105}
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tasks.example import Example
from tasks.helmet.fit import Piece, fit
from tasks.helmet.records import Record, Span, json_lines, read_span
from tasks.helmet.request import Request
from tasks.helmet.selection import permutation
from tasks.helmet.wordings import fill

#: The haystack is cut after sentences and lines, so that no needle is cut in two.
_CUT: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_PAIR: Final = re.compile(r'"(?:[^"\\]|\\.)*"\s*:\s*"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class _Object:
    """The text of a JSON object, with whatever stands before and after it."""

    text: str
    pairs: tuple[str, ...]
    gaps: Mapping[str, str]
    """Pair -> what stands between it and the one before; of the first pair, before it."""
    tail: str

    @classmethod
    def read(cls, text: str) -> "_Object":
        """Split ``text`` at its pairs."""
        found = list(_PAIR.finditer(text))
        ends = [0, *(match.end() for match in found)]
        gaps = {match.group(): text[end : match.start()] for end, match in zip(ends[:-1], found, strict=True)}
        return cls(text, tuple(match.group() for match in found), gaps, text[ends[-1] :])

    def holding(self, pairs: Sequence[str]) -> str:
        """Write the text with some of its pairs, everything else as it was."""
        if len(pairs) == len(self.pairs):
            return self.text
        inside = "".join((self.gaps[pair] if at else "") + pair for at, pair in enumerate(pairs))
        return self.gaps[self.pairs[0]] + inside + self.tail


def ruler(request: Request) -> Iterator[Example]:
    """Ask for needles in noise, keys or essays; the length is that of RULER's own tokenizer count, so a prompt may have to lose
    sentences.
    """
    for record in _rows(request):
        query = record.text("query") if "query" in record else record.text("question")
        field = "answer" if "answer" in record else "outputs"
        answers = record.texts(field)
        about = {"query": query, "type_needle_v": record.text("type_needle_v")}
        context = record.text("context")
        pieces = [Piece(part, any(answer.lower() in part.lower() for answer in answers)) for part in _sentences(context)]
        if not any(piece.gold for piece in pieces):
            raise record.wrong("context", "a text that holds the answer")
        prefix = fill(request.wording.prefix, about)

        def render(parts: Sequence[str], about: dict[str, str] = about) -> str:
            return fill(request.wording.user, {**about, "context": "".join(parts).rstrip()})

        def tokens(prompt: str, prefix: str = request.wording.joint + prefix) -> int:
            return request.count(prompt, prefix)

        fitted = fit(request.shown(pieces), render, tokens, request.room, request.title)
        yield request.example(
            record.number,
            query,
            fitted,
            prefix=prefix,
            targets=answers,
            answer=", ".join(answers),
            meta={**about, "question": query, "answer": record.values[field]},
        )


def json_kv(request: Request) -> Iterator[Example]:
    """Ask for the value of one of many random keys."""
    for record in _rows(request):
        question, answer = record.text("question"), record.text("answer")
        worked = list(_demos(record, request.dataset.shots))
        context = _Object.read(record.text("context"))
        pieces = [Piece(pair, answer in pair and question in pair, any(key in pair for key, _ in worked)) for pair in context.pairs]
        if not any(piece.gold for piece in pieces):
            raise record.wrong("context", "a JSON object that holds the question's key with the answer")
        shown = "".join(
            fill(request.wording.demo, {"key": key, "value": f" {value}"}) + request.wording.demo_joint for key, value in worked
        )

        def render(pairs: Sequence[str], context: _Object = context, asked: tuple[str, str] = (question, shown)) -> str:
            return fill(request.wording.user, {"context": context.holding(pairs), "question": asked[0], "demos": asked[1]})

        def tokens(prompt: str) -> int:
            return request.count(prompt, request.wording.joint + request.wording.prefix)

        fitted = fit(request.shown(pieces), render, tokens, request.room, request.title)
        yield request.example(
            record.number,
            question,
            fitted,
            prefix=request.wording.prefix,
            targets=(answer,),
            answer=answer,
            meta={"question": question, "answer": answer, "num_kvs": len(fitted.kept)},
        )


def _rows(request: Request) -> Iterator[Record]:
    """The chosen records in HELMET's order: the file shuffled, cut at the limit."""
    path = request.test_file()
    spans: list[Span] = [span for span, _ in json_lines(path)]
    for index in permutation(len(spans), request.seed)[: request.examples]:
        yield read_span(path, spans[index], "line")


def _demos(record: Record, shots: int) -> Iterator[tuple[str, str]]:
    """The first ``shots`` worked examples of a record."""
    if not shots:
        return
    demos = record.lists("demos")
    if len(demos) < shots or any(len(demo) != 2 for demo in demos):
        raise record.wrong("demos", f"a list of at least {shots} pairs of key and value")
    yield from ((key, value) for key, value in demos[:shots])


def _sentences(text: str) -> list[str]:
    """``text`` in pieces that give it back when joined."""
    cuts = [0, *(match.end() for match in _CUT.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(cuts) if end > start]
