"""Every two models of a board against each other, tested together.

Signs of a question's differences are flipped in all pairs and lengths at once, and the pair that lies farthest from 0 is judged by the
largest of all, the next by the largest of the rest (:func:`reports.permutation.stepdown`). So no pair of equal models is told apart on
more boards than the confidence allows, however few the questions; models that differ by the same on every question are told apart first.
Where a model is the mean of several training seeds, the interval that covers the choice of seeds has to exclude 0 too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_lowercase

import numpy as np
import numpy.typing as npt

from reports.bootstrap import FEWEST, spread
from reports.families import counts_once
from reports.hierarchy import Design, Floats, improvements
from reports.permutation import flips, single, stepdown


@dataclass(frozen=True)
class Pairs:
    """What is known of each pair; arrays are targets x pairs."""

    members: tuple[tuple[int, int], ...]
    """Numbers of both models, the smaller first."""
    apart: npt.NDArray[np.bool_]
    """Told apart; only for overall scores."""
    equivalent: npt.NDArray[np.bool_]
    """Shown to be equal within the margin."""
    improvement: Floats
    """Chance that the first model does better on a question, a tie counting half."""


def compare_all(
    plan: Design, scores: Sequence[Floats], *, resamples: int, rng: np.random.Generator, confidence: float, margin: float
) -> Pairs:
    """Test all pairs of models at every overall score of the plan; ``scores`` of each model are (rows, training seeds)."""
    members = tuple(combinations(range(len(scores)), 2))
    shape = (len(plan.targets), len(members))
    if not members:
        return Pairs(members, np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool), np.zeros(shape))
    differences = np.column_stack([scores[one].mean(axis=1) - scores[two].mean(axis=1) for one, two in members])
    flip_rng, boot_rng = rng.spawn(2)
    found = flips(plan, differences, resamples=resamples, rng=flip_rng)
    once = counts_once(plan.targets)
    asked = np.array([each.scope == "overall" for each in plan.targets])
    counted = np.repeat((asked & np.array(once))[:, None], len(members), axis=1)
    p = np.fmax(stepdown(found, counted), single(found))
    if not all(once):  # the only length repeats the mean over lengths
        p[asked] = p[asked & np.array(once)]
    p[[each.n_clusters < FEWEST for each in plan.targets]] = 1.0
    equivalent = np.zeros(shape, dtype=bool)
    several = [each.shape[1] > 1 for each in scores]
    if any(several) or not math.isnan(margin):
        seeds = {
            at: [side - side.mean(axis=1, keepdims=True) for side in (scores[one], -scores[two]) if side.shape[1] > 1]
            for at, (one, two) in enumerate(members)
            if several[one] or several[two]
        }
        known = spread(plan, differences, resamples=resamples, rng=boot_rng, seeds=seeds, rare=True)
        if seeds:
            columns = list(seeds)
            p[:, columns] = np.maximum(p, known.p_values() * counted.sum())[:, columns]
        least, most = known.limits((1 - confidence) / counted.sum())
        equivalent = (least > -margin) & (most < margin)
    return Pairs(members, asked[:, None] & (p < 1 - confidence), equivalent, improvements(plan, differences))


def letters(order: Sequence[int], apart: set[tuple[int, int]]) -> dict[int, str]:
    """Give letters for each model of ``order``, best first: two share one exactly if they are not ``apart`` (pairs, the smaller number
    first).

    Piepho 2004, J. Comput. Graph. Stat. 13, "An algorithm for a letter-based representation of all-pairwise comparisons".
    """
    groups: list[frozenset[int]] = [frozenset(order)]
    for one, two in sorted(apart):
        split = [part for each in groups for part in ((each - {one}, each - {two}) if {one, two} <= each else (each,))]
        unique = list(dict.fromkeys(split))
        groups = [each for each in unique if not any(each < other for other in unique)]
    places = {model: at for at, model in enumerate(order)}
    groups.sort(key=lambda group: sorted(places[each] for each in group))
    return {model: "".join(_letter(at) for at, group in enumerate(groups) if model in group) for model in order}


def _letter(number: int) -> str:
    return ascii_lowercase[number % 26] + (str(number // 26) if number >= 26 else "")
