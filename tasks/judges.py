"""Does a premise entail a claim? The question behind every citation score.

Scoring asks in *rounds*: a scorer is a generator that yields the pairs it needs to know about and is sent the verdicts. So the pairs of a
whole file are judged together, and a model sees full batches.
"""

import hashlib
import re
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")
#: Python reads no number of thousands of digits, and no document has one.
_MOST_DIGITS = 9
Pair = tuple[str, str]
"""Premise and claim."""
Rounds = Generator[Sequence[Pair], Sequence[bool], T]
"""Yields pairs, is sent one verdict for each, returns a result."""


class Judge(Protocol):
    """Decides entailment."""

    @property
    def name(self) -> str:
        """Names the judge and its version: equal names give equal verdicts, and caches go by it."""

    def entails(self, pairs: Sequence[Pair]) -> list[bool]:
        """Decide for each (premise, claim): does the premise entail the claim?"""


class ExactWords:
    """A claim is entailed when every word of it occurs in the premise, letter case ignored. Exact and crude: for tests."""

    name = "exact-words"

    def entails(self, pairs: Sequence[Pair]) -> list[bool]:
        return [_words(claim) <= _words(premise) for premise, claim in pairs]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


class KnownFacts:
    """The exact judge of generated data, whose facts are known: ``support`` maps a fact to the documents that hold it.

    A premise names documents by number (:func:`premise`). An entry that is a number supports the fact alone; a list of numbers supports it
    together.
    """

    name = "known-facts"

    def __init__(self, support: Mapping[str, Iterable[int | Sequence[int]]]) -> None:
        from tasks.metrics import normalize

        self._normalize = normalize
        self._support: dict[str, list[set[int]]] = {}
        for fact, entries in support.items():
            alternatives = [{entry} if isinstance(entry, int) else set(entry) for entry in entries]
            self._support.setdefault(normalize(fact), []).extend(alternatives)

    @staticmethod
    def premise(number: int) -> str:
        """Write how a premise names document ``number``."""
        return f"[{number}]"

    def entails(self, pairs: Sequence[Pair]) -> list[bool]:
        return [
            self._entails({int(found) for found in re.findall(r"\d+", premise) if len(found) <= _MOST_DIGITS}, claim)
            for premise, claim in pairs
        ]

    def _entails(self, documents: set[int], claim: str) -> bool:
        return any(needed <= documents for needed in self._support.get(self._normalize(claim), ()))


def _numbers(premise: str) -> set[int]:
    return {int(digits) for digits in re.findall(r"\d+", premise) if len(digits) <= _MOST_DIGITS}


class Cached:
    """A judge that is asked about each pair once. With ``path``, an SQLite file, verdicts outlive the process."""

    def __init__(self, judge: Judge, path: Path | None = None) -> None:
        self._judge = judge
        self._known: dict[str, bool] = {}
        self._database: sqlite3.Connection | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path)
            self._database.execute("CREATE TABLE IF NOT EXISTS verdicts (pair TEXT PRIMARY KEY, entailed INTEGER NOT NULL)")
            self._known = {pair: bool(entailed) for pair, entailed in self._database.execute("SELECT pair, entailed FROM verdicts")}

    @property
    def name(self) -> str:
        return self._judge.name

    def entails(self, pairs: Sequence[Pair]) -> list[bool]:
        keys = [self._key(pair) for pair in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._known}
        if new:
            verdicts = dict(zip(new, self._judge.entails(list(new.values())), strict=True))
            self._known.update(verdicts)
            if self._database is not None:
                with self._database:
                    self._database.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", verdicts.items())
        return [self._known[key] for key in keys]

    def _key(self, pair: Pair) -> str:
        text = "\0".join((self._judge.name, *pair))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def settle(rounds: Rounds[T], judge: Judge) -> T:
    """Run one scorer to its result."""
    return settle_all([rounds], judge)[0]


def settle_all(scorers: Sequence[Rounds[T]], judge: Judge | None) -> list[T]:
    """Run many scorers to their results, in order, with one call of the judge a round. Without a judge none of them may ask."""
    results: dict[int, T] = {}
    asked: dict[int, Sequence[Pair]] = {}

    def advance(index: int, verdicts: Sequence[bool] | None) -> None:
        try:
            asked[index] = next(scorers[index]) if verdicts is None else scorers[index].send(verdicts)
        except StopIteration as done:
            results[index] = done.value

    for index in range(len(scorers)):
        advance(index, None)
    while asked:
        assert judge is not None, "a scorer asks for verdicts but there is no judge"
        waiting, pairs = dict(asked), [pair for wanted in asked.values() for pair in wanted]
        asked.clear()
        verdicts = iter(judge.entails(pairs) if pairs else ())
        for index, wanted in waiting.items():
            advance(index, [next(verdicts) for _ in wanted])
    return [results[index] for index in range(len(scorers))]
