"""Score files of one model side by side: do they rank the same heads first, how well could they agree at all, and whose heads matter more?

Two rankings from few trials agree badly even where both measure the same thing. So each file's reliability stands beside the correlation:
the rank correlation of its halves, stepped up to the whole number of trials (Spearman 1910, Brown 1910), and the ceiling that the two
reliabilities leave, the square root of their product.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.api import HarnessError, Json
from retmask.heads import masks
from retmask.heads.agreement import compare, split_half
from retmask.heads.audit import sizes
from retmask.heads.lab import Lab, Values, interval
from retmask.heads.scores import HeadScores
from retmask.heads.trials import build_trials, evenly

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SEED: Final = 42


def relate(files: Mapping[str, HeadScores], *, threshold: float) -> dict[str, Json]:
    """Compare each pair of score files, by their names; two files give one flat table, more a list of such tables.

    HarnessError for models of different shapes.
    """
    reliable = {name: reliability(scores) for name, scores in files.items()}
    tables: list[dict[str, Json]] = []
    for before, after in combinations(files, 2):
        found = compare(files[before], files[after], threshold=threshold)
        found["detectors"] = [files[before].detector, files[after].detector]
        found["reliability"] = [reliable[before], reliable[after]]
        found["ceiling"] = _ceiling(reliable[before], reliable[after])
        tables.append({"files": [before, after], **found} if len(files) > 2 else found)
    return tables[0] if len(tables) == 1 else {"pairs": list(tables)}


def reliability(scores: HeadScores) -> float | None:
    """Estimate the rank correlation of these head scores with those of as many other trials; None for a single trial.

    >>> from retmask.heads.scores import TrialFacts
    >>> rows = np.array([[[0.9, 0.5, 0.1, 0.0]], [[0.8, 0.6, 0.2, 0.1]]], np.float32)
    >>> reliability(HeadScores("", rows, (TrialFacts(True),) * 2))
    1.0
    """
    half = split_half(scores)
    return None if half is None else round(2 * half / (1 + half), 12) if half > 0 else half


def _ceiling(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else float(np.sqrt(max(first, 0) * max(second, 0)))


def knock_out(
    files: Mapping[str, HeadScores],
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    lengths: Sequence[int],
    trials: int,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Json]:
    """Mask the heads of each file in a model, highest scores first, and see which needles of ``trials`` a length it still finds."""
    return curves(files, Lab(model, tokenizer, build_trials(tokenizer, lengths, trials, evenly(10), seed), seed), say)


def curves(files: Mapping[str, HeadScores], lab: Lab, say: Callable[[str], None] = lambda _: None) -> dict[str, Json]:
    """Measure whose knock-out curve falls first.

    A curve's height is the mean, over the sizes that ``heads audit`` tries, of the share of the intact model's needles that are still
    found: sizes grow in even proportions, so this is the area under the curve over a logarithmic axis. HarnessError if the intact model
    finds none.
    """
    if not lab.found.any():
        raise HarnessError("the model finds no needle, so no mask can lose one; choose shorter --lengths or more --trials")
    kept = np.flatnonzero(lab.found)
    heights: dict[str, Values] = {}
    drawn: dict[str, Json] = {}
    for name, scores in files.items():
        tried = sizes(len(scores.heads()))
        rows = np.stack([lab.still(masks.retrieval(scores, top_k=k))[kept] for k in tried])
        heights[name] = rows.mean(axis=0)
        drawn[name] = {
            "k": list(tried),
            "still_found": rows.mean(axis=1).tolist(),
            "height": list(interval(heights[name], _SEED)),
        }
        say(
            f"heads: masking by {name}, needle still found in "
            + ", ".join(f"{x:.0%} ({k})" for k, x in zip(tried, rows.mean(1), strict=True))
        )
    return {"needles": len(kept), "curves": drawn, **_first(heights)}


def _first(heights: Mapping[str, Values]) -> dict[str, Json]:
    """Whose curve falls first, and by how much the others' are higher, needle by needle."""
    order: Sequence[str] = sorted(heights, key=lambda name: float(heights[name].mean()))
    first = order[0]
    behind: dict[str, Json] = {name: list(interval(heights[name] - heights[first], _SEED)) for name in order[1:]}
    surely = all(interval(heights[name] - heights[first], _SEED).low > 0 for name in order[1:])
    return {"falls_first": first, "surely": surely, "higher_by": behind}
