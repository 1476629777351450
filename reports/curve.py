"""What more questions or more training seeds would buy: the chance to find an effect, over questions x seeds, by simulation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports.bootstrap import POWER
from reports.comparison import Comparison, points
from reports.hierarchy import design
from reports.power import power
from reports.shape import Shape

_FACTORS: Final = (0.5, 1, 2, 4, 8)
SEEDS: Final = (1, 2, 3, 5, 10)
_MOST: Final = 8_000
_SIMULATIONS: Final = 200


@dataclass(frozen=True)
class Curve:
    """Chances to find an effect."""

    name: str
    effect: float
    questions: tuple[int, ...]
    seeds: tuple[int, ...]
    """1 is about a checkpoint alone; from 2 on, about the method."""
    chances: tuple[tuple[float, ...], ...]
    """For each number of questions, for each number of seeds."""
    of_questions: float
    """Variance of the overall difference that the questions cause."""
    of_seeds: float
    """Variance of one training seed's difference."""
    known: bool
    """Whether seeds' variance was measured; if not, it is taken to be as large as the questions'."""


def curve(name: str, overall: Comparison, shape: Shape, effect: float, of_seeds: float | None, seeds: Sequence[int] = SEEDS) -> Curve:
    """The chances of a method's overall difference; ``of_seeds`` is the variance between its training seeds, None if it has one."""
    of_questions = float((shape.weights**2 * shape.sizes**2).sum())
    variance = of_questions if of_seeds is None else of_seeds
    sizes = tuple(sorted({min(_MOST, max(6, round(overall.n_clusters * factor))) for factor in _FACTORS}))
    options = [None if count == 1 else (count, math.sqrt(variance)) for count in seeds]
    chances = tuple(tuple(power(shape, effect, size, _SIMULATIONS, option) for option in options) for size in sizes)
    return Curve(name, effect, sizes, tuple(seeds), chances, of_questions, variance, of_seeds is not None)


def variance_of_seeds(tables: Sequence[pd.DataFrame]) -> float | None:
    """Variance of one training's overall score, from samples of several that were asked the same questions; None for one."""
    scores = [design(table).means(table[["score"]].to_numpy(dtype=np.float64))[0, 0] for table in tables]
    return float(np.var(scores, ddof=1)) if len(scores) > 1 else None


def sentence(found: Curve) -> str:
    """What to buy next."""
    enough = [
        (size, count)
        for size, row in zip(found.questions, found.chances, strict=True)
        for count, chance in zip(found.seeds, row, strict=True)
        if count > 1 and chance >= POWER
    ]
    source = "as measured" if found.known else "taken to be as large as the questions', since one seed does not show it"
    parts = [
        f"{found.name}: an effect of {points(found.effect)} points.",
        f"Standard error from the questions {points(math.sqrt(found.of_questions))} points; one training seed varies by "
        f"{points(math.sqrt(found.of_seeds))} points ({source}).",
    ]
    if enough:
        size, count = min(enough, key=lambda each: (each[0] * each[1], each))
        least = f"{size:,} questions with {count} seeds"
        parts.append(f"The least that finds it in {POWER:.0%} of experiments, as a claim about the method: {least}.")
    else:
        parts.append("Nothing in this table finds it as a claim about the method; look for a larger effect, or ask more of both.")
    more = "training seeds" if found.of_seeds > found.of_questions else "questions"
    parts.append(f"What blurs it most is the {more}: buy those first.")
    return " ".join(parts)


def terminal(found: Curve) -> RenderableType:
    """The table, then what follows from it."""
    table = Table(title=Text(f"chance to find {points(found.effect)} points, {found.name}"))
    table.add_column("questions", justify="right")
    for count in found.seeds:
        table.add_column("this checkpoint" if count == 1 else f"{count} seeds", justify="right")
    for size, row in zip(found.questions, found.chances, strict=True):
        table.add_row(f"{size:,}", *(f"{chance:.0%}" for chance in row))
    return Group(table, Text(sentence(found)))
