"""How many training seeds a claim about a method takes, when one seed's difference is all that is known."""

from typing import Final

import numpy as np
from scipy import stats

from reports.bootstrap import POWER
from reports.comparison import Comparison

MOST: Final = 50


def needed_seeds(comparison: Comparison) -> int | None:
    """Count the seeds that would show a difference as large as this one with 80% power; None if :data:`MOST` do not.

    How trainings differ is unknown from one: they are taken to vary as much as the questions leave the difference uncertain.
    """
    error = (comparison.high - comparison.low) / 2 / stats.norm.ppf((1 + comparison.confidence) / 2)
    for seeds in range(2, MOST + 1):
        variance = error**2 / seeds
        reach = np.hypot(stats.norm.ppf((1 + comparison.confidence) / 2) * error, stats.t.ppf((1 + comparison.confidence) / 2, seeds - 1)
                         * np.sqrt(variance))  # fmt: skip
        if abs(comparison.delta) >= reach + stats.norm.ppf(POWER) * np.sqrt(error**2 + variance):
            return seeds
    return None
