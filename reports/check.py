"""Is a candidate no worse than its baseline? For a build that has to pass, fail, or say that it cannot tell.

Non-inferiority: the candidate passes where the one-sided lower limit of its paired difference is above minus the margin, a limit that
leaves room for what so few questions would not have shown (:mod:`reports.rare`). It fails where the upper limit is below minus the
margin: the loss is larger than allowed, beyond doubt. Between the two the data do not decide, and the verdict says how many questions
would. Every statement has to pass, so no correction is due for passing (an intersection-union test, Berger 1982, Technometrics 24);
for failing, the error rate is shared by all statements.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from reports import generations, samples
from reports.bootstrap import FEWEST, POWER
from reports.comparable import alike, valid
from reports.compare import Tables, compare_methods
from reports.comparison import CompareError, Comparison, MethodComparisons, percent, points
from reports.policy import Policy
from reports.stopping import StoppingError, stopping_of
from reports.tables import label, length_label

Status: TypeAlias = Literal["pass", "fail", "undecided"]

EXIT_CODES: Final[dict[Status, int]] = {"pass": 0, "fail": 1, "undecided": 4}
#: How much nearer a limit has to be for 80% power than for an even chance, at 95%.
_WITH_POWER: Final = 1.5
_WORDS: Final[dict[Status, str]] = {"pass": "no regression", "fail": "regression", "undecided": "could not decide"}


@dataclass(frozen=True)
class Finding:
    """One statement of the policy and what became of it."""

    kind: str
    """"margin", "floor" or "limit"."""
    name: str
    """"overall", a category, or what is limited."""
    status: Status
    figures: str
    """Short: what was found against what was asked."""
    reason: str = ""
    """A sentence, where it did not pass."""


@dataclass(frozen=True)
class Report:
    """All findings of one check."""

    baseline: str
    candidate: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """``fail`` if any statement failed, else ``undecided`` if any is, else ``pass``."""
        found = {each.status for each in self.findings}
        return "fail" if "fail" in found else "undecided" if "undecided" in found else "pass"

    @property
    def exit_code(self) -> int:
        """0 pass, 1 regression, 4 too little data to decide; 2 is for bad input, and no report's."""
        return EXIT_CODES[self.status]

    @property
    def headline(self) -> str:
        """One line for a log."""
        open_ = sum(each.status != "pass" for each in self.findings)
        rest = "" if not open_ else f" ({open_} of {len(self.findings)} statements)"
        return f"{_WORDS[self.status]}: {self.candidate} against {self.baseline}{rest}"


def check(
    baseline: Tables,
    candidate: Tables,
    policy: Policy,
    *,
    names: tuple[str, str] = ("baseline", "candidate"),
    resamples: int = 10_000,
    seed: int = 0,
    allow: tuple[str, ...] = (),
) -> Report:
    """Hold the candidate's samples against the baseline's, each one table or one for each training seed.

    Raises :class:`CompareError` for tables that cannot be compared.

    Examples that the candidate lacks score 0, so that leaving out hard ones gains nothing; their share is limited by the policy.
    """
    before, after = ([each] if isinstance(each, pd.DataFrame) else list(each) for each in (baseline, candidate))
    before, after = ([valid(table, name) for table in each] for name, each in zip(names, (before, after), strict=True))
    for name, tables in zip(names, (before, after), strict=True):
        for table in tables:
            _refuse_stopped(name, table)
    unread = max(_unread_share(table) for table in after)
    sides, lost = alike({"": before, "candidate": after})
    before, after = sides.values()
    asked = [table.drop_duplicates(["task", "length", "example_id", *table.columns.intersection(["generation"])]) for table in after]
    said = [*lost, *generations.notes({names[0]: before, names[1]: after})]
    before, after = ([generations.averaged(table) for table in each] for each in (before, after))
    completed = [_completed(before[0], table) for table in after]
    full, missing = [table for table, _ in completed], max(unread, *(share for _, share in completed))

    def compared(confidence: float) -> MethodComparisons:
        return compare_methods(before, {names[1]: full}, resamples=resamples, seed=seed, confidence=confidence, allow=allow)

    found = compared(policy.confidence)
    lines = {_called(each): each for each in found.methods[names[1]]}
    means = [each for each in lines.values() if each.scope != "task" and each.length is None]
    comparisons = {each.category or "overall": each for each in means}
    _check_names(policy, comparisons, lines.values())
    margins = {name: margin for name, each in lines.items() if (margin := policy.margin(each)) is not None}
    most = {name: lines[name].most for name in margins}
    if any(most[name] < -margin for name, margin in margins.items()):
        sure = compared(1 - (1 - policy.confidence) / len(margins)).methods[names[1]]
        most = {_called(each): each.most for each in sure}
    findings = [_margin(name, lines[name], margin, most[name]) for name, margin in margins.items()]
    floors = {**({"overall": policy.floor_overall} if policy.floor_overall is not None else {}), **policy.floors}
    findings += [_floor(name, comparisons[name], floor) for name, floor in floors.items()]
    findings.append(_limit("missing examples", missing, policy.missing))
    findings.append(_limit("truncated prompts", max(float((each["truncated_tokens"] > 0).mean()) for each in asked), policy.truncated))
    findings.append(_limit("answers cut off", max(float((each["finish_reason"] == "length").mean()) for each in asked), policy.cut_off))
    return Report(names[0], names[1], tuple(findings), (*said, *found.notes))


