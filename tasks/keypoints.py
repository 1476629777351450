"""The exact judge of summaries whose key points are known facts.

    {"text": "Mira Tolvane gave the amber falcon to Joren Harrick",
     "terms": [["Mira Tolvane"], ["Joren Harrick"], ["gave", "gives"]], "before": [0, 1]}

A sentence states a key point if it holds one of the words of every term, and names nothing that is not in the key points it states: a
sentence that lists everybody states nothing. Recall is the share of key points that are stated, precision the share of sentences that state
one that no earlier sentence has; headings and blank lines are no sentences.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tasks.plot import HOURS, SITES
from tasks.records import FieldError, Record
from tasks.sentences import simple
from tasks.words import FAMILY, GIVEN, KINDS, TOWNS

#: Words that say who, where, when or why: a sentence may use those of its key points alone.
NAMING: Final = frozenset(word.lower() for word in (*GIVEN, *FAMILY, *TOWNS, *SITES, *HOURS, *KINDS["event"]))
_MARKER: Final = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")
#: Key points of one record; no generated one has a tenth of it.
_MOST: Final = 200


@dataclass(frozen=True)
class KeyPoint:
    """One fact that a summary should state."""

    terms: tuple[tuple[str, ...], ...]
    """Of each, one word or name has to be there."""
    before: tuple[int, int] | None = None
    """Positions of two terms that have to come in this order, unless the first follows ``by`` or ``from``."""

    @property
    def words(self) -> frozenset[str]:
        """Every word of its terms, in lower case."""
        return frozenset(word for term in self.terms for name in term for word in _words(name))


def summary_scores(summary: str, points: Sequence[KeyPoint]) -> dict[str, float]:
    """Recall, precision and F1 of the key points in a summary; all 0 without a sentence."""
    stated: set[int] = set()
    new = 0
    said = sentences(summary)
    for sentence in said:
        found = _stated(sentence, points)
        new += bool(found - stated)
        stated |= found
    recall = len(stated) / len(points)
    precision = new / len(said) if said else 0.0
    f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
    return {"keypoint_f1": f1, "keypoint_rec": recall, "keypoint_prec": precision}


def sentences(summary: str) -> list[str]:
    """List the sentences of a summary, list markers and headings left out."""
    lines = (_MARKER.sub("", line).strip() for line in summary.split("\n"))
    return [sentence for line in lines if not line.endswith(":") for sentence in simple(line) if _words(sentence)]


def _stated(sentence: str, points: Sequence[KeyPoint]) -> set[int]:
    found = {at for at, point in enumerate(points) if _states(sentence, point)}
    known = frozenset(word for at in found for word in points[at].words)
    return found if NAMING.intersection(_words(sentence)) <= known else set()


def _states(sentence: str, point: KeyPoint) -> bool:
    text = f" {' '.join(_words(sentence))} "
    places = [[text.find(f" {' '.join(_words(name))} ") for name in term] for term in point.terms]
    if not all(any(place >= 0 for place in term) for term in places):
        return False
    if point.before is None:
        return True
    first, second = (min(place for place in places[at] if place >= 0) for at in point.before)
    return first < second or text[:first].endswith((" by", " from"))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def key_points(record: Record) -> list[KeyPoint]:
    """Read the key points of a record. FieldError if they are not there."""
    value = record.get("keypoints")
    if not isinstance(value, Sequence) or isinstance(value, str) or not 0 < len(value) <= _MOST:
        raise FieldError("keypoints", f"has to be a list of at least one key point, at most {_MOST}")
    return [_key_point(item) for item in value]


def _key_point(item: object) -> KeyPoint:
    terms = item.get("terms") if isinstance(item, Mapping) else None
    if not isinstance(terms, Sequence) or not terms or not all(_is_term(term) for term in terms):
        raise FieldError("keypoints", "has an item without 'terms', a list of lists of words")
    before = item.get("before") if isinstance(item, Mapping) else None
    if before is None:
        return KeyPoint(tuple(tuple(term) for term in terms))
    if not isinstance(before, Sequence) or len(before) != 2 or not all(type(at) is int and 0 <= at < len(terms) for at in before):
        raise FieldError("keypoints", "has an item whose 'before' is not two positions of its terms")
    return KeyPoint(tuple(tuple(term) for term in terms), (before[0], before[1]))


def _is_term(term: object) -> bool:
    return (
        isinstance(term, Sequence)
        and not isinstance(term, str)
        and bool(term)
        and all(isinstance(name, str) and _words(name) for name in term)
    )
