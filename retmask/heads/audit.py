"""The question before training: will masking this model's retrieval heads mean anything?

The knock-out curve measures what is lost as more heads are masked, the highest-scoring ones first, and what is lost when as many others
are masked instead. Three outcomes matter: needle accuracy falls with the retrieval heads and not with the others (masking them contrasts
retrieval); it falls alike with either (the work is distributed, and a mask of retrieval heads is a mask like any other); or the model no
longer writes fluently (a rejected answer is then bad in every way, and preferring the other teaches little about context).

Heads are chosen on one set of trials and knocked out on another. Sizes are tried from small to large, and the gap below the first that
matters is halved. Controls are measured only where they can decide: under a control no more needles are found than without a mask, so a
retrieval mask that does not cost the margin on its own cannot cost it beyond the controls.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.api import HarnessError, Json
from retmask.heads import masks
from retmask.heads.detect import NoNeedleFoundError, detect
from retmask.heads.lab import Interval, Lab, growth, interval
from retmask.heads.masks import HeadMask
from retmask.heads.scores import HeadScores
from retmask.heads.trial_scoring import TrialScoring
from retmask.heads.trials import build_trials, evenly

Verdict: TypeAlias = Literal["concentrated", "distributed", "unusable", "nothing", "undecided"]
CONTROLS: Final = masks.KINDS[1:]
FEW: Final = 0.2
"""Retrieval heads are concentrated when at most this share of all heads has to be masked. Published masks hold 3 to 11%."""
_LARGEST: Final = 0.5
_MOST_SIZES: Final = 12


@dataclass(frozen=True)
class AuditSettings:
    """What an audit measures, and what it takes for a difference to count."""

    lengths: tuple[int, ...] = (512,)
    """Prompt lengths of the needle trials, tokens."""
    trials: int = 32
    """Trials for each length, once to score the heads and once, with others, to knock them out."""
    controls: int = 2
    """Draws of each control mask; their accuracies are averaged."""
    margin: float = 0.1
    """Needle accuracy that the retrieval mask has to cost beyond every control."""
    fluency: float = 1.5
    """Most that short-text perplexity may grow by, as a factor."""
    seed: int = 42
    curves: bool = False
    """Measure every size with all its controls, to draw the curves; the verdict needs few of them."""


@dataclass(frozen=True)
class Point:
    """One kind of mask with one number of heads."""

    kind: str
    k: int
    accuracy: Interval
    """Share of trials whose needle is found, by the intact model and still under this mask."""
    perplexity: Interval
    """Of short texts, as a multiple of the intact model's."""
    excess: Interval | None
    """Accuracy under this control minus that under the retrieval mask, trial by trial; None for the retrieval mask itself."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found, with the figures behind it."""

    verdict: Verdict
    k: int | None
    """The smallest retrieval mask that does what it should; None if there is none."""
    reason: str
    intact: Interval | None
    """Needle accuracy of the intact model."""
    points: tuple[Point, ...]
    scores: HeadScores | None
    settings: AuditSettings

    def in_words(self) -> str:
        """Say it in two or three lines for a person."""
        return f"{'nothing to mask' if self.verdict == 'nothing' else self.verdict}: {self.reason}"

    def curves(self) -> dict[str, list[tuple[int, Interval, Interval]]]:
        """Map kind -> (k, accuracy, perplexity) for each k; k = 0 is the intact model."""
        if self.intact is None:
            return {}
        start = (0, self.intact, Interval(1.0, 1.0, 1.0))
        kinds = dict.fromkeys(point.kind for point in self.points)
        return {kind: [start, *((p.k, p.accuracy, p.perplexity) for p in self.points if p.kind == kind)] for kind in kinds}

    def to_json(self) -> dict[str, Json]:
        """Give everything but the scores' trials."""
        sparsity: dict[str, Json] = {} if self.scores is None else self.scores.summary()
        return {
            "verdict": self.verdict,
            "k": self.k,
            "reason": self.reason,
            "intact_accuracy": None if self.intact is None else list(self.intact),
            "sparsity": sparsity,
            "plan": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.settings).items()},
            "points": [
                {
                    "kind": point.kind,
                    "k": point.k,
                    "accuracy": list(point.accuracy),
                    "perplexity": list(point.perplexity),
                    "excess": None if point.excess is None else list(point.excess),
                }
                for point in self.points
            ],
        }


