"""What the training cost elsewhere: tasks of lm-eval beside the benchmark, compared document by document and never averaged with it.

    task     metric        documents   baseline           retmask
    gsm8k    exact_match        1319   0.7612 ± 0.0117    0.7501  −0.0111 [−0.0265, +0.0038]

Values and standard errors are lm-eval's own, in its units. The interval is that of the paired difference: one draw of documents for both
models, as :mod:`reports.bootstrap` does it. A group's figure is the mean over its tasks that lm-eval takes. Perplexities and bits per byte
are functions of two sums over documents, so they are computed anew in each resample. Figures that lm-eval makes in any other way (BLEU, F1
over a whole data set) get no interval.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text
from scipy import stats

from reports import bootstrap, hierarchy, safe
from reports.comparison import CompareError, p_value
from reports.hierarchy import Design, Floats, Target
from reports.permutation import holm
from tasks.files import open_bytes, read_lines, read_text

#: The files of one model's figures.
FIGURES: Final = "figures.json"
DOCUMENTS: Final = "documents.jsonl"
_MARKS: Final = {1: "▲", 0: "", -1: "▼"}
_STYLES: Final = {1: "green", 0: "", -1: "red"}
#: From here on four decimals would be noise.
_LARGE: Final = 1e5
LEGEND: Final = (
    "Beside the benchmark, not in its means. lm-eval's own values ± standard errors; in brackets the interval of the paired difference. "
    "▲ better, ▼ worse: the interval excludes 0, and so does a test corrected for all figures shown (perplexities have no test)."
)
#: (name, metric, filter)
Key: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True)
class Figure:
    """One metric of a task or group, as lm-eval gives it."""

    name: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    higher_is_better: bool
    version: str | float | None
    fewshot: int | None
    top: bool
    """Whether it was asked for by name, rather than as a member of a group."""
    aggregation: str
    """``mean``, ``perplexity``, ``weighted_perplexity`` or ``bits_per_byte`` over documents; ``weighted`` or ``unweighted`` over the
    tasks of a group; or ``other``."""
    members: tuple[str, ...] = ()
    """A group's tasks."""

    @property
    def key(self) -> Key:
        return self.name, self.metric, self.filter


@dataclass(frozen=True)
class Elsewhere:
    """One model's figures on the extra tasks, and the documents that they come from."""

    figures: tuple[Figure, ...]
    documents: pd.DataFrame
    """Columns task, metric, filter, document, hash, value and weight; a row for each. NaN where a value is no number."""


@dataclass(frozen=True)
class Change:
    """A candidate's figure against the baseline's. In lm-eval's units."""

    name: str
    metric: str
    filter: str
    version: str | float | None
    fewshot: int | None
    top: bool
    higher_is_better: bool
    documents: int
    baseline: float
    baseline_stderr: float | None
    """lm-eval's."""
    candidate: float
    candidate_stderr: float | None
    """lm-eval's; None for the mean of several training seeds."""
    delta: float
    low: float
    """NaN where the figure is no mean over documents, or one document makes the spread unknowable."""
    high: float
    p: float
    """Two-sided, paired permutation test; NaN for perplexities and where there is no interval."""
    confidence: float
    n_seeds: int = 1
    p_holm: float = math.nan
    """``p`` after Holm's correction over all methods' figures asked for by name, or over those of their subtasks."""

    @property
    def sign(self) -> int:
        """1 if the interval says better, -1 if worse, else 0."""
        found = int(self.low > 0) - int(self.high < 0)
        return found if self.higher_is_better else -found

    @property
    def claim(self) -> int:
        """``sign`` where the corrected test agrees or there is none: what marks and sentences go by."""
        return 0 if self.p_holm >= 1 - self.confidence else self.sign


ByName: TypeAlias = Mapping[str, Sequence[Change]]


