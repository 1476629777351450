"""Sign-flip permutation test on paired differences, and corrections for many of them.

Under the null hypothesis the two models are exchangeable question by question, so the sign of all differences of a question may flip.
Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses, section 3; Holm 1979, Scand. J. Statist. 6.

One flip of a question flips it in every comparison, average and length at once, so the flips also hold how these depend on each other.
:func:`stepdown` corrects a family with them (Westfall & Young 1993, Resampling-Based Multiple Testing, section 2.8; Romano & Wolf
2005, JASA 100): sharper than Bonferroni's bound where the members are alike, as an average and its parts are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from reports.hierarchy import Design, Floats, Ints
from reports.resample import all_flips, sign_flip_cells

_TIE = 1e-9
_FEW_HITS = 10
_STEPS = 60


@dataclass(frozen=True)
class Flips:
    """The means under random flips, and what they are held against."""

    observed: Floats
    """Targets x columns."""
    flipped: Floats
    """(resamples, targets, columns)."""
    shares: Sequence[Floats]
    """For each column what each cluster adds to each target's mean, (clusters, targets)."""
    exact: bool = False
    """Whether these are all flips there are, the observed arrangement among them, rather than a draw of them."""

    def share(self, hits: npt.NDArray[np.intp]) -> Floats:
        """Make p-values of how many flips reach what was observed; a draw counts the observed arrangement too."""
        return np.asarray((hits + (not self.exact)) / (len(self.flipped) + (not self.exact)), dtype=np.float64)

    @property
    def size(self) -> Floats:
        """Root of the sum of squares of each mean's parts, which no flip changes: its standard deviation over flips, targets x columns."""
        return np.asarray(np.sqrt(np.column_stack([(each**2).sum(axis=0) for each in self.shares])), dtype=np.float64)


def flips(plan: Design, differences: Floats, *, resamples: int, rng: np.random.Generator) -> Flips:
    """Flip the signs of paired ``differences`` (rows of the table, columns), each cluster's at once, at random or in every way."""
    flipped = plan.weights @ sign_flip_cells(plan, differences, resamples, rng)
    shares = [
        np.concatenate([_shares(plan, number, differences[:, [column]]) for number in range(len(plan.strata))])
        for column in range(differences.shape[1])
    ]
    return Flips(plan.means(differences), flipped, shares, all_flips(plan, resamples))


def p_values(plan: Design, differences: Floats, *, resamples: int, rng: np.random.Generator) -> Floats:
    """Compute two-sided p-values, targets x columns, of paired ``differences`` (rows of the table, columns).

    Random flips count the observed arrangement too, (1 + hits) / (1 + resamples). Where so few questions differ that all their
    arrangements are no more than ``resamples``, all are enumerated and the value is exact.
    """
    return single(flips(plan, differences, resamples=resamples, rng=rng))


def single(found: Flips, *, tails: bool = False) -> Floats:
    """Compute each mean's own two-sided p-value; with ``tails`` by :func:`tail` where too few flips reach it to count them."""
    resamples = len(found.flipped)
    hits = (np.abs(found.flipped) >= np.abs(found.observed) - _TIE).sum(axis=0)
    p = found.share(hits)
    limit = resamples.bit_length() - 1
    for column, shares in enumerate(found.shares):
        differing = np.abs(shares) > _TIE / 1e3
        counts = differing.sum(axis=0)
        for target in np.flatnonzero((counts <= limit) | (tails & (hits[:, column] < _FEW_HITS))):
            values = shares[differing[:, target], target]
            p[target, column] = exact(values) if counts[target] <= limit else min(p[target, column], tail(values))
    return np.asarray(p, dtype=np.float64)


def exact(values: Floats) -> float:
    """Compute the p-value of the sum of ``values`` over all 2**n assignments of signs; 1 for no values."""
    if not len(values):
        return 1.0
    codes: Ints = np.arange(1 << len(values))
    signs = 1.0 - 2.0 * (codes[:, None] >> np.arange(len(values)) & 1)
    return float(np.mean(np.abs(signs @ values) >= abs(values.sum()) - _TIE))


