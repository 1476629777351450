"""How hard each question is, from earlier evaluations of a larger suite, as a control variate for a smaller comparison.

Where a comparison asks n of N questions whose difficulty is known (a baseline that was asked all of them, say), its n may happen to be
harder or easier than the N. If differences depend on difficulty, that shift is luck, and can be taken out:

    adjusted = difference - theta * (mean difficulty of the n - mean difficulty of the N)

with theta the slope of differences on difficulty. That is double sampling with a regression estimator (Cochran 1977, Sampling Techniques,
section 12.6), in experiments called CUPED (Deng et al. 2013, WSDM). With r the correlation of the two, the variance falls by
r**2 * (1 - n / N): with N = n nothing is gained, since the mean difficulty of questions like these is then as unknown as the difference.

It is used only where it helps: with enough questions for a slope, and where the variance that is found, with what estimating the slope
costs, is a tenth smaller or more. benchmarks/promises.py measures its coverage, that choice included.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pandas as pd

from reports import samples
from reports.bootstrap import influences, spread
from reports.comparable import ordered, valid
from reports.comparison import CompareError, percent, points
from reports.hierarchy import CELL, Design, Floats, design

#: Questions of the comparison below which no slope is taken from them.
FEWEST: Final = 30
#: Share of the variance that has to go.
WORTH: Final = 0.1
#: Standard errors that the difficulty of the asked questions may lie from that of all; beyond it they are no random part of them.
_APART: Final = 4.0

Tables: TypeAlias = pd.DataFrame | Sequence[pd.DataFrame]


@dataclass(frozen=True)
class Known:
    """What earlier evaluations know of the questions."""

    own: Floats
    """Difficulty (mean score) of each row of the comparison."""
    plan: Design
    """Of the larger suite, the comparison's cells alone."""
    all: Floats
    """Difficulty of each of its rows."""

    @property
    def questions(self) -> int:
        """Of the larger suite."""
        return sum(each.n_clusters for each in self.plan.strata)


@dataclass(frozen=True)
class Adjusted:
    """An overall difference with the difficulty of its questions taken into account; fractions of 1."""

    name: str
    reason: str
    """Why it is not used; "" if it is."""
    plain: tuple[float, float, float]
    """Difference, lower and upper end of its interval."""
    found: tuple[float, float, float]
    """The same, adjusted; the plain figures where it is not used."""
    gain: float
    """Share of the variance that is gone; 0 or less where nothing is gained."""
    questions: int
    known: int
    confidence: float

    def record(self) -> dict[str, object]:
        """List every figure, None for an unknown one."""
        names = ("delta", "low", "high")
        ends = {
            **dict(zip(names, self.found, strict=True)),
            **{f"plain_{key}": value for key, value in zip(names, self.plain, strict=True)},
        }
        figures = {key: None if math.isnan(value) else value for key, value in {**ends, "gain": self.gain}.items()}
        about = {"reason": self.reason, "questions": self.questions, "known": self.known, "confidence": self.confidence}
        return {"name": self.name, "used": not self.reason, **figures, **about}

    def sentence(self) -> str:
        """Say it for people who know no statistics."""
        if self.reason:
            return f"{self.name}: the difficulty of questions is of no use here: {self.reason}."
        delta, low, high = (points(each, signed=True) for each in self.found)
        plain, least, most = (points(each, signed=True) for each in self.plain)
        return (
            f"{self.name}, with the difficulty of its {self.questions:,} questions held against that of all {self.known:,} in --history: "
            f"{delta} points ({percent(self.confidence)} interval {low} to {high}; without it {plain}, {least} to {most}). That is worth "
            f"{1 / (1 - self.gain):.2g} times as many questions. Marks and verdicts go by the figures without it."
        )