def audit_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    model_digest: str,
    settings: AuditSettings,
    say: Callable[[str], None] = lambda _: None,
    scores: HeadScores | None = None,
) -> Audit:
    """Score the heads unless ``scores`` are given, knock them out, and judge."""
    rules = TrialScoring()
    if scores is None:
        try:
            trials = build_trials(tokenizer, settings.lengths, settings.trials, evenly(10), settings.seed)
            scores = detect(model, tokenizer, trials, model_digest, say, rules, protocol="grid")
        except NoNeedleFoundError as error:
            return Audit("nothing", None, str(error), None, (), None, settings)
    if scores.max <= 0:
        return Audit("nothing", None, "no head ever copied a needle's token", None, (), scores, settings)
    trials = build_trials(tokenizer, settings.lengths, settings.trials, evenly(10), settings.seed + 1)
    lab = Lab(model, tokenizer, trials, settings.seed)
    intact = interval(lab.found, settings.seed)
    say(f"audit: needle found in {intact.value:.0%} of {len(trials)} trials")
    if not lab.found.any():
        reason = f"the model found the needle in none of {len(trials)} trials beside those that scored its heads"
        return Audit("nothing", None, reason, intact, (), scores, settings)
    if not _counts(intact, settings.margin):
        return Audit("undecided", None, _too_few(int(lab.found.sum()), len(trials), settings.margin), intact, (), scores, settings)
    points = _search(lab, scores, settings, say)
    return judge(scores, intact, sorted(points, key=lambda point: point.k), settings)


def _counts(difference: Interval, margin: float) -> bool:
    """Whether a difference is as large as the margin, and its interval above 0."""
    return difference.value >= margin and difference.low > 0


def _too_few(found: int, trials: int, margin: float) -> str:
    return (
        f"the model found the needle in {found} of {trials} trials: even a mask that loses them all would not cost {100 * margin:.0f} "
        "points beyond chance; give more --trials, shorter --lengths or a smaller --margin"
    )


def _search(lab: Lab, scores: HeadScores, settings: AuditSettings, say: Callable[[str], None]) -> list[Point]:
    """Masks from small to large up to the first that does more than the controls, then half way between it and the next smaller one."""
    points: list[Point] = []
    pending = sizes(len(scores.heads()))
    while pending:
        k = pending.pop(0)
        points += _knock_out(lab, scores, k, settings)
        masked = next(point for point in points if point.k == k)
        say(f"audit: {k} heads masked, needle found in {masked.accuracy.value:.0%}, perplexity x{masked.perplexity.value:.2f}")
        if _specific(points, settings.margin)[1] and not settings.curves:
            pending = []
        pending = pending or _between(points, settings)
    return points


def sizes(heads: int) -> list[int]:
    """List the numbers of heads to mask: about seven from one to half of all, in even proportions."""
    most = max(1, int(heads * _LARGEST))
    return sorted({round(most ** (step / 6)) for step in range(7)})


def _between(points: Sequence[Point], settings: AuditSettings) -> list[int]:
    """Half way between the smallest mask that does more than the controls and the next smaller one measured, unless they are neighbours."""
    measured, specific = _specific(points, settings.margin)
    if not specific or len(measured) >= _MOST_SIZES:
        return []
    below = max((k for k in measured if k < min(specific)), default=0)
    middle = (below + min(specific)) // 2
    return [] if middle == below else [middle]


def _specific(points: Sequence[Point], margin: float) -> tuple[list[int], list[int]]:
    """Numbers of heads measured, and those at which the retrieval mask costs more than every control by the margin."""
    measured = sorted({point.k for point in points})
    excess = {k: [point.excess for point in points if point.k == k and point.excess is not None] for k in measured}
    return measured, [k for k in measured if excess[k] and all(_counts(each, margin) for each in excess[k])]


