"""How far two measurements of a model's heads agree: between two files, or between two halves of one.

>>> from retmask.heads import TrialFacts
>>> one, other = (HeadScores("", np.array([[[0.8, 0.2], [0.0, x]]], np.float32), (TrialFacts(True),)) for x in (0.4, 0.1))
>>> compare(one, other, threshold=0.3, sizes=(2,))["overlap"]
{'2': 0.5}
"""

from collections.abc import Sequence
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.api import HarnessError, Json
from retmask.heads import HeadScores

SIZES: Final = (5, 10, 20, 50, 100)


def compare(before: HeadScores, after: HeadScores, *, threshold: float, sizes: Sequence[int] = SIZES) -> dict[str, Json]:
    """Rank correlation, overlap of the top heads, and how the scores of masked and other heads changed from ``before`` to ``after``.

    The change is the paper's (RetMask, arXiv 2601.11020, section 5): the mean of ``after - before`` over the heads that score ``threshold``
    or more before, and over all others; None where there are none. HarnessError for models of different shapes.
    """
    if before.shape != after.shape:
        shapes = " and ".join(f"{layers} layers of {heads} heads" for layers, heads in (before.shape, after.shape))
        raise HarnessError(f"the files are of different models ({shapes}), whose heads do not correspond")
    first, second = before.mean.ravel(), after.mean.ravel()
    masked = first >= threshold
    change = second - first
    return {
        "heads": int(first.size),
        "rank_correlation": rank_correlation(first, second),
        "overlap": {str(k): overlap(first, second, k) for k in sizes if k < first.size},
        "threshold": threshold,
        "at_least": [int(masked.sum()), int((second >= threshold).sum())],
        "change": {"masked": _mean(change[masked]), "unmasked": _mean(change[~masked])},
    }


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Spearman's, with the mean rank for ties, in [-1, 1]; None where one side is constant."""
    a, b = (_ranks(values) - (values.size + 1) / 2 for values in (first, second))
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else None


def overlap(first: NDArray[np.float64], second: NDArray[np.float64], k: int) -> float:
    """Share of the k highest on one side that are among the k highest on the other; ties in the order of the heads."""
    tops = [set(np.argsort(-values, kind="stable")[:k].tolist()) for values in (first, second)]
    return len(tops[0] & tops[1]) / k


def split_half(scores: HeadScores, splits: int = 100, seed: int = 0) -> float | None:
    """Mean rank correlation of the head scores of two random halves of the counted trials: how well the ranking would come back.

    It is that of half as many trials, so it errs on the low side. None for a single trial, or scores that do not vary.
    """
    trials = len(scores.counted)
    flat = scores.counted.reshape(trials, -1).astype(np.float64)
    rng = Random(f"halves:{seed}")
    found = []
    for _ in range(splits if trials > 1 else 0):
        order = rng.sample(range(trials), trials)
        correlation = rank_correlation(flat[order[: trials // 2]].mean(axis=0), flat[order[trials // 2 :]].mean(axis=0))
        found += [] if correlation is None else [correlation]
    return sum(found) / len(found) if found else None


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse.ravel()]
    return ranks


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
