"""Paired, clustered, stratified bootstrap over a benchmark's hierarchy (:mod:`reports.hierarchy`).

Resampling draws clusters (questions, each with all its examples and metrics) with replacement within each stratum, the same draw for
every model, length, metric and average. Training seeds are an outer level: each resample also draws, for every side of a comparison
with several seeds, as many seeds with replacement.

With few questions a bootstrap interval is too narrow: its variance lacks n / (n - 1) and its quantiles are the normal's, not Student's.
Both are mended by reading it at wider levels (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", Am. Stat. 69, section
4.5), with Satterthwaite's degrees of freedom where an average draws on several strata.

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
    expand: bool = True,
) -> Estimate:
    """Intervals, p-values and detectable effects of paired ``differences`` (rows of the table, columns).

    Columns are separate comparisons on the same examples; they share resamples. A column of a comparison with several training seeds
    holds the difference of the seeds' means, and ``seeds`` their deviations; its p-value takes these seeds as given. A target that
    draws on a cell with a single cluster has no measurable spread: its interval and ``mde`` are NaN. ``expand`` widens intervals from
    few clusters to their nominal coverage. Needs at least 2 resamples.
    """
    boot_rng, flip_rng = rng.spawn(2)
    deltas = resampled(plan, differences, resamples=resamples, rng=boot_rng, seeds=seeds)
    tail = (1 - confidence) / 2
    moments = _moments(plan, differences, seeds or {})
    tails = moments.tails(tail) if expand else np.full(deltas.shape[1:], tail)
    low, high = _ends(plan.means(differences), deltas, tails, moments.acceleration() if interval == "bca" else None)
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


@dataclass(frozen=True)
class _Moments:
    """Of the units' influence on each target; every array is targets x columns."""

    squares: Floats
    """Variance of the bootstrap distribution, from influences."""
    cubes: Floats
    variance: Floats
    """Unbiased variance of the estimate."""
    spread: Floats
    """Sum of each stratum's squared share of ``variance`` over its degrees of freedom."""

    def acceleration(self) -> Floats:
        """Davison & Hinkley 1997, equation 5.24."""
        power = self.squares**1.5
        return np.divide(self.cubes, 6 * power, out=np.zeros_like(power), where=power > 1e-30)

    def tails(self, tail: float) -> Floats:
        """The level at which to read the bootstrap distribution for a nominal ``tail``."""
        known = self.squares > 1e-30
        freedom = np.divide(self.variance**2, self.spread, out=np.full_like(self.spread, np.inf), where=known & (self.spread > 0))
        ratio = np.divide(self.variance, self.squares, out=np.ones_like(self.squares), where=known)
        return np.asarray(stats.norm.cdf(stats.t.ppf(tail, freedom) * np.sqrt(ratio)), dtype=np.float64)


def _moments(plan: Design, differences: Floats, seeds: Seeds) -> _Moments:
    shape = (len(plan.targets), differences.shape[1])
    found = _Moments(*(np.zeros(shape) for _ in range(4)))
    for stratum in plan.strata:
        counts, weights = stratum.counts(), plan.weights[:, stratum.cells].T
        sums, sizes = stratum.sums(differences), counts.sum(axis=0)
        pull = (sums - counts[:, :, None] * (sums.sum(axis=0) / sizes[:, None])) / sizes[:, None]
        units = np.count_nonzero((counts > 0).astype(float) @ (weights > 0), axis=0)
        for column in range(shape[1]):
            influence = pull[:, :, column] @ weights
            squares = (influence**2).sum(axis=0)
            unbiased = squares * units / np.maximum(1, units - 1)
            found.squares[:, column] += squares
            found.cubes[:, column] += (influence**3).sum(axis=0)
            found.variance[:, column] += unbiased
            found.spread[:, column] += unbiased**2 / np.maximum(1, units - 1)
    for column, sides in seeds.items():
        for side in sides:
            size = side.shape[1]
            unbiased = (plan.means(side) ** 2).sum(axis=1) / (size * (size - 1))
            found.squares[:, column] += unbiased  # what the rescaled draw of seeds gives
            found.variance[:, column] += unbiased
            found.spread[:, column] += unbiased**2 / (size - 1)
    return found


def _ends(observed: Floats, deltas: Floats, tails: Floats, acceleration: Floats | None) -> tuple[Floats, Floats]:
    """Both ends of the percentile interval, or of the bias-corrected and accelerated one; targets x columns each."""
    ordered = np.sort(deltas, axis=0)
    levels = [tails, 1 - tails]
    if acceleration is not None:
        below = ((deltas < observed).mean(axis=0) + (deltas <= observed).mean(axis=0)) / 2
        edge = 1 / (2 * len(deltas))
        shift = stats.norm.ppf(np.clip(below, edge, 1 - edge))
        scores = [shift + stats.norm.ppf(level) for level in levels]
        levels = [stats.norm.cdf(shift + z / (1 - acceleration * z)) for z in scores]
    low, high = (_quantiles(ordered, level) for level in levels)
    return low, high


def _quantiles(ordered: Floats, levels: Floats) -> Floats:
    """Linear interpolation between order statistics along the first axis, at a level of its own for each element."""
    place = levels * (len(ordered) - 1)
    under = np.clip(np.floor(place).astype(np.intp), 0, len(ordered) - 2)
    lower, upper = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (under, under + 1))
    return np.asarray(lower + (upper - lower) * (place - under), dtype=np.float64)
