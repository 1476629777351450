"""How sure head scores are: agreement of two files, of two halves of one, of its lengths and depths; intervals over its trials.

>>> from retmask.heads.scores import TrialFacts
>>> one, other = (HeadScores("", np.array([[[0.8, 0.2], [0.0, x]]], np.float32), (TrialFacts(True),)) for x in (0.4, 0.1))
>>> compare(one, other, threshold=0.3, sizes=(2,))["overlap"]
{'2': 0.5}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.api import HarnessError, Json
from retmask.heads.scores import Head, HeadScores

SIZES: Final = (5, 10, 20, 50, 100)


def compare(before: HeadScores, after: HeadScores, *, threshold: float, sizes: Sequence[int] = SIZES) -> dict[str, Json]:
    """Compute the rank correlation, overlap of the top heads, how the scores of masked and other heads changed from ``before`` to
    ``after``, and how many more needles were found.

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
        "needles": _needles(before, after),
    }


def _needles(before: HeadScores, after: HeadScores) -> Json:
    """How many needles were found before and after, gained and lost, with the exact p-value of McNemar's test (1947, Psychometrika 12).

    None unless both files are of the same trials, with written answers. The same needles asked again: p speaks of needles like these, and
    of these two models.
    """
    asked = [[(t.length, t.prompt_tokens, t.depth, t.realised_depth) for t in scores.trials] for scores in (before, after)]
    if asked[0] != asked[1] or any(trial.recall is None for scores in (before, after) for trial in scores.trials):
        return None
    first, second = (np.array([trial.success for trial in scores.trials]) for scores in (before, after))
    from scipy.stats import binomtest  # a second that no other use of this module needs

    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return {"trials": len(first), "found": [int(first.sum()), int(second.sum())], "gained": gained, "lost": lost, "p": p}


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Compute Spearman's correlation, with the mean rank for ties, in [-1, 1]; None where one side is constant."""
    a, b = (_ranks(values) - (values.size + 1) / 2 for values in (first, second))
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else None


def overlap(first: NDArray[np.float64], second: NDArray[np.float64], k: int) -> float:
    """Compute the share of the k highest on one side that are among the k highest on the other; ties in the order of the heads."""
    tops = [set(np.argsort(-values, kind="stable")[:k].tolist()) for values in (first, second)]
    return len(tops[0] & tops[1]) / k


def split_half(scores: HeadScores, splits: int = 100, seed: int = 0) -> float | None:
    """Compute the mean rank correlation of the head scores of two random halves of the counted trials: how well the ranking would come
    back.

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


@dataclass(frozen=True)
class View:
    """The trials of one length or one depth."""

    value: float
    """Tokens, or the depth asked for in [0, 1]."""
    trials: int
    counted: int
    top_score: float | None
    """Mean score, over this view's counted trials, of the heads that score highest over all; None where no trial counts."""
    rank_correlation: float | None
    """Of this view's head scores with those of all trials."""


def views(scores: HeadScores, field: Literal["length", "depth"], top: int = 10) -> list[View]:
    """Take the scores apart by length or depth. HarnessError if the file does not know its trials' (published files do not)."""
    values = [getattr(trial, field) for trial in scores.trials]
    if any(value is None for value in values):
        raise HarnessError(f"this score file does not say the {field} of its trials; published files hold scores alone")
    best = tuple(np.array([head for head, _ in scores.top(top)]).T)
    overall = scores.mean.ravel()
    found = []
    for value in sorted(set(values)):
        here = [index for index, each in enumerate(values) if each == value]
        counted = scores.per_trial[[index for index in here if scores.trials[index].success]].astype(np.float64)
        mean = counted.mean(axis=0) if len(counted) else None
        top_score = None if mean is None else float(mean[best].mean())
        agreement = None if mean is None else rank_correlation(mean.ravel(), overall)
        found.append(View(float(value), len(here), len(counted), top_score, agreement))
    return found


def intervals(scores: HeadScores, heads: Sequence[Head], resamples: int = 1000, seed: int = 0) -> list[tuple[float, float]]:
    """Compute 95% percentile bootstrap intervals of the heads' scores, the counted trials resampled."""
    values = scores.counted[(slice(None), *np.array(heads).T)].astype(np.float64)
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.quantile(np.stack([values[draw].mean(axis=0) for draw in draws]), [0.025, 0.975], axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse.ravel()]
    return ranks


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