def read(folder: Path) -> Elsewhere:
    """What a model's step ``extra`` holds."""
    table = json.loads(read_text(folder / FIGURES))
    figures = tuple(Figure(**{**row, "members": tuple(row.get("members", ()))}) for row in table["figures"])
    rows: list[dict[str, Any]] = []
    with open_bytes(folder / DOCUMENTS) as file:
        for line in read_lines(file, folder / DOCUMENTS):
            row = json.loads(line)
            for metric, value in row["metrics"].items():
                number, weight = _pair(value)
                own = {"metric": metric, "value": number, "weight": weight}
                rows.append({**{name: row[name] for name in ("task", "filter", "document", "hash")}, **own})
    return Elsewhere(figures, pd.DataFrame(rows, columns=["task", "metric", "filter", "document", "hash", "value", "weight"]))


def _pair(value: object) -> tuple[float, float]:
    """A document's value and weight; perplexities come as log-likelihood and length."""
    if isinstance(value, bool | int | float):
        return float(value), 1.0
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value):
        return float(value[0]), float(value[1])
    return math.nan, math.nan


def compare(
    baseline: Elsewhere, methods: Mapping[str, Sequence[Elsewhere]], *, resamples: int, seed: int, confidence: float
) -> dict[str, list[Change]]:
    """Each method minus the baseline; a method with several training seeds has one :class:`Elsewhere` for each.

    Raises CompareError if they were not asked the same documents.
    """
    reference = _ordered(baseline)
    found: dict[str, list[Change]] = {}
    for name, runs in methods.items():
        tables = [_ordered(each) for each in runs]
        for table in tables:
            _check_same(reference, table, name)
        estimates = _estimates(baseline, reference, tables, resamples, seed, confidence)
        figures = [{figure.key: figure for figure in run.figures} for run in runs]
        found[name] = [
            _change(figure, [each[figure.key] for each in figures], estimates.get(figure.key), _count(reference, figure), confidence)
            for figure in baseline.figures
            if all(figure.key in each for each in figures)
        ]
    return _corrected(found)


def _corrected(found: Mapping[str, Sequence[Change]]) -> dict[str, list[Change]]:
    adjusted: dict[int, float] = {}
    for top in (True, False):
        family = [each for column in found.values() for each in column if each.top == top and not math.isnan(each.p)]
        adjusted |= dict(zip(map(id, family), holm([each.p for each in family]), strict=True))
    return {name: [replace(each, p_holm=adjusted.get(id(each), math.nan)) for each in column] for name, column in found.items()}


def _ordered(model: Elsewhere) -> pd.DataFrame:
    return model.documents.sort_values(["task", "metric", "filter", "document"], ignore_index=True)


def _check_same(baseline: pd.DataFrame, candidate: pd.DataFrame, name: str) -> None:
    columns = ["task", "metric", "filter", "document", "hash"]
    if len(baseline) == len(candidate) and (baseline[columns] == candidate[columns]).to_numpy().all():
        return
    merged = baseline[columns].merge(candidate[columns], how="outer", indicator=True)
    row = merged[merged["_merge"] != "both"].iloc[0]
    raise CompareError(
        f"{name}: not the same documents of {row['task']} as the baseline (document {row['document']}); its data set changed between the "
        "two evaluations, so delete both steps extra-* and run the command again"
    )


def _count(documents: pd.DataFrame, figure: Figure) -> int:
    tasks = figure.members or (figure.name,)
    rows = documents[documents["task"].isin(tasks) & (documents["metric"] == figure.metric) & (documents["filter"] == figure.filter)]
    return len(rows)


def _change(
    figure: Figure, candidates: Sequence[Figure], estimate: tuple[float, float, float] | None, documents: int, confidence: float
) -> Change:
    value = float(np.mean([each.value for each in candidates]))
    low, high, p = estimate or (math.nan,) * 3
    return Change(
        name=figure.name,
        metric=figure.metric,
        filter=figure.filter,
        version=figure.version,
        fewshot=figure.fewshot,
        top=figure.top,
        higher_is_better=figure.higher_is_better,
        documents=documents,
        baseline=figure.value,
        baseline_stderr=figure.stderr,
        candidate=value,
        candidate_stderr=candidates[0].stderr if len(candidates) == 1 else None,
        delta=value - figure.value,
        low=low,
        high=high,
        p=p,
        confidence=confidence,
        n_seeds=len(candidates),
    )


