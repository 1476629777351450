"""What a comparison says, in sentences for people who know no statistics.

Three outcomes: a difference (claimed in a direction), equivalence within a margin that was named beforehand, or neither, which is said
as what it is. A claim from one training seed is about the checkpoint that was evaluated, not about the method that made it.
"""

import math
from collections.abc import Sequence
from typing import Final

from reports.bootstrap import FEWEST, POWER
from reports.comparison import CompareError, Comparison, MethodComparisons, chance, p_words, percent, points
from reports.contrasts import contrasts
from reports.seeds import needed_seeds

_AGAINST_BASELINE: Final = ("improved on", "got worse than")
_AGAINST_CONTROL: Final = ("did better than", "did worse than")


def verdict(comparisons: Sequence[Comparison], *, candidate: str = "The candidate", baseline: str = "the baseline") -> str:
    """Say whether the overall score changed, by how much, and what could have been seen if it did not.

    "Improved" and "got worse" need the interval to exclude 0 and the permutation test, corrected for the whole page, to agree.
    """
    return " ".join(_against_baseline(comparisons, candidate, baseline))


def verdicts(found: MethodComparisons) -> list[str]:
    """Give a verdict for each method, then for its variants against their controls: the claim that a shared gain does not support."""
    return [" ".join(each) for each in sentences(found)]


def sentences(found: MethodComparisons) -> list[list[str]]:
    """Give the verdicts of :func:`verdicts` in parts: the outcome, the figures, and what else there is to know."""
    said = [_against_baseline(column, name, "the baseline") for name, column in found.methods.items()]
    for one, other in contrasts(list(found.methods)):
        overall = _overall(found.contrasts[f"{one} minus {other}"])
        parts = [_outcome(overall, one, other, _AGAINST_CONTROL), _figures(overall), _counts(overall), _seeds(overall, one)]
        said.append([part for part in parts if part])
    return said


def _against_baseline(comparisons: Sequence[Comparison], candidate: str, baseline: str) -> list[str]:
    overall = _overall(comparisons)
    categories = [each for each in comparisons if each.scope == "category" and each.length is None]
    parts = [_outcome(overall, candidate, baseline), _figures(overall), _counts(overall), _seeds(overall, candidate), _power(overall)]
    return [part for part in [*parts, _categories(categories)] if part]


def _overall(comparisons: Sequence[Comparison]) -> Comparison:
    """The overall score, mean over lengths."""
    found = next((each for each in comparisons if each.scope == "overall" and each.length is None), None)
    if found is None:
        raise CompareError("no overall score among the comparisons")
    return found


def _outcome(overall: Comparison, candidate: str, baseline: str, verbs: tuple[str, str] = _AGAINST_BASELINE) -> str:
    if overall.claim:
        where = "" if overall.n_seeds > 1 else "For this trained checkpoint: "
        return f"{where}{candidate} {verbs[overall.claim < 0]} {baseline}."
    if math.isnan(overall.low):
        return f"Cannot tell whether {candidate} differs from {baseline}. A task with a single question gives no measure of spread."
    if overall.equivalent:
        return f"{candidate} and {baseline} are equal within {_margin(overall)}."
    if overall.n_clusters < FEWEST:
        return f"Cannot tell whether {candidate} differs from {baseline}. That takes {FEWEST} questions or more, whatever they show."
    if overall.sign:
        return (
            f"Cannot tell whether {candidate} differs from {baseline}. The interval excludes 0 but the permutation test does not"
            " agree, which happens with few questions and where a page says many things."
        )
    undecided = "" if math.isnan(overall.margin) else f", nor is it shown that they are equal within {_margin(overall)}"
    return f"No detectable difference between {candidate} and {baseline}{undecided}."


def _margin(overall: Comparison) -> str:
    size = 100 * overall.margin
    return f"{size:g} point{'' if size == 1 else 's'}"


def _figures(overall: Comparison) -> str:
    seeds = ""
    if overall.n_seeds > 1 or overall.n_seeds_baseline > 1:
        seeds = f", {overall.n_seeds} training seed{'s' if overall.n_seeds > 1 else ''}"
        if overall.n_seeds_baseline > 1:
            seeds += f" against {overall.n_seeds_baseline}"
    change = f"Overall score {points(overall.baseline)} → {points(overall.candidate)}: {points(overall.delta, signed=True)} points"
    questions = f"{overall.n_clusters:,} questions"
    if math.isnan(overall.low):
        return f"{change} ({p_words(overall.p)}; {overall.n_examples:,} examples of {questions}{seeds})."
    kind = "always-valid interval" if overall.always_valid else "interval"
    return (
        f"{change}. As far as {questions} tell, the true difference lies between {points(overall.low, signed=True)} and "
        f"{points(overall.high, signed=True)} points ({percent(overall.confidence)} {kind}, {p_words(overall.p)}; "
        f"{overall.n_examples:,} examples{seeds})."
    )


def _counts(overall: Comparison) -> str:
    if overall.always_valid:
        return ""
    counts = f"Of the questions {overall.wins:,} went better, {overall.losses:,} worse, {overall.ties:,} the same"
    if not overall.wins and not overall.losses:
        return f"{counts}."
    return f"{counts}: a chance of {chance(overall.improvement)} to do better on a question picked at random (equal scores count half)."


def _seeds(overall: Comparison, candidate: str) -> str:
    """What one or two training seeds cannot show."""
    if overall.n_seeds == 2:
        return (
            "How much training varies cannot be told from two seeds, which makes the interval wider; a third seed narrows that part of it "
            "most."
        )
    if overall.n_seeds > 1 or not overall.claim:
        return ""
    seeds = needed_seeds(overall)
    takes = f"takes about {seeds} training seeds" if seeds else "takes more questions as well as several training seeds"
    return (
        f"That is about one training of {candidate}: another seed gives another checkpoint, and may give another result. A claim about "
        f"{candidate} itself {takes}, if trainings differ as much as the questions blur this one."
    )


def _power(overall: Comparison) -> str:
    if overall.claim or overall.equivalent or math.isnan(overall.mde):
        return ""
    same = "" if overall.wins or overall.losses else "The two score the same question by question. "
    return (
        f"{same}That does not show that they are equal: with this many questions only a true difference of about "
        f"{points(overall.mde)} points or more would be found in {POWER:.0%} of such experiments."
    )


def _categories(categories: Sequence[Comparison]) -> str:
    if len(categories) < 2:
        return ""
    groups: dict[str, list[str]] = {"improved": [], "worse": [], "no detectable difference": [], "cannot tell, too few questions": []}
    for each in categories:
        few = math.isnan(each.low) or (each.n_clusters < FEWEST and not each.always_valid)
        word = "improved" if each.claim > 0 else "worse" if each.claim else "no detectable difference"
        groups["cannot tell, too few questions" if few else word].append(f"{each.category} ({points(each.delta, signed=True)})")
    found = "; ".join(f"{word}: {', '.join(names)}" for word, names in groups.items() if names)
    return f"By category (corrected for everything on this page): {found}."