def _refuse_stopped(name: str, table: pd.DataFrame) -> None:
    """What stopped early was stopped by what it showed: neither its gaps nor an ordinary interval mean what they do elsewhere."""
    try:
        mark = stopping_of(table)
    except StoppingError as error:
        raise CompareError(f"{name}: {error}") from None
    if mark is not None and not mark.complete:
        raise CompareError(
            f"{name}: stopped early after {mark.examples:,} of {mark.order.examples:,} examples, and a check needs them all; evaluate it "
            "without --stop-early (what it was asked is reused)"
        )


def _unread_share(table: pd.DataFrame) -> float:
    """The share of examples for which a judge's verdict cannot be read: they count as missing, or a candidate could gain by them."""
    unread = {(task, length, example) for task, length, _, example in samples.unreadable(table)}
    return len(unread) / len(unread | {*table[["task", "length", "example_id"]].itertuples(index=False, name=None)})


def _completed(reference: pd.DataFrame, table: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """The candidate's table with a row of score 0 for each of the baseline's rows it lacks, and the share of examples that lack one."""
    key = list(samples.KEY)
    gone = ~pd.MultiIndex.from_frame(reference[key]).isin(pd.MultiIndex.from_frame(table[key]))
    if not gone.any():
        return table, 0.0
    one = table.iloc[0]
    same = {name: one[name] for name in ("run", "model_digest", "suite_digest", "backend")}
    filled = reference[gone].assign(score=0.0, output="", **same)
    for column in ("template", "scorer"):  # as the candidate's other examples of the task have it
        filled[column] = filled["task"].map(table.groupby("task")[column].first()).fillna(filled[column]).astype("string")
    example = ["task", "length", "example_id"]
    share = len(filled.drop_duplicates(example)) / len(reference.drop_duplicates(example))
    return pd.concat([table, filled], ignore_index=True), share


def _check_names(policy: Policy, comparisons: dict[str, Comparison], lines: Iterable[Comparison]) -> None:
    known = list(lines)
    for name in (*policy.margins, *policy.floors):
        if name not in comparisons:
            raise CompareError(f"the policy names category {name!r}; these evaluations have {', '.join(comparisons)}")
    lengths = {str(each.length) for each in known if each.length is not None}
    tasks = {each.task for each in known if each.task}
    for what, names, there in (("length", policy.margins_length, lengths), ("task", policy.margins_task, tasks)):
        for name in names:
            if name not in there:
                raise CompareError(f"the policy names {what} {name!r}; these evaluations have {', '.join(sorted(map(str, there)))}")


def _called(each: Comparison) -> str:
    """A statement's name: "overall", "recall", "overall at 128K", "niah ruler_recall at 8K"."""
    return label(each) if each.length is None else f"{label(each)} at {length_label(each.length)}"


def _margin(name: str, each: Comparison, margin: float, most: float) -> Finding:
    least = f"at least {points(each.least, signed=True)} ({percent(each.confidence)})"
    figures = f"{points(each.delta, signed=True)}, {least}; margin {points(margin)}"
    if math.isnan(each.least):
        return Finding("margin", name, "undecided", figures, "a task with a single question gives no measure of spread; ask more questions")
    if each.n_clusters < FEWEST:
        few = f"{each.n_clusters} questions show no margin, whatever they score; ask {FEWEST} or more"
        return Finding("margin", name, "undecided", figures, few)
    if each.least > -margin:
        return Finding("margin", name, "pass", figures)
    if most < -margin:
        return Finding("margin", name, "fail", figures, f"{points(-each.delta)} points lower; up to {points(margin)} are allowed")
    return Finding("margin", name, "undecided", figures, _size(each, margin))


def _size(each: Comparison, margin: float) -> str:
    """How many questions would decide: if nothing changed, or if the difference is what it looks like."""
    if margin == 0:
        return "too little data: no number of questions shows a margin of 0"
    reach = each.delta - each.least
    differs = bool(each.wins or each.losses)
    at_zero = _times(each.n_clusters, reach / margin, differs)
    if at_zero > each.n_clusters:
        needs = f"about {at_zero:,} questions would show no loss"
        return f"too little data: {needs} with {POWER:.0%} power if there is none; there are {each.n_clusters:,}"
    distance = abs(each.delta + margin)
    there = _times(each.n_clusters, reach / distance, differs) if distance > 1e-9 else math.inf
    size = f"about {there:,} questions" if there < 1e9 else "more questions than anyone has"
    return f"the loss is too near the margin: {size} would tell ({each.n_clusters:,} were asked), or a wider margin"


def _times(questions: int, factor: float, differs: bool) -> int:
    """Questions for a limit nearer by ``factor``: the limit of equal scores shrinks with their number, others with its root."""
    return math.ceil(questions * ((_WITH_POWER * factor) ** 2 if differs else factor))


def _floor(name: str, each: Comparison, floor: float) -> Finding:
    figures = f"{points(each.candidate)}; floor {points(floor)}"
    if each.candidate >= floor - 1e-12:
        return Finding("floor", name, "pass", figures)
    return Finding("floor", name, "fail", figures, f"{points(floor - each.candidate)} points below the floor")


def _limit(name: str, share: float, limit: float) -> Finding:
    figures = f"{100 * share:.2f}%; at most {100 * limit:g}%"
    if share <= limit + 1e-12 or np.isnan(share):
        return Finding("limit", name, "pass", figures)
    return Finding("limit", name, "fail", figures, f"{100 * share:.2f}% of the examples, {100 * limit:g}% are allowed")
