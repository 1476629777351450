"""Does a judge agree with people? Grades side by side, and the mean of the judge's scores corrected by the labels that there are.

    agreement([1, 0, 1, 1], [1, 1, 1, 1])                  share alike, Cohen's kappa with its interval
    corrected_mean(all scores, judge's, people's)          prediction-powered: few labels, many verdicts

A judge may be lenient by ten points and still order models rightly; only labels tell. The corrected mean is that of Angelopoulos, Duchi &
Zrnic 2023, "PPI++: Efficient Prediction-Powered Inference" (arXiv 2311.01453), section 2: the labels' own mean, moved by what the judge
says of the answers without a label, as far as it has been right on those with one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

_RESAMPLES: Final = 1_000
#: Labels under which an interval would be a guess.
FEWEST: Final = 10


class AgreementError(ValueError):
    """Too few labels, or labels that say nothing."""


@dataclass(frozen=True)
class Agreement:
    """How far two graders of the same answers agree."""

    answers: int
    alike: float
    """Share of answers with the same grade."""
    kappa: float
    """Cohen's, beyond chance; NaN where both gave one grade only."""
    weighted: float
    """The same with linear weights, where grades have an order."""
    interval: tuple[float, float]
    """Of ``weighted``, by resampling answers."""


@dataclass(frozen=True)
class Mean:
    """A mean with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Correction:
    """The mean of a judge's scores, and what labels make of it."""

    labelled: int
    unlabelled: int
    judged: float
    """The judge's own mean over all answers."""
    labels: Mean
    """By the labels alone."""
    corrected: Mean
    """By both."""
    weight: float
    """How much the judge counts, from 0 (not at all) to 1."""


def agreement(judged: Sequence[float], labels: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> Agreement:
    """Compare two graders' grades of the same answers, in order. Raises AgreementError under :data:`FEWEST` answers."""
    one, two = np.asarray(judged, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    _check(len(one))
    codes = {value: code for code, value in enumerate(sorted({*one.round(6).tolist(), *two.round(6).tolist()}))}
    first, second = (np.array([codes[value] for value in each.round(6).tolist()], dtype=np.intp) for each in (one, two))
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(first), size=(_RESAMPLES, len(first)))
    resampled = np.array([_kappa(first[draw], second[draw], "linear", len(codes)) for draw in draws])
    tail = 100 * (1 - confidence) / 2
    known = resampled[~np.isnan(resampled)]
    low, high = np.percentile(known, [tail, 100 - tail]) if len(known) else (math.nan, math.nan)
    kappas = [_kappa(first, second, weights, len(codes)) for weights in (None, "linear")]
    return Agreement(len(first), float((first == second).mean()), kappas[0], kappas[1], (float(low), float(high)))


def _kappa(first: npt.NDArray[np.intp], second: npt.NDArray[np.intp], weights: str | None, grades: int) -> float:
    """Cohen's kappa of grades that are numbered from 0."""
    if len(np.union1d(first, second)) < 2:
        return math.nan
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(first, second, labels=range(grades), weights=weights))


def corrected_mean(
    judged: Sequence[float], on_labelled: Sequence[float], labels: Sequence[float], *, confidence: float = 0.95
) -> Correction:
    """Correct the mean of a judge's scores by labels.

    Args:
        judged: the judge's scores of the answers without a label.
        on_labelled: its scores of those with one.
        labels: what people say of the same answers, in the same order. They have to be a random choice of all answers.

    Raises AgreementError under :data:`FEWEST` labels.
    """
    rest, known, truth = (np.asarray(each, dtype=np.float64) for each in (judged, on_labelled, labels))
    n, many = len(truth), len(rest)
    _check(n)
    quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    alone = float(truth.mean())
    spread = quantile * math.sqrt(float(truth.var(ddof=1)) / n)
    weight = _weight(known, truth, many)
    value, variance = alone, float(truth.var(ddof=1)) / n
    if many > 1:
        value += weight * float(rest.mean() - known.mean())
        variance = float((truth - weight * known).var(ddof=1)) / n + weight**2 * float(rest.var(ddof=1)) / many
    reach = quantile * math.sqrt(variance)
    return Correction(
        labelled=n,
        unlabelled=many,
        judged=float(np.concatenate([rest, known]).mean()),
        labels=Mean(alone, *_ends(alone, spread)),
        corrected=Mean(min(1.0, max(0.0, value)), *_ends(value, reach)),
        weight=weight if many > 1 else 0.0,
    )


def _ends(value: float, reach: float) -> tuple[float, float]:
    return max(0.0, value - reach), min(1.0, value + reach)


def _weight(known: Floats, truth: Floats, many: int) -> float:
    """The weight of the judge that makes the interval smallest."""
    spread = float(known.var(ddof=1))
    if many < 2 or spread == 0:
        return 0.0
    shared = float(np.cov(known, truth, ddof=1)[0, 1])
    return min(1.0, max(0.0, shared / ((1 + len(truth) / many) * spread)))


def _check(labels: int) -> None:
    if labels < FEWEST:
        raise AgreementError(f"{labels} labelled answers are too few to tell anything from; label at least {FEWEST}, better 50")