def _estimates(
    model: Elsewhere, reference: pd.DataFrame, tables: Sequence[pd.DataFrame], resamples: int, seed: int, confidence: float
) -> dict[Key, tuple[float, float, float]]:
    """(low, high, p) of every figure that is a mean over documents or follows from two; one draw of documents for all of them."""
    usable = np.isfinite(np.column_stack([each["value"] for each in (reference, *tables)])).all(axis=1)
    whole = usable & pd.Series(usable).groupby([reference[name] for name in ("task", "metric", "filter")]).transform("all").to_numpy()
    if not whole.any():
        return {}
    rows, kept = reference[whole].reset_index(drop=True), [table[whole].reset_index(drop=True) for table in tables]
    plan, keys = _design(model.figures, rows)
    if not keys:
        return {}
    sums = {"": _columns(rows), **{str(at): _columns(table) for at, table in enumerate(kept)}}
    scores = np.column_stack([sums[str(at)][:, 0] for at in range(len(kept))])
    before, seeds = sums[""][:, [0]], {}
    if len(kept) > 1:
        seeds = {0: [scores - scores.mean(axis=1, keepdims=True)]}
    rng = np.random.default_rng(seed)
    differences = scores.mean(axis=1, keepdims=True) - before
    spread = bootstrap.estimate(plan, differences, resamples=resamples, confidence=confidence, rng=rng, seeds=seeds)
    found = {key: (float(spread.low[at, 0]), float(spread.high[at, 0]), float(spread.p[at, 0])) for at, key in enumerate(keys)}
    figures = {figure.key: figure for figure in model.figures}
    observed = plan.means(sums[""])
    if any(figures[key].aggregation in _CURVED for key in keys):
        means = bootstrap.resampled(plan, np.hstack(list(sums.values())), resamples=resamples, rng=np.random.default_rng(seed))
    for at, key in enumerate(keys):
        aggregation = figures[key].aggregation
        recomputed = _curve(observed[at], aggregation)[0] if aggregation in _CURVED else observed[at, 0]
        if not math.isclose(recomputed, figures[key].value, rel_tol=1e-6, abs_tol=1e-9):
            del found[key]  # lm-eval makes it in another way than it says
        elif aggregation in _CURVED:
            ends = (math.nan, math.nan) if plan.without_spread()[at] else _curved(means[:, at], aggregation, confidence, plan, at)
            found[key] = (*ends, math.nan)
    return found


def _columns(table: pd.DataFrame) -> Floats:
    return table[["value", "weight"]].to_numpy(dtype=np.float64)


def _design(figures: Sequence[Figure], rows: pd.DataFrame) -> tuple[Design, list[Key]]:
    """Every figure that the rows give as a weighted mean of cells (one metric of one task), documents being the questions."""
    frame = rows.assign(
        category="",
        metric=rows["metric"] + "," + rows["filter"],
        length=0,
        example_id=rows["document"].astype(str),
        cluster=rows["document"].astype(str),
    )
    plan = hierarchy.design(frame)
    cells = {
        (str(target.task), str(target.metric)): (target, weights)
        for target, weights in zip(plan.targets, plan.weights, strict=True)
        if target.scope == "task" and target.length is not None
    }
    targets: list[Target] = []
    weights: list[Floats] = []
    keys: list[Key] = []
    known = {figure.key: figure for figure in figures}
    for figure in figures:
        parts = [known.get((task, figure.metric, figure.filter)) for task in figure.members] if figure.members else [figure]
        parts = [part for part in parts if part is not None]  # a group's figure leaves out tasks without its metric
        own = [cells[part.name, f"{part.metric},{part.filter}"] for part in parts if (part.name, f"{part.metric},{part.filter}") in cells]
        plain = all(part.aggregation == "mean" for part in parts) or not figure.members
        if figure.aggregation == "other" or not plain or not own or len(own) < len(parts):
            continue
        sizes = np.array([target.n_examples if figure.aggregation == "weighted" else 1 for target, _ in own], dtype=np.float64)
        targets.append(own[0][0])
        weights.append(np.average([row for _, row in own], axis=0, weights=sizes))
        keys.append(figure.key)
    return replace(plan, targets=tuple(targets), weights=np.array(weights)), keys


