"""How few heads retrieval sits in: measures of a score file, and how sure its trials make them."""

from typing import Final

import numpy as np

from retmask.heads.scores import HeadScores

#: Measures, and what a figure's axis says of them.
MEASURES: Final = {
    "gini": "Gini coefficient of head scores",
    "hoyer": "Hoyer sparsity of head scores",
    "share": "share of heads that score --tau or more",
    "depth": "share of heads masked until needles are lost (audit)",
}
_DRAWS: Final = 200


def sparsity(scores: HeadScores, tau: float, seed: int, depth: int | None = None) -> tuple[dict[str, float], dict[str, float]]:
    """Compute each measure, and its standard error over the trials; ``depth`` is the number of heads that an audit had to mask."""
    values = _measured(scores, tau)
    rng = np.random.default_rng(seed)
    drawn = [_measured(_resampled(scores, rng), tau) for _ in range(_DRAWS)]
    errors = {name: float(np.std([each[name] for each in drawn])) for name in values}
    if depth is not None:
        values["depth"], errors["depth"] = depth / len(scores.heads()), 0.0
    return values, errors


def _measured(scores: HeadScores, tau: float) -> dict[str, float]:
    return {"gini": scores.gini, "hoyer": scores.hoyer, "share": scores.at_least(tau) / len(scores.heads())}


def _resampled(scores: HeadScores, rng: np.random.Generator) -> HeadScores:
    counted = scores.counted
    facts = [trial for trial in scores.trials if trial.success]
    drawn = rng.integers(0, len(counted), len(counted))
    return HeadScores(scores.model_digest, counted[drawn], tuple(facts[index] for index in drawn))
