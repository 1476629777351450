"""Paired, clustered, stratified bootstrap over a benchmark's hierarchy (:mod:`reports.hierarchy`).

Resampling draws clusters (questions, each with all its examples and metrics) with replacement within each stratum, the same draw for
every model, length, metric and average. Training seeds are an outer level: each resample also draws, for every side of a comparison
with several seeds, as many seeds with replacement.

Cluster bootstrap: Davison & Hinkley 1997, section 3.8; BCa in several strata: section 5.3.2. Paired differences for model comparison:
Miller 2024, arXiv 2411.00640. Rescaling of a bootstrap over few units: Rao & Wu 1988, JASA 83.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy import stats

from reports.hierarchy import Design, Floats
from reports.permutation import p_values
from reports.resample import bootstrap_cells

Interval: TypeAlias = Literal["percentile", "bca"]
#: Column of differences -> for each side with several training seeds, its seeds' deviations from their mean, (rows, seeds).
Seeds: TypeAlias = Mapping[int, Sequence[Floats]]

INTERVALS: Final = ("percentile", "bca")
POWER: Final = 0.80


@dataclass(frozen=True)
class Estimate:
    """Uncertainty of paired differences; every array is targets x columns."""

    low: Floats
    high: Floats
    p: Floats
    """Two-sided sign-flip permutation p-value."""
    mde: Floats
    """Smallest true difference that a two-sided test at this level would find with 80% power."""


def estimate(
    plan: Design,
    differences: Floats,
    *,
    resamples: int,
    confidence: float,
    rng: np.random.Generator,
    interval: Interval = "percentile",
    seeds: Seeds | None = None,
) -> Estimate:
    """Intervals, p-values and detectable effects of paired ``differences`` (rows of the table, columns).

    Columns are separate comparisons on the same examples; they share resamples. A column of a comparison with several training seeds
    holds the difference of the seeds' means, and ``seeds`` their deviations; its p-value takes these seeds as given. A target that
    draws on a cell with a single cluster has no measurable spread: its interval and ``mde`` are NaN. Needs at least 2 resamples.
    """
    boot_rng, flip_rng = rng.spawn(2)
    deltas = resampled(plan, differences, resamples=resamples, rng=boot_rng, seeds=seeds)
    tail = (1 - confidence) / 2
    if interval == "bca":
        low, high = _bca(plan, differences, deltas, tail)
    else:
        low, high = np.quantile(deltas, [tail, 1 - tail], axis=0)
    detectable = (stats.norm.ppf(1 - tail) + stats.norm.ppf(POWER)) * deltas.std(axis=0, ddof=1)
    for array in (low, high, detectable):
        array[plan.without_spread()] = np.nan
    return Estimate(low, high, p_values(plan, differences, resamples=resamples, rng=flip_rng), detectable)


def resampled(plan: Design, values: Floats, *, resamples: int, rng: np.random.Generator, seeds: Seeds | None = None) -> Floats:
    """Every target's mean of each column of ``values`` (rows, columns) in each resample: (resamples, targets, columns)."""
    sides = [(column, side) for column, each in (seeds or {}).items() for side in each]
    stacked = np.hstack([values, *(side for _, side in sides)])
    means = plan.weights @ bootstrap_cells(plan, stacked, resamples, rng)
    found = means[:, :, : values.shape[1]]
    edge = values.shape[1]
    for column, side in sides:
        size = side.shape[1]
        drawn = means[:, :, edge : edge + size] @ _seed_weights(size, resamples, rng)[:, :, None]
        found[:, :, column] += drawn[:, :, 0]
        edge += size
    return np.asarray(found, dtype=np.float64)


def _seed_weights(size: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Weights of seeds' deviations in each resample, (resamples, size).

    Drawing ``size`` of ``size`` seeds gives (size - 1) / size of the variance of their mean, which matters for two or three; hence
    the factor.
    """
    drawn = rng.multinomial(size, np.full(size, 1 / size), size=resamples)
    return np.asarray((drawn / size - 1 / size) * np.sqrt(size / (size - 1)), dtype=np.float64)


def _bca(plan: Design, differences: Floats, deltas: Floats, tail: float) -> tuple[Floats, Floats]:
    """Ends of the bias-corrected and accelerated interval, targets x columns each; the observed value where nothing varies."""
    observed = plan.means(differences)
    below = ((deltas < observed).mean(axis=0) + (deltas <= observed).mean(axis=0)) / 2
    edge = 1 / (2 * len(deltas))
    shift = stats.norm.ppf(np.clip(below, edge, 1 - edge))
    acceleration = _acceleration(plan, differences)
    ordered = np.sort(deltas, axis=0)
    ends = []
    for level in (tail, 1 - tail):
        z = shift + stats.norm.ppf(level)
        place = stats.norm.cdf(shift + z / (1 - acceleration * z)) * (len(deltas) - 1)
        under = np.clip(np.floor(place).astype(np.intp), 0, len(deltas) - 2)
        lower, upper = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (under, under + 1))
        ends.append(lower + (upper - lower) * (place - under))
    return ends[0], ends[1]


def _acceleration(plan: Design, differences: Floats) -> Floats:
    """Skewness of the clusters' influence on each target, targets x columns (Davison & Hinkley 1997, equation 5.24)."""
    shape = (len(plan.targets), differences.shape[1])
    squares, cubes = np.zeros(shape), np.zeros(shape)
    for stratum in plan.strata:
        counts = stratum.counts()
        sums, sizes = stratum.sums(differences), counts.sum(axis=0)
        pull = (sums - counts[:, :, None] * (sums.sum(axis=0) / sizes[:, None])) / sizes[:, None]
        for column in range(shape[1]):
            influence = pull[:, :, column] @ plan.weights[:, stratum.cells].T
            squares[:, column] += (influence**2).sum(axis=0)
            cubes[:, column] += (influence**3).sum(axis=0)
    spread = squares**1.5
    return np.divide(cubes, 6 * spread, out=np.zeros(shape), where=spread > 1e-30)
