"""What a model says of an answer or a summary, read strictly, and the score that it makes.

    ... Therefore: {"fluency": 1, "correctness": 3}   ->   {"fluency": 1, "correctness": 3}   ->   1.0

A verdict that cannot be read makes no score: it is kept as such and counted, never taken for a zero. HELMET leaves it out of its mean, and
so does :func:`mean`, which says how many there are.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from types import MappingProxyType
from typing import Final

from tasks.thoughts import answer_after

#: The best grade of correctness.
_CORRECT: Final = 3
#: Sentences that a summary may be said to have.
_MOST_SENTENCES: Final = 10_000
#: Characters of a verdict: some thousand times what one takes.
_LONGEST: Final = 400_000
_OBJECT: Final = re.compile(r"\{[^{}]*\}")
#: What may not follow the object: words on its own line, as after a quotation. Brackets, stops, the end of a fence and later lines may.
_GOES_ON: Final = re.compile(r"[^\w\n`]*\w")

#: Calls of a judge by what they are for -> the grades that each has to give, with the highest; -1: as many as there are key points.
STORY: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType({"answer": {"fluency": 1, "correctness": _CORRECT}})
SUMMARY: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "fluency": {"fluency": 1},
        "recall": {"recall": -1},
        "precision": {"precision": _MOST_SENTENCES, "sentence_count": _MOST_SENTENCES},
    }
)


class UnreadableError(ValueError):
    """A verdict without the grades that were asked for, in one line."""


@dataclass(frozen=True)
class Judgement:
    """What became of the verdicts on one output."""

    score: float | None
    """In [0, 1]; None if a verdict could not be read."""
    parts: Mapping[str, float]
    """Fluency, and correctness (in thirds) or recall and precision, of the verdicts that could be read."""
    unreadable: Mapping[str, str]
    """Call -> why its verdict could not be read."""


def read(verdict: str, grades: Mapping[str, int]) -> dict[str, int]:
    """Read the grades that a verdict ends with: whole numbers from 0 to the highest of each, in its last JSON object.

    Raises UnreadableError for anything else: no object, another one, words after it on its line, a grade that is not there or there
    twice, no number, or out of range. A reasoning judge's thoughts are no part of its verdict.
    """
    text = answer_after(verdict).rstrip()[-_LONGEST:]
    found = list(_OBJECT.finditer(text))
    if not found:
        raise UnreadableError("it holds no JSON object")
    if _GOES_ON.match(text, found[-1].end()):
        raise UnreadableError("its last object stands inside a line, as a quotation does")
    try:
        values = json.loads(found[-1][0], object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"its last object is not JSON ({str(error).partition(chr(10))[0]})") from None
    for name, highest in grades.items():
        value = values.get(name)
        if type(value) is not int or not 0 <= value <= highest:
            raise UnreadableError(f"{name} is {str(value)[:20]!r}, not a whole number from 0 to {highest}")
    return {name: values[name] for name in grades}


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("it gives a grade twice")
    return values


def judge_story(verdicts: Mapping[str, str]) -> Judgement:
    """Score an answer by the verdict of the call ``answer``: fluency x correctness, as a share of the best."""
    grades, unreadable = _read_all(verdicts, STORY, 0)
    if unreadable:
        return Judgement(None, {}, unreadable)
    fluency, correctness = grades["answer"]["fluency"], grades["answer"]["correctness"] / _CORRECT
    return Judgement(fluency * correctness, {"fluency": float(fluency), "correctness": correctness}, {})


def judge_summary(verdicts: Mapping[str, str], points: int) -> Judgement:
    """Score a summary by the verdicts of the calls ``fluency``, ``recall`` and ``precision``: fluency x F1 of the other two.

    ``points`` is how many key points there are to be recalled. A summary without a sentence has precision 0.
    """
    grades, unreadable = _read_all(verdicts, SUMMARY, points)
    if "precision" in grades and grades["precision"]["precision"] > grades["precision"]["sentence_count"]:
        unreadable = {**unreadable, "precision": "precision is more than sentence_count"}
    parts: dict[str, float] = {}
    if "fluency" in grades:
        parts["fluency"] = float(grades["fluency"]["fluency"])
    if "recall" in grades:
        parts["recall"] = grades["recall"]["recall"] / points if points else 0.0
    if "precision" in grades and "precision" not in unreadable:
        said = grades["precision"]["sentence_count"]
        parts["precision"] = grades["precision"]["precision"] / said if said else 0.0
    if unreadable:
        return Judgement(None, parts, unreadable)
    recall, precision = parts["recall"], parts["precision"]
    f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
    return Judgement(parts["fluency"] * f1, parts, {})


def _read_all(
    verdicts: Mapping[str, str], calls: Mapping[str, Mapping[str, int]], points: int
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """(grades, why not) by call."""
    grades: dict[str, dict[str, int]] = {}
    unreadable: dict[str, str] = {}
    for call, wanted in calls.items():
        try:
            grades[call] = read(verdicts[call], {name: points if most < 0 else most for name, most in wanted.items()})
        except UnreadableError as error:
            unreadable[call] = str(error)
    return grades, unreadable


@dataclass(frozen=True)
class Judged:
    """The judgements on many outputs."""

    mean: float | None
    """Of those with a score; None if there is none."""
    scored: int
    unreadable: int


def mean(judgements: Sequence[Judgement]) -> Judged:
    """Take the mean of those that could be read, as HELMET takes it, and how many could not."""
    scores = [each.score for each in judgements if each.score is not None]
    return Judged(fsum(scores) / len(scores) if scores else None, len(scores), len(judgements) - len(scores))