def adjust(
    baseline: Tables,
    methods: Mapping[str, Tables],
    history: Sequence[pd.DataFrame],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Adjusted]:
    """Adjust each method's overall difference to the baseline, where that helps.

    All are samples tables that :func:`reports.compare.compare_methods` takes. Raises :class:`CompareError` where the history does not
    know the comparison's questions.
    """
    tables = {name: [ordered(valid(each, name)) for each in _as_list(found)] for name, found in {"baseline": baseline, **methods}.items()}
    reference = tables["baseline"][0]
    known = difficulty(reference, [ordered(valid(each, "history")) for each in history])
    plan = design(reference)
    scores = {name: np.column_stack([each["score"].to_numpy(dtype=np.float64) for each in found]) for name, found in tables.items()}
    base = scores.pop("baseline")
    rngs = np.random.default_rng(seed).spawn(len(scores))
    found = []
    for (name, candidate), rng in zip(scores.items(), rngs, strict=True):
        seeds = [side - side.mean(axis=1, keepdims=True) for side in (candidate, -base) if side.shape[1] > 1]
        difference = candidate.mean(axis=1) - base.mean(axis=1)
        found.append(adjusted(name, plan, difference, known, resamples=resamples, rng=rng, confidence=confidence, seeds=seeds))
    return found


def adjusted(
    name: str,
    plan: Design,
    difference: Floats,
    known: Known,
    *,
    resamples: int,
    rng: np.random.Generator,
    confidence: float = 0.95,
    seeds: Sequence[Floats] = (),
) -> Adjusted:
    """Adjust the first target's difference, (rows,).

    ``seeds`` are the deviations of each side with several training seeds, (rows, seeds).
    """
    plain_rng, rng = rng.spawn(2)
    tail = (1 - confidence) / 2
    of_seeds = {0: seeds} if seeds else {}
    usual = spread(plan, difference[:, None], resamples=resamples, rng=plain_rng, seeds=of_seeds, rare=True)
    plain = _figures(plan, difference, usual.limits(tail))
    slope = _slope(plan, difference, known)
    reason = "a task with a single question gives no measure of spread" if math.isnan(plain[1]) else slope.why_not(known)
    questions = sum(each.n_clusters for each in plan.strata)
    if reason:
        return Adjusted(name, reason, plain, plain, slope.gain, questions, known.questions, confidence)
    values = difference - slope.theta * slope.apart
    extra = (0, max(2, known.questions), np.r_[slope.extra, np.zeros(len(plan.targets) - 1)])
    limits = spread(plan, values[:, None], resamples=resamples, rng=rng, seeds=of_seeds, rare=True, seen=difference[:, None], extra=[extra])
    return Adjusted(name, "", plain, _figures(plan, values, limits.limits(tail)), slope.gain, questions, known.questions, confidence)


def difficulty(reference: pd.DataFrame, history: Sequence[pd.DataFrame]) -> Known:
    """Compute the mean score of each question in the history's tables, which hold the same examples, those of ``reference`` among them."""
    key = list(samples.KEY)
    first = history[0]
    for each in history[1:]:
        if len(each) != len(first) or any((each[name] != first[name]).any() for name in key):
            raise CompareError("--history: evaluations of different examples; name such as were asked the same ones")
    score = np.mean([each["score"].to_numpy(dtype=np.float64) for each in history], axis=0)
    cells = pd.MultiIndex.from_frame(first[CELL])
    asked = first[cells.isin(pd.MultiIndex.from_frame(reference[CELL].drop_duplicates()))].index
    whole, score = first.loc[asked].reset_index(drop=True), score[asked]
    place = pd.MultiIndex.from_frame(whole[key]).get_indexer(pd.MultiIndex.from_frame(reference[key]))
    gone = int((place < 0).sum())
    if gone:
        raise CompareError(
            f"--history: {gone:,} of {len(reference):,} scores are of questions that it does not know; it takes an evaluation of these "
            "questions and more: the same --seed, --tasks and --lengths, with more --examples"
        )
    for column in ("cluster", "category", "targets"):
        differs = (whole[column].to_numpy()[place] != reference[column].to_numpy()).astype(bool)
        if differs.any():
            row = reference.iloc[int(differs.argmax())]
            raise CompareError(
                f"--history: example {row['example_id']!r} of task {row['task']!r} at length {row['length']} has another {column} "
                "there: it is another question; name an evaluation with the same --seed and --data"
            )
    return Known(score[place], design(whole), score)


