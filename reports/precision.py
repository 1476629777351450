"""How surely a difference is known, and what to buy for more: questions, answers to each prompt, or training seeds.

The half width of an interval is that of :mod:`reports.bootstrap`: the distance from the questions (and the answers within them), the room
for what so many questions would not have shown, and the distance from the seeds are added as squares; questions and seeds with Student's
quantile for as many as there are.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from scipy import stats

from reports.bootstrap import FEWEST
from reports.variance import Components

#: Most of each that is looked at.
QUESTIONS: Final = 1_000_000
GENERATIONS: Final = 64
SEEDS: Final = 20
_OFFERED: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


@dataclass(frozen=True)
class Offer:
    """So many questions, answers and seeds, and what they bring."""

    what: str
    questions: int
    generations: int
    seeds: int
    answers: int
    """To generate in all: of every trained model, and of the baseline once."""
    error: float
    """Standard error of the difference, as a claim about the method."""
    half_width: float
    """Of the interval; with one seed about this checkpoint."""


def half_width(parts: Components, questions: int, generations: float, seeds: int, confidence: float = 0.95) -> float:
    """Compute half the width of the interval; with one seed of a claim about its checkpoint, from two on about the method."""
    tail = (1 - confidence) / 2
    normal = float(stats.norm.isf(tail))
    asked = float(stats.t.isf(tail, max(1, questions - 1))) ** 2 * parts.per_question(generations, seeds) / questions
    trained = 0.0
    if seeds > 1:
        trained = float(stats.t.isf(tail, seeds - 1)) ** 2 * parts.of_one_seed(questions, generations) / seeds
    return math.sqrt(asked + trained + normal**2 * parts.fixed + parts.room(questions, tail) ** 2)


def assumed(parts: Components) -> Components:
    """Take trainings to vary as much as the questions blur one, where one training seed does not show it."""
    if parts.of_seeds is not None:
        return parts
    now = parts.parts()
    return replace(parts, of_seeds=now["questions"] + now["generations"])


class Shop:
    """What can be bought, from components whose seeds are known or assumed."""

    def __init__(self, parts: Components, examples: int, confidence: float = 0.95, *, against: int = 1) -> None:
        """``examples`` are asked now, of all questions together; of ``against`` other models too."""
        self.parts = assumed(parts)
        self.confidence = confidence
        self._against = against
        self._each = examples / parts.questions
        self._now = parts.questions, max(1, round(parts.generations)), parts.seeds
        self._sampled = parts.known and not parts.greedy

    def offer(self, what: str, questions: int, generations: int, seeds: int) -> Offer:
        """Say what so many bring."""
        error = math.sqrt(sum(self.parts.parts(questions, generations, seeds).values()))
        answers = math.ceil(questions * self._each) * generations * (seeds + self._against)
        wide = half_width(self.parts, questions, generations, seeds, self.confidence)
        return Offer(what, questions, generations, seeds, answers, error, wide)

    def doubled(self) -> list[Offer]:
        """List what there is now, and twice as much of each."""
        questions, generations, seeds = self._now
        found = [self.offer("now", *self._now), self.offer("twice the questions", 2 * questions, generations, seeds)]
        if self._sampled:
            found.append(self.offer("twice the generations", questions, 2 * generations, seeds))
        return [*found, self.offer("twice the training seeds", questions, generations, 2 * seeds)]

    def best(self) -> Offer:
        """Choose the doubling that helps most."""
        return min(self.doubled()[1:], key=lambda each: each.error)

    def alone(self, wanted: float) -> dict[str, int | None]:
        """Say how many of each, the others as they are, an interval of this half width takes; None where no number of them does.

        With one seed the interval is about its checkpoint, and more seeds are no way to it.
        """

        def first(numbers: Sequence[int], place: int) -> int | None:
            def reached(number: int) -> bool:
                asked, given, trained = (number if at == place else count for at, count in enumerate(self._now))
                return self._reaches(wanted, given, trained, asked)

            return _least(numbers, reached)

        found = {"questions": first(range(FEWEST, QUESTIONS + 1), 0)}
        if self._sampled:
            found["generations"] = first(range(1, GENERATIONS + 1), 1)
        if self._now[2] > 1:
            found["training seeds"] = first(range(2, SEEDS + 1), 2)
        return found

    def cheapest(self, wanted: float, seeds: Sequence[int]) -> Offer | None:
        """Find the fewest answers in all that bring this half width, with one of these numbers of seeds; None where none does."""
        offers = [each for trained in seeds for each in self._offers(wanted, trained)]
        return min(offers, key=lambda each: (each.answers, each.seeds), default=None)

    def _offers(self, wanted: float, seeds: int) -> Iterator[Offer]:
        for generations in _OFFERED if self._sampled else self._now[1:2]:
            questions = _least(range(FEWEST, QUESTIONS + 1), partial(self._reaches, wanted, generations, seeds))
            if questions is not None:
                yield self.offer("cheapest", questions, generations, seeds)

    def _reaches(self, wanted: float, generations: int, seeds: int, questions: int) -> bool:
        return half_width(self.parts, questions, generations, seeds, self.confidence) <= wanted


def _least(numbers: Sequence[int], reached: Callable[[int], bool]) -> int | None:
    """The least of ascending ``numbers`` from which on something is reached; None if not even the last does."""
    if not reached(numbers[-1]):
        return None
    low, high = -1, len(numbers) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(numbers[middle]) else (middle, high)
    return numbers[high]
