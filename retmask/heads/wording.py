"""Score files in words, for a terminal."""

from typing import Literal

from retmask.heads.agreement import intervals, split_half, views
from retmask.heads.scores import HeadScores


def in_words(scores: HeadScores) -> str:
    """Give a file's size, reliability, sparsity and highest heads."""
    layers, per_layer = scores.shape
    agreement = split_half(scores)
    halves = "" if agreement is None else f", split-half rank correlation {agreement:.2f}"
    ranges = intervals(scores, [head for head, _ in scores.top(10)])
    best = zip(scores.top(10), ranges, strict=True)
    top = ", ".join(f"{head.layer}-{head.head} {score:.3f} [{low:.3f}, {high:.3f}]" for (head, score), (low, high) in best)
    return (
        f"{layers * per_layer} heads ({layers} layers x {per_layer}), {len(scores.counted)} of {len(scores.trials)} trials count{halves}\n"
        f"score 0.05 or more: {scores.at_least(0.05)} heads; 0.1 or more: {scores.at_least(0.1)}; exactly 0: {scores.zero:.1%}; "
        f"Gini {scores.gini:.3f}, Hoyer {scores.hoyer:.3f}\n"
        f"highest: {top}"
    )


def by_lines(scores: HeadScores, field: Literal["length", "depth"]) -> str:
    """Give a line for each length or depth."""
    lines = [f"{field:>8} {'trials':>8} {'counted':>8} {'top 10':>8} {'rank correlation with all':>26}"]
    for view in views(scores, field):
        value = f"{view.value:.0f}" if field == "length" else f"{view.value:.2f}"
        top, agreement = (("-" if number is None else f"{number:.3f}") for number in (view.top_score, view.rank_correlation))
        lines.append(f"{value:>8} {view.trials:>8} {view.counted:>8} {top:>8} {agreement:>26}")
    return "\n".join(lines)
