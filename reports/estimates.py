"""The scores of one evaluation by itself, with their intervals: what it says of the questions that it did not ask.

The same averages as everywhere (:mod:`reports.hierarchy`) and the same bootstrap as a leaderboard's (:mod:`reports.bootstrap`). Two such
intervals say little about a difference: that takes a comparison, which pairs the questions.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.bootstrap import spread
from reports.comparable import distinct, ordered, valid
from reports.comparison import CompareError, percent, points
from reports.hierarchy import Scope, design
from reports.stopping import stopping_of


@dataclass(frozen=True)
class Score:
    """One score of an evaluation; fractions of 1."""

    scope: Scope
    category: str | None
    task: str | None
    metric: str | None
    length: int | None
    """Tokens; None is the mean over lengths."""
    score: float
    low: float
    """Lower end of the interval; NaN where nothing is known of the spread, and where an evaluation stopped early."""
    high: float
    n_examples: int
    n_questions: int
    confidence: float = 0.95

    @property
    def label(self) -> str:
        """What it is about: "overall", "recall", "niah ruler_recall"."""
        return f"{self.task} {self.metric}" if self.scope == "task" else self.category or "overall"

    @property
    def interval(self) -> str:
        """Its interval in points: "[51.0, 61.1]"; "" where there is none."""
        return "" if math.isnan(self.low) else f"[{points(self.low)}, {points(self.high)}]"


def estimated(tables: Sequence[pd.DataFrame], *, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95) -> list[Score]:
    """Estimate every score of one evaluation, or of several training seeds of one method: overall, categories, dataset-metrics.

    Raises :class:`CompareError` for tables that are not valid, or of different questions.
    """
    mine = distinct([ordered(valid(each, "the evaluation")) for each in tables])
    if any(len(each) != len(mine[0]) or (each["example_id"] != mine[0]["example_id"]).any() for each in mine):
        raise CompareError("the training seeds were not asked the same questions; look at one of them")
    plan = design(mine[0])
    scores = np.column_stack([each["score"].to_numpy(dtype=np.float64) for each in mine])
    means = scores.mean(axis=1, keepdims=True)
    seeds = {0: [scores - means]} if len(mine) > 1 else None
    found = spread(plan, means, resamples=resamples, rng=np.random.default_rng(seed), seeds=seeds, rare=True)
    low, high = (np.clip(each[:, 0], 0, 1) for each in found.limits((1 - confidence) / 2))
    if any((mark := stopping_of(each)) is not None and not mark.complete for each in mine):
        low, high = np.full_like(low, math.nan), np.full_like(high, math.nan)  # these would have to hold whenever the looking stopped
    observed = plan.means(means)[:, 0]
    return [
        Score(
            each.scope, each.category, each.task, each.metric, each.length, float(observed[at]), float(low[at]), float(high[at]),
            each.n_examples, each.n_clusters, confidence,
        )
        for at, each in enumerate(plan.targets)
    ]  # fmt: skip


def lines(scores: Sequence[Score], scopes: Sequence[Scope] = ("overall", "category")) -> list[Score]:
    """List the scores that a table shows: lengths ascending, then their mean where there are several."""
    chosen = [each for each in scores if each.scope in scopes]
    several = len({each.length for each in chosen} - {None}) > 1
    rank = {label: at for at, label in enumerate(dict.fromkeys(each.label for each in chosen))}
    shown = [each for each in chosen if several or each.length is not None]
    return sorted(shown, key=lambda each: (rank[each.label], math.inf if each.length is None else each.length))


def sentences(scores: Sequence[Score]) -> list[str]:
    """Say what the evaluation found: the outcome, its figures, and the rest, as :func:`reports.compare.sentences` gives a verdict."""
    overall = next(each for each in scores if each.scope == "overall" and each.length is None)
    known = (
        f"As far as {overall.n_questions:,} questions tell, its true score lies between {points(overall.low)} and {points(overall.high)} "
        f"({percent(overall.confidence)} interval; {overall.n_examples:,} examples)."
        if overall.interval
        else f"No interval: {overall.n_questions:,} questions of this evaluation do not give one ({overall.n_examples:,} examples)."
    )
    categories = [each for each in lines(scores, ("category",)) if each.length is None] or lines(scores, ("category",))
    ranked = sorted(categories, key=lambda each: -each.score)
    named = ", ".join(f"{each.category} {points(each.score)}" for each in ranked)
    return [f"Overall score {points(overall.score)} of 100.", known, *([f"From best to worst: {named}."] if len(ranked) > 1 else [])]


def frame(scores: Sequence[Score]) -> pd.DataFrame:
    """Make a table of scores, one a row; ``length`` is missing for means over lengths."""
    records: list[dict[str, Any]] = [asdict(each) for each in scores]
    return pd.DataFrame.from_records(records).astype({"length": "Int64", **dict.fromkeys(("category", "task", "metric"), "string")})