_CURVED: Final = ("perplexity", "weighted_perplexity", "bits_per_byte")


def _curve(means: Floats, aggregation: str) -> Floats:
    """The figure from pairs of means in the last axis: log-likelihood, and length (1 where documents count alike)."""
    nats = -means[..., 0::2] / means[..., 1::2]
    return np.asarray(nats / math.log(2) if aggregation == "bits_per_byte" else np.exp(nats), dtype=np.float64)


def _curved(means: Floats, aggregation: str, confidence: float, plan: Design, at: int) -> tuple[float, float]:
    """Percentile interval of a function of two means. ``means`` is resamples x (value, weight of the baseline, then of each seed)."""
    values = _curve(means, aggregation)
    deltas = values[:, 1:].mean(axis=1) - values[:, 0]
    documents = next(stratum.n_clusters for stratum in plan.strata if (plan.weights[at, stratum.cells] > 0).any())
    freedom = documents - 1  # a bootstrap over few documents is too narrow: see reports.bootstrap
    tail = float(stats.norm.cdf(stats.t.ppf((1 - confidence) / 2, freedom) * math.sqrt(documents / freedom)))
    low, high = np.quantile(deltas, [tail, 1 - tail])
    return float(low), float(high)


# ---- for a person -------------------------------------------------------------------------------------------------------------------


def terminal(changes: ByName) -> Table:
    """A rich table of the tasks and groups that were asked for by name."""
    table = Table(title=Text("elsewhere: extra tasks"), caption=LEGEND, caption_justify="left")
    for head in ("task", "metric"):
        table.add_column(head)
    table.add_column("documents", justify="right")
    table.add_column("baseline")
    for name in changes:
        table.add_column(Text(name))
    for row in _rows(changes, top=True):
        first = row[0]
        cells = [Text(_cell(each), style=_STYLES[each.claim]) for each in row]
        table.add_row(Text(first.name), Text(metric(first)), f"{first.documents:,}", _value(first.baseline, first.baseline_stderr), *cells)
    return table


def scores(model: Elsewhere) -> Table:
    """The same of one model alone."""
    table = Table(title=Text("elsewhere: extra tasks"), caption="lm-eval's own values ± standard errors", caption_justify="left")
    for head in ("task", "metric"):
        table.add_column(head)
    table.add_column("documents", justify="right")
    table.add_column("value")
    for figure in model.figures:
        if figure.top:
            count = f"{_count(model.documents, figure):,}"
            table.add_row(Text(figure.name), Text(_metric(figure.metric, figure.filter)), count, _value(figure.value, figure.stderr))
    return table


def markdown(changes: ByName) -> str:
    """A GitHub-flavoured table of what :func:`terminal` shows."""
    head = ["task", "metric", "documents", "baseline", *changes]
    body = [
        [row[0].name, metric(row[0]), f"{row[0].documents:,}", _value(row[0].baseline, row[0].baseline_stderr), *map(_cell, row)]
        for row in _rows(changes, top=True)
    ]
    lines = ["| " + " | ".join(map(safe.markdown, row)) + " |" for row in (head, *body)]
    return "\n".join([lines[0], "|" + "|".join(["-", "-", "-:", "-", *("-" for _ in changes)]) + "|", *lines[1:], "", LEGEND]) + "\n"


