"""Paired, clustered, stratified bootstrap over a benchmark's hierarchy (:mod:`reports.hierarchy`).

Resampling draws clusters (questions, each with all its examples and metrics) with replacement within each stratum, the same draw for
every model, length, metric and average. Training seeds are too few to be drawn: what they vary by enters as Student's distribution.

With few questions a bootstrap interval is too narrow: its variance lacks n / (n - 1) and its quantiles are the normal's, not Student's.
Both are mended by reading it at wider levels (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", Am. Stat. 69, section
4.5), with Satterthwaite's degrees of freedom where an average draws on several strata.

Cluster bootstrap: Davison & Hinkley 1997, section 3.8; BCa in several strata: section 5.3.2. Paired differences for model comparison:
Miller 2024, arXiv 2411.00640.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.hierarchy import Design, Floats, Ints
from reports.permutation import p_values
from reports.rare import unseen
from reports.resample import bootstrap_cells

Interval: TypeAlias = Literal["percentile", "bca"]
#: Column of differences -> for each side with several training seeds, its seeds' deviations from their mean, (rows, seeds).
Seeds: TypeAlias = Mapping[int, Sequence[Floats]]

POWER: Final = 0.80
#: Questions below which no claim is made: two equal models all differ the same way on five in one of 16 cases.
FEWEST: Final = 6
_BISECTIONS: Final = 24


@dataclass(frozen=True)
class Estimate:
    """Uncertainty of paired differences; every array is targets x columns."""

    low: Floats
    high: Floats
    p: Floats
    """Two-sided sign-flip permutation p-value."""
    mde: Floats
    """Smallest true difference that a two-sided test at this level would find with 80% power, by the normal approximation."""


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
    """Compute intervals, p-values and detectable effects of paired ``differences`` (rows of the table, columns).

    Columns are separate comparisons on the same examples; they share resamples. A column of a comparison with several training seeds
    holds the difference of the seeds' means, and ``seeds`` their deviations; its p-value takes these seeds as given. A target that
    draws on a cell with a single cluster has no measurable spread: its interval and ``mde`` are NaN. ``expand`` widens intervals from
    few clusters to their nominal coverage. Needs at least 2 resamples.
    """
    boot_rng, flip_rng = rng.spawn(2)
    found = spread(plan, differences, resamples=resamples, rng=boot_rng, interval=interval, seeds=seeds, expand=expand)
    low, high = found.limits((1 - confidence) / 2)
    p = p_values(plan, differences, resamples=resamples, rng=flip_rng)
    return Estimate(low, high, p, detectable(found, confidence))


def detectable(found: "Spread", confidence: float) -> Floats:
    """Compute the true differences that a test at this level would find with 80% power, by the normal approximation."""
    return np.asarray((stats.norm.ppf((1 + confidence) / 2) + stats.norm.ppf(POWER)) * found.deviation, dtype=np.float64)


@dataclass(frozen=True)
class Spread:
    """Bootstrap distributions of means, which can be asked for their limits at any level; arrays are targets x columns."""

    observed: Floats
    below: Floats
    """Sorted draws for lower limits, (resamples, targets, columns)."""
    above: Floats
    """Likewise for upper limits; the same array where nothing is added for what was not seen (:mod:`reports.rare`)."""
    moments: "_Moments"
    shift: Floats | None
    """Bias in standard normal units, of a BCa interval."""
    seeds: tuple[tuple[int, int, Floats], ...]
    """For each side with several training seeds its column, their number, and the variance of their mean, (targets,)."""
    expand: bool
    unknown: npt.NDArray[np.bool_]
    """Targets without a measurable spread."""

    @property
    def deviation(self) -> Floats:
        """Standard errors, of questions and of training seeds together."""
        found = np.sqrt(self.moments.squares + self.of_seeds)
        found[self.unknown] = np.nan
        return np.asarray(found, dtype=np.float64)

    @property
    def of_seeds(self) -> Floats:
        """Variance that comes from the choice of training seeds."""
        found = np.zeros_like(self.observed)
        for column, _, variance in self.seeds:
            found[:, column] += variance
        return found

    def limits(self, tail: float | Floats) -> tuple[Floats, Floats]:
        """Compute lower and upper limits, each of which is wrong with a chance of ``tail``; NaN where nothing is known of the spread.

        The distance to a limit from questions and that from training seeds (Student's, from as many seeds as there are) are added
        as squares: exact where one of the two rules, on the safe side between (Graybill & Wang 1980, JASA 75).
        """
        level = self.moments.tails(tail) if self.expand else np.broadcast_to(np.asarray(tail, dtype=np.float64), self.observed.shape)
        levels = [level, 1 - level]
        if self.shift is not None:
            scores = [self.shift + stats.norm.ppf(each) for each in levels]
            levels = [stats.norm.cdf(self.shift + z / (1 - self.moments.acceleration() * z)) for z in scores]
        low, high = (_quantiles(draws, each) for draws, each in zip((self.below, self.above), levels, strict=True))
        if self.expand and self.below is not self.above:  # of a handful of questions no resample lies as far out as Student's quantile
            student = self.moments.student(tail)
            low, high = np.minimum(low, self.observed - student), np.maximum(high, self.observed + student)
        if self.seeds:
            reach = np.zeros_like(self.observed)
            tails = np.broadcast_to(np.asarray(tail, dtype=np.float64), self.observed.shape)
            for column, size, variance in self.seeds:
                reach[:, column] += stats.t.ppf(tails[:, column], size - 1) ** 2 * variance
            low = np.where(reach > 0, self.observed - np.sqrt((self.observed - low) ** 2 + reach), low)
            high = np.where(reach > 0, self.observed + np.sqrt((self.observed - high) ** 2 + reach), high)
        for array in (low, high):
            array[self.unknown] = np.nan
        return low, high

    def p_values(self) -> Floats:
        """Compute the two-sided level at which each interval would just exclude 0."""
        outside, inside = np.full(self.observed.shape, 1e-9), np.full(self.observed.shape, 0.5)  # tails
        for _ in range(_BISECTIONS):
            middle = np.sqrt(outside * inside)
            low, high = self.limits(middle)
            excludes = (low > 0) | (high < 0)
            inside, outside = np.where(excludes, middle, inside), np.where(excludes, outside, middle)
        return np.asarray(np.where(self.unknown[:, None], 1.0, np.minimum(1.0, 2 * inside)))


def spread(
    plan: Design,
    values: Floats,
    *,
    resamples: int,
    rng: np.random.Generator,
    interval: Interval = "percentile",
    seeds: Seeds | None = None,
    expand: bool = True,
    rare: bool = False,
    seen: Floats | None = None,
    extra: Sequence[tuple[int, int, Floats]] = (),
) -> Spread:
    """Draw the bootstrap distribution of every target's mean of each column of ``values`` (rows of the table, columns).

    ``rare`` leaves room for questions of a kind that was not seen (:mod:`reports.rare`), for values that differ by 1 at most; how much,
    the values that were ``seen`` say where ``values`` are adjusted ones. ``extra`` variance, (targets,), of a column's mean, and how
    many draws it is known from, is added to what questions and training seeds do.
    """
    boot_rng, rare_rng = rng.spawn(2)
    draws = resampled(plan, values, resamples=resamples, rng=boot_rng)
    observed = plan.means(values)
    shift = None
    if interval == "bca":
        below = ((draws < observed).mean(axis=0) + (draws <= observed).mean(axis=0)) / 2
        edge = 1 / (2 * len(draws))
        shift = np.asarray(stats.norm.ppf(np.clip(below, edge, 1 - edge)), dtype=np.float64)
    of_seeds = list(extra)
    for column, sides in (seeds or {}).items():
        for side in sides:
            size = side.shape[1]
            of_seeds.append((column, size, (plan.means(side) ** 2).sum(axis=1) / (size * (size - 1))))
    if rare:
        room, chances = unseen(plan, values if seen is None else seen), (rare_rng.permutation(resamples) + 0.5) / resamples
        lower, upper = (np.sort(room.widened(draws, side, chances), axis=0) for side in (-1, 1))
    else:
        lower = upper = np.sort(draws, axis=0)
    return Spread(observed, lower, upper, _moments(plan, values), shift, tuple(of_seeds), expand, plan.without_spread())


def resampled(plan: Design, values: Floats, *, resamples: int, rng: np.random.Generator) -> Floats:
    """Compute every target's mean of each column of ``values`` (rows, columns) in each resample: (resamples, targets, columns)."""
    return np.asarray(plan.weights @ bootstrap_cells(plan, values, resamples, rng), dtype=np.float64)


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

    @property
    def freedom(self) -> Floats:
        """Satterthwaite's degrees of freedom."""
        known = (self.squares > 1e-30) & (self.spread > 0)
        return np.divide(self.variance**2, self.spread, out=np.full_like(self.spread, np.inf), where=known)

    def student(self, tail: float | Floats) -> Floats:
        """Compute how far Student's limit lies from the mean where there are fewer than six questions, else 0."""
        few = self.freedom < FEWEST - 1
        return np.where(few, -stats.t.ppf(tail, np.where(few, self.freedom, 1.0)) * np.sqrt(self.variance), 0.0)

    def tails(self, tail: float | Floats) -> Floats:
        """Compute the level at which to read the bootstrap distribution for a nominal ``tail``."""
        known, freedom = self.squares > 1e-30, self.freedom
        ratio = np.divide(self.variance, self.squares, out=np.ones_like(self.squares), where=known)
        return np.asarray(stats.norm.cdf(stats.t.ppf(tail, freedom) * np.sqrt(ratio)), dtype=np.float64)


def influences(plan: Design, values: Floats) -> Iterator[tuple[Ints, Floats]]:
    """Say for each stratum how many of its clusters each target draws on, (targets,), and how far each pulls the target's mean of each
    column of ``values``, (clusters, targets, columns)."""
    for stratum in plan.strata:
        counts, weights = stratum.counts(), plan.weights[:, stratum.cells].T
        sums, sizes = stratum.sums(values), counts.sum(axis=0)
        pull = (sums - counts[:, :, None] * (sums.sum(axis=0) / sizes[:, None])) / sizes[:, None]
        units = np.count_nonzero((counts > 0).astype(float) @ (weights > 0), axis=0)
        yield units, np.stack([pull[:, :, column] @ weights for column in range(values.shape[1])], axis=-1)


def _moments(plan: Design, differences: Floats) -> _Moments:
    shape = (len(plan.targets), differences.shape[1])
    found = _Moments(*(np.zeros(shape) for _ in range(4)))
    for units, pulls in influences(plan, differences):
        for column in range(shape[1]):
            influence = pulls[:, :, column]
            squares = (influence**2).sum(axis=0)
            unbiased = squares * units / np.maximum(1, units - 1)
            found.squares[:, column] += squares
            found.cubes[:, column] += (influence**3).sum(axis=0)
            found.variance[:, column] += unbiased
            found.spread[:, column] += unbiased**2 / np.maximum(1, units - 1)
    return found


def _quantiles(ordered: Floats, levels: Floats) -> Floats:
    """Linear interpolation between order statistics along the first axis, at a level of its own for each element."""
    place = levels * (len(ordered) - 1)
    under = np.clip(np.floor(place).astype(np.intp), 0, len(ordered) - 2)
    lower, upper = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (under, under + 1))
    return np.asarray(lower + (upper - lower) * (place - under), dtype=np.float64)