def tail(values: Floats) -> float:
    """Compute the p-value of the sum of ``values`` over all assignments of signs, by the saddlepoint approximation.

    Lugannani & Rice 1980, Adv. Appl. Prob. 12; for permutation tests Robinson 1982, JRSS B 44. Read at the next smaller sum where
    the sums have steps, so that a p-value of equal differences is not too small.
    """
    sizes = np.abs(values)
    smallest = 2.0 ** (1 - len(sizes))
    reached = abs(values.sum()) - float(sizes.min())
    if reached <= _TIE * sizes.sum():
        return 1.0
    if reached >= sizes.sum() * (1 - 1e-6):
        return smallest
    low, high = 0.0, 1.0 / float(sizes.mean())
    while (sizes * np.tanh(high * sizes)).sum() < reached:
        high *= 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if (sizes * np.tanh(middle * sizes)).sum() < reached else (low, middle)
    cumulant = (np.logaddexp(high * sizes, -high * sizes) - np.log(2)).sum()
    root = np.sqrt(2 * (high * reached - cumulant))
    scale = high * np.sqrt((sizes**2 / np.cosh(np.minimum(high * sizes, 300)) ** 2).sum())
    found = 2 * (special.ndtr(-root) + stats.norm.pdf(root) * (1 / scale - 1 / root))
    return float(min(1.0, max(smallest, found)))


def stepdown(found: Flips, members: npt.NDArray[np.bool_]) -> Floats:
    """Compute p-values corrected for the family of ``members`` (targets x columns); NaN outside of it.

    Rejecting those at or below a level errs anywhere in the family with that chance at most, in the order of the means' distance from
    0 in units of :attr:`Flips.size`. A difference that is the same on every question lies farthest from 0 that it can.
    """
    size = found.size
    adjusted = np.full(members.shape, np.nan)
    targets, columns = np.nonzero(members)
    scale = np.where(size[targets, columns] > 0, size[targets, columns], 1.0)
    distance = np.abs(found.observed[targets, columns]) / scale
    order = np.argsort(distance, kind="stable")  # the nearest first: each step's maximum is over those not yet rejected
    most = np.zeros(len(found.flipped))
    for at in order:
        np.maximum(most, np.abs(found.flipped[:, targets[at], columns[at]]) / scale[at], out=most)
        adjusted[targets[at], columns[at]] = found.share((most >= distance[at] * (1 - _TIE) - _TIE).sum())
    previous = 0.0
    for at in order[::-1]:
        previous = adjusted[targets[at], columns[at]] = max(previous, adjusted[targets[at], columns[at]])
    return adjusted


def critical(found: Flips, members: npt.NDArray[np.bool_], level: float) -> float:
    """Compute the two-sided level of a single mean's test that keeps a family's error rate at ``level``: that of :func:`stepdown`'s first
    step.
    """
    targets, columns = np.nonzero(members & (found.size > 0))
    if not len(targets):
        return level
    most = (np.abs(found.flipped[:, targets, columns]) / found.size[targets, columns]).max(axis=1)
    return min(level, float(2 * special.ndtr(-np.quantile(most, 1 - level))))


def holm(p: Sequence[float]) -> list[float]:
    """Compute adjusted p-values in the order given: rejecting those at or below a level keeps the family's error rate at that level."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, stepped)
    return [float(each) for each in adjusted]


def _shares(plan: Design, number: int, differences: Floats) -> Floats:
    """What each cluster of a stratum adds to each target's mean difference, (clusters, targets)."""
    stratum = plan.strata[number]
    shares = stratum.sums(differences)[:, :, 0] / stratum.counts().sum(axis=0)
    return np.asarray(shares @ plan.weights[:, stratum.cells].T, dtype=np.float64)