@dataclass(frozen=True)
class _Slope:
    theta: float
    apart: Floats
    """Difficulty of each row minus the mean of its cell in the history."""
    gain: float
    extra: float
    """Variance from the history's own questions, and from estimating the slope."""
    shift: float
    """How far the questions' mean difficulty lies from that of all, in standard errors."""
    questions: int

    def why_not(self, known: Known) -> str:
        """Why it is not used; "" if it is."""
        if known.questions <= self.questions:
            return (
                "the earlier evaluations know no more questions than are compared, so that the mean difficulty of such questions is as "
                "uncertain as the difference itself; an evaluation with more --examples would know more"
            )
        if self.questions < FEWEST:
            return f"{self.questions} questions are too few to see how differences depend on it; {FEWEST} would do"
        if abs(self.shift) > _APART:
            return "the questions compared are harder or easier than the others by more than chance, so they are no random part of them"
        if not self.gain >= WORTH:
            gone = max(0.0, self.gain)
            return f"differences hardly depend on it (it would take away {gone:.0%} of the variance; it is used from {WORTH:.0%} on)"
        return ""


def _slope(plan: Design, difference: Floats, known: Known) -> _Slope:
    """The slope of the first target's differences on difficulty, within strata, and what it is worth."""
    own, all_ = _cell_means(plan, known.own), _cell_means(known.plan, known.all)
    apart = known.own - _of_rows(plan, all_)
    parts = [(units, pull[:, 0]) for units, pull in influences(plan, np.column_stack([difference, apart]))]
    pulls, units = np.concatenate([pull for _, pull in parts]), np.concatenate([np.full(len(pull), each[0]) for each, pull in parts])
    within = units / np.maximum(1, units - 1)  # unbiased
    squares = float((within * pulls[:, 1] ** 2).sum())
    theta = float((within * pulls[:, 0] * pulls[:, 1]).sum()) / squares if squares > 1e-30 else 0.0
    plain, rest = float((within * pulls[:, 0] ** 2).sum()), float((within * (pulls[:, 0] - theta * pulls[:, 1]) ** 2).sum())
    of_all = sum(float((pull[:, 0, 0] ** 2).sum()) for _, pull in influences(known.plan, known.all[:, None]))
    questions = len(pulls)
    estimating = rest * 2 / max(1, questions - len(plan.strata) - 1)
    extra = theta**2 * of_all + estimating
    gain = 1 - (rest + extra) / plain if plain > 1e-30 else 0.0
    free = max(1e-30, squares - of_all)
    shift = float(plan.weights[0] @ (own - all_)) / math.sqrt(free)
    return _Slope(theta, apart, gain, extra, shift, questions)


def _cell_means(plan: Design, values: Floats) -> Floats:
    """Mean of each cell, (cells,), of ``values`` (rows,)."""
    found = np.empty(plan.weights.shape[1])
    for each in plan.strata:
        found[each.cells] = each.sums(values[:, None]).sum(axis=0)[:, 0] / each.counts().sum(axis=0)
    return found


def _of_rows(plan: Design, cells: Floats) -> Floats:
    """Each row's cell's value, (rows,)."""
    found = np.empty(sum(len(each.rows) for each in plan.strata))
    for each in plan.strata:
        found[each.rows] = cells[each.cells[each.cell]]
    return found


def _figures(plan: Design, values: Floats, limits: tuple[Floats, Floats]) -> tuple[float, float, float]:
    low, high = (float(np.clip(end[0, 0], -1, 1)) for end in limits)
    return float(plan.means(values[:, None])[0, 0]), low, high


def _as_list(tables: Tables) -> Sequence[pd.DataFrame]:
    return [tables] if isinstance(tables, pd.DataFrame) else tables