def judge(scores: HeadScores, intact: Interval, points: Sequence[Point], settings: AuditSettings) -> Audit:
    """Judge by the points."""
    retrieval = {point.k: point for point in points if point.kind == "retrieval"}
    controls = {k: [point for point in points if point.k == k and point.excess is not None] for k in retrieval}
    specific = _specific(points, settings.margin)[1]
    fluent = [k for k in specific if retrieval[k].perplexity.value <= settings.fluency]
    total = len(scores.heads())
    sparsity = f"Gini {scores.gini:.2f}, Hoyer {scores.hoyer:.2f}, {scores.zero:.0%} of heads at 0"
    if fluent:
        k = min(fluent)
        verdict: Verdict = "concentrated" if k <= FEW * total else "distributed"
        return Audit(
            verdict, k, _found(k, total, retrieval[k], controls[k], scores, intact, sparsity), intact, tuple(points), scores, settings
        )
    if specific:
        k = min(specific)
        grown = retrieval[k].perplexity.value
        reason = (
            f"masking {k} of {total} heads costs needle accuracy beyond the controls, but perplexity of short texts grows x{grown:.2f} "
            f"(bound x{settings.fluency:g}): the masked model no longer writes fluently; {sparsity}"
        )
        return Audit("unusable", None, reason, intact, tuple(points), scores, settings)
    fluency_lost = all(point.perplexity.value > settings.fluency for point in retrieval.values())
    reason = (
        f"no retrieval mask of up to {max(retrieval)} of {total} heads costs {100 * settings.margin:.0f} points of needle accuracy more "
        f"than every control (intact: {intact.value:.0%}); {sparsity}"
    )
    return Audit("unusable" if fluency_lost else "distributed", None, reason, intact, tuple(points), scores, settings)


def _found(k: int, total: int, point: Point, controls: Sequence[Point], scores: HeadScores, intact: Interval, sparsity: str) -> str:
    nearest = min((control for control in controls if control.excess), key=lambda control: control.excess or intact)
    lowest = scores.top(k)[-1][1]
    missing = [kind for kind in CONTROLS if kind not in {control.kind for control in controls}]
    without = f" (too few other heads for {', '.join(missing)})" if missing else ""
    return (
        f"masking the top {k} of {total} heads (score {lowest:.2f} or more) takes needle accuracy from {intact.value:.0%} to "
        f"{point.accuracy.value:.0%}, {nearest.excess} below the nearest control, {nearest.kind}{without}, with perplexity of short texts "
        f"x{point.perplexity.value:.2f}; {sparsity}"
    )


def _knock_out(lab: Lab, scores: HeadScores, k: int, settings: AuditSettings) -> list[Point]:
    """The retrieval mask of k heads, and as many controls as it takes to see that it does no more than one of them."""
    target = masks.retrieval(scores, top_k=k)
    accuracy, loss = lab.measure(target)
    points = [Point("retrieval", k, interval(accuracy, settings.seed), growth(loss - lab.loss, settings.seed), None)]
    going_on = settings.curves or _counts(interval(lab.found - accuracy, settings.seed), settings.margin)
    for kind in CONTROLS:
        drawn = _draws(kind, scores, target, settings) if going_on else []
        if not drawn:
            continue
        found = [lab.measure(mask) for mask in drawn]
        control = np.mean([each for each, _ in found], axis=0)
        grown = np.mean([each for _, each in found], axis=0) - lab.loss
        excess = interval(control - accuracy, settings.seed)
        points.append(Point(kind, k, interval(control, settings.seed), growth(grown, settings.seed), excess))
        going_on = settings.curves or _counts(excess, settings.margin)
    return points


def _draws(kind: str, scores: HeadScores, target: HeadMask, settings: AuditSettings) -> list[HeadMask]:
    """Distinct control masks; none where too few heads are left to draw from."""
    try:
        return list(dict.fromkeys(masks.like(kind, scores, target, settings.seed + number) for number in range(settings.controls)))
    except HarnessError:
        return []