def json_text(changes: ByName) -> str:
    """:func:`records` as JSON."""
    return safe.encodable(json.dumps(records(changes), indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def cells(changes: ByName, *, top: bool) -> list[tuple[list[str], list[tuple[str, int]]]]:
    """For a page: (task, metric, version, shots, documents, baseline), then each method's text and its :attr:`Change.claim`."""
    found = []
    for row in _rows(changes, top=top):
        first = row[0]
        version = "" if first.version is None else str(first.version)
        shots = "" if first.fewshot is None else str(first.fewshot)
        head = [first.name, metric(first), version, shots, f"{first.documents:,}", _value(first.baseline, first.baseline_stderr)]
        found.append((head, [(f"{_cell(each)}{_probability(each)}", each.claim) for each in row]))
    return found


def _probability(change: Change) -> str:
    return "" if math.isnan(change.p) else f", p = {p_value(change.p)}"


def sentence(changes: Sequence[Change], name: str) -> str:
    """What changed, by the rule of the marks; "" without figures."""
    asked = [each for each in changes if each.top and not math.isnan(each.low)]
    untested = [f"{each.name} {metric(each)} ({_signed(each.delta)})" for each in changes if each.top and math.isnan(each.low)]
    if not asked and not untested:
        return ""
    signs = [each.claim for each in asked]
    groups = {
        word: [f"{each.name} {metric(each)} ({_signed(each.delta)})" for each, sign in zip(asked, signs, strict=True) if sign == wanted]
        for word, wanted in (("worse", -1), ("improved", 1), ("no detectable difference", 0))
    }
    groups["no interval"] = untested
    found = "; ".join(f"{word}: {', '.join(names)}" for word, names in groups.items() if names)
    return f"Elsewhere, {name} against the baseline: {found}."


def records(changes: ByName) -> list[dict[str, object]]:
    """Every comparison as a flat record, ``method`` first; unknown figures are None."""
    return [
        {"method": name} | {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(each).items()}
        for name, column in changes.items()
        for each in column
    ]


def from_records(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Change]]:
    """What :func:`records` was made of."""
    found: dict[str, list[Change]] = {}
    for row in rows:
        values = {key: value for key, value in row.items() if key != "method"}
        unknown = {key: math.nan for key in ("low", "high", "p", "p_holm") if values.get(key, 0) is None}
        found.setdefault(str(row["method"]), []).append(Change(**{**values, **unknown}))
    return found


def metric(change: Change) -> str:
    """lm-eval's name of the metric, with its filter if it has one."""
    return _metric(change.metric, change.filter)


def _metric(name: str, filtered: str) -> str:
    return name if filtered == "none" else f"{name} ({filtered})"


def _rows(changes: ByName, *, top: bool) -> list[tuple[Change, ...]]:
    """One for each figure that every method has."""
    columns = [{(each.name, each.metric, each.filter): each for each in column if each.top or not top} for column in changes.values()]
    return [tuple(column[key] for column in columns) for key in columns[0] if all(key in column for column in columns)] if columns else []


def _value(value: float, stderr: float | None) -> str:
    return _decimals(value) + ("" if stderr is None else f" ± {_decimals(stderr)}")


def _decimals(value: float, sign: str = "") -> str:
    """Four decimals, as lm-eval prints; four digits where a perplexity has run away."""
    return f"{value:{sign}.4f}" if abs(value) < _LARGE else f"{value:{sign}.3e}"


def _signed(value: float) -> str:
    text = "n/a" if math.isnan(value) else _decimals(value, "+")
    return "0.0000" if text in ("+0.0000", "-0.0000") else text.replace("-", "−")


def _cell(change: Change) -> str:
    interval = "" if math.isnan(change.low) else f" [{_signed(change.low)}, {_signed(change.high)}] {_MARKS[change.claim]}".rstrip()
    return f"{_value(change.candidate, change.candidate_stderr)}  {_signed(change.delta)}{interval}"
