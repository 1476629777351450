"""Sign-flip permutation test on paired differences, and Holm's correction.

Under the null hypothesis the two models are exchangeable question by question, so the sign of all differences of a question may flip.
Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses, section 3; Holm 1979, Scand. J. Statist. 6.
"""

from collections.abc import Sequence

import numpy as np

from reports.hierarchy import Design, Floats, Ints
from reports.resample import sign_flip_cells

_TIE = 1e-9


def p_values(plan: Design, differences: Floats, *, resamples: int, rng: np.random.Generator) -> Floats:
    """Two-sided p-values, targets x columns, of paired ``differences`` (rows of the table, columns).

    Random flips count the observed arrangement too, (1 + hits) / (1 + resamples). Where so few questions differ that all their
    arrangements are no more than ``resamples``, all are enumerated and the value is exact.
    """
    observed = plan.means(differences)
    flipped = plan.weights @ sign_flip_cells(plan, differences, resamples, rng)
    found = (1 + (np.abs(flipped) >= np.abs(observed) - _TIE).sum(axis=0)) / (1 + resamples)
    limit = resamples.bit_length() - 1
    for column in range(differences.shape[1]):
        shares = [_shares(plan, number, differences[:, [column]]) for number in range(len(plan.strata))]
        differing = np.sum([(np.abs(share) > _TIE / 1e3).sum(axis=0) for share in shares], axis=0)
        for target in np.flatnonzero(differing <= limit):
            values = np.concatenate([share[:, target] for share in shares])
            found[target, column] = exact(values[np.abs(values) > _TIE / 1e3])
    return np.asarray(found, dtype=np.float64)


def exact(values: Floats) -> float:
    """The p-value of the sum of ``values`` over all 2**n assignments of signs; 1 for no values."""
    if not len(values):
        return 1.0
    codes: Ints = np.arange(1 << len(values))
    signs = 1.0 - 2.0 * (codes[:, None] >> np.arange(len(values)) & 1)
    return float(np.mean(np.abs(signs @ values) >= abs(values.sum()) - _TIE))


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: rejecting those at or below a level keeps the family's error rate at that level."""
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
