"""How small a difference a suite can find, and how many questions another one would take.

Normal approximation: the standard error of a mean of n questions falls with 1/sqrt(n). Questions, not examples, are what counts:
asking one question at more depths adds less than a new question does.
"""

import math
from dataclasses import dataclass

from reports.compare import Comparison


@dataclass(frozen=True)
class Needed:
    """The size of a suite that would find an effect with 80% power, if its questions vary as these do."""

    effect: float
    """True difference, as a fraction of 1."""
    clusters: int
    """Questions, over all tasks and lengths that the score draws on."""
    examples: int


def needed(comparison: Comparison, effect: float) -> Needed | None:
    """Questions and examples that would find a true difference of ``effect``; None where the spread is unknown.

    Raises ValueError for an effect that is not a positive number.
    """
    if not effect > 0 or math.isinf(effect):
        raise ValueError(f"an effect of {effect} cannot be looked for; give a positive difference")
    if math.isnan(comparison.mde):
        return None
    factor = (comparison.mde / effect) ** 2
    return Needed(effect, _times(comparison.n_clusters, factor), _times(comparison.n_examples, factor))


def _times(size: int, factor: float) -> int:
    return max(2, math.ceil(size * factor - 1e-9))
