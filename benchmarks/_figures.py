"""Figures of a benchmark of promises: many experiments each, counted in a file, so that a benchmark can be stopped and goes on.

Every round adds some experiments to every figure, so that whatever the time, all figures are equally well known.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

ROUND: Final = 10
#: Experiments below which nothing is said to miss its aim.
_FEWEST: Final = 20


@dataclass(frozen=True)
class Aim:
    """Between which shares an outcome has to happen."""

    low: float = 0.0
    high: float = 1.0

    def missed(self, share: float, count: int) -> bool:
        """Whether the share of so many experiments lies outside by more than two Monte-Carlo errors; a handful show nothing."""
        if count < _FEWEST:
            return False
        below, above = (2 * float(np.sqrt(edge * (1 - edge) / count)) for edge in (self.low, self.high))
        return share < self.low - below or share > self.high + above

    def __str__(self) -> str:
        ends = (self.low > 0, self.high < 1)
        words = {(True, True): "{low:g}-{high:g}", (True, False): "{low:g} or more", (False, True): "{high:g} or less"}
        return words.get(ends, "").format(low=100 * self.low, high=100 * self.high)


@dataclass(frozen=True)
class Outcome:
    """Something that an experiment ends in, or not."""

    name: str
    nominal: str
    """What is promised, for people."""
    aim: Aim | None = None
    """None for what is only shown."""
    share: bool = True
    """Whether it happens or not; else it is a quantity, in points."""


@dataclass
class Figure:
    """One row of a table."""

    name: str
    outcomes: Sequence[Outcome]
    draw: Callable[[int], Sequence[float]]
    """Number of the experiment -> what became of it, for each outcome."""
    count: int = 0
    sums: list[float] = field(default_factory=list)

    def add(self, experiments: int) -> None:
        """Run so many more."""
        self.sums = self.sums or [0.0] * len(self.outcomes)
        for number in range(self.count, self.count + experiments):
            self.sums = [total + float(each) for total, each in zip(self.sums, self.draw(number), strict=True)]
        self.count += experiments

    def rows(self, part: str) -> list[tuple[str, bool]]:
        """A Markdown row for each outcome, and whether it misses its aim."""
        found = []
        for outcome, total in zip(self.outcomes, self.sums, strict=True):
            share = total / self.count
            error = np.sqrt(max(share * (1 - share), 0.25 / self.count) / self.count) if outcome.share else 0.0
            actual = f"{100 * share:.1f} ± {100 * error:.1f}" if outcome.share else f"{100 * share:.1f}"
            missed = outcome.aim is not None and outcome.aim.missed(share, self.count)
            known = (str(outcome.aim or ""), actual, str(self.count), "MISSED" if missed else "")
            cells = (part, self.name, outcome.name, outcome.nominal, *known)
            found.append((f"| {' | '.join(cells)} |", missed))
        return found


HEAD: Final = "| part | figure | outcome | nominal | aim | actual, % | experiments | |\n|-|-|-|-|-|-|-|-|"


def pooled(figures: Sequence[Figure], part: str) -> list[str]:
    """A row for each outcome that has an aim, over all figures, hard and easy ones together."""
    groups: dict[tuple[str, str, str], list[tuple[float, int]]] = {}
    for each in figures:
        for outcome, total in zip(each.outcomes, each.sums, strict=False):
            if outcome.aim is not None:
                groups.setdefault((outcome.name, outcome.nominal, str(outcome.aim)), []).append((total, each.count))
    rows = []
    for kind, found in groups.items():
        count = sum(each for _, each in found)
        share = sum(total for total, _ in found) / count
        error = np.sqrt(max(share * (1 - share), 0.25 / count) / count)
        cells = (part, f"all {len(found)} together", *kind, f"{100 * share:.1f} ± {100 * error:.1f}", str(count), "")
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def resume(figures: Sequence[Figure], part: str, path: Path | None) -> None:
    """Take over what an earlier call counted."""
    if path is None or not path.is_file():
        return
    known = {(each["part"], each["name"]): each for each in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    for figure in figures:
        if (found := known.get((part, figure.name))) and len(found["sums"]) == len(figure.outcomes):
            figure.count, figure.sums = int(found["count"]), [float(each) for each in found["sums"]]


def keep(figures: Iterable[Figure], part: str, path: Path | None) -> None:
    """Append what is counted so far; the last line of a figure counts."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            for each in figures:
                file.write(json.dumps({"part": part, "name": each.name, "count": each.count, "sums": each.sums}) + "\n")


def run(figures: Sequence[Figure], part: str, experiments: int, seconds: float, path: Path | None) -> bool:
    """Bring every figure to so many experiments, for at most so many seconds of processor time; whether all are there."""
    resume(figures, part, path)
    begun = time.process_time()
    while open_ := [each for each in figures if each.count < experiments]:
        fewest = min(each.count for each in open_)
        for each in open_:
            if each.count == fewest:
                each.add(min(ROUND, experiments - each.count))
        keep(open_, part, path)
        if time.process_time() - begun > seconds:
            break
    return all(each.count >= experiments for each in figures)
