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
from scipy import stats

from reports import bootstrap, hierarchy
from reports.comparison import CompareError
from reports.hierarchy import Design, Floats, Target
from reports.permutation import holm
from tasks.files import open_bytes, read_lines, read_text

#: The files of one model's figures.
FIGURES: Final = "figures.json"
DOCUMENTS: Final = "documents.jsonl"
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
class ExtraScores:
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
    improvement: float = math.nan
    """Probability of improvement: that the candidate does better on a document, a tie counting half. NaN where ``p`` is."""

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
#: Lower and upper end, p, and the probability that a document's value is higher; NaN where unknown.
_Estimate: TypeAlias = tuple[float, float, float, float]


def read(folder: Path) -> ExtraScores:
    """Read what a model's step ``extra`` holds."""
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
    return ExtraScores(figures, pd.DataFrame(rows, columns=["task", "metric", "filter", "document", "hash", "value", "weight"]))


def _pair(value: object) -> tuple[float, float]:
    """A document's value and weight; perplexities come as log-likelihood and length."""
    if isinstance(value, bool | int | float):
        return float(value), 1.0
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value):
        return float(value[0]), float(value[1])
    return math.nan, math.nan


def compare(
    baseline: ExtraScores, methods: Mapping[str, Sequence[ExtraScores]], *, resamples: int, seed: int, confidence: float
) -> dict[str, list[Change]]:
    """Compare each method with the baseline; a method with several training seeds has one :class:`ExtraScores` for each.

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
            _change(figure, [each[figure.key] for each in figures], estimates.get(figure.key), count(reference, figure), confidence)
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


def _ordered(model: ExtraScores) -> pd.DataFrame:
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


def count(documents: pd.DataFrame, figure: Figure) -> int:
    tasks = figure.members or (figure.name,)
    rows = documents[documents["task"].isin(tasks) & (documents["metric"] == figure.metric) & (documents["filter"] == figure.filter)]
    return len(rows)


def _change(figure: Figure, candidates: Sequence[Figure], estimate: _Estimate | None, documents: int, confidence: float) -> Change:
    value = float(np.mean([each.value for each in candidates]))
    low, high, p, higher = estimate or (math.nan,) * 4
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
        improvement=higher if figure.higher_is_better else 1 - higher,
    )


def _estimates(
    model: ExtraScores, reference: pd.DataFrame, tables: Sequence[pd.DataFrame], resamples: int, seed: int, confidence: float
) -> dict[Key, _Estimate]:
    """What is known of every figure that is a mean over documents or follows from two; one draw of documents for all of them."""
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
    higher = hierarchy.improvements(plan, differences)
    found: dict[Key, _Estimate] = {
        key: (float(spread.low[at, 0]), float(spread.high[at, 0]), p, math.nan if math.isnan(p) else float(higher[at, 0]))
        for at, key in enumerate(keys)
        for p in (float(spread.p[at, 0]),)
    }
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
            found[key] = (*ends, math.nan, math.nan)
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


def records(changes: ByName) -> list[dict[str, object]]:
    """Make every comparison as a flat record, ``method`` first; unknown figures are None."""
    return [
        {"method": name} | {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(each).items()}
        for name, column in changes.items()
        for each in column
    ]


def from_records(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Change]]:
    """Read what :func:`records` was made of."""
    found: dict[str, list[Change]] = {}
    for row in rows:
        values = {key: value for key, value in row.items() if key != "method"}
        unknown = {key: math.nan for key in ("low", "high", "p", "p_holm", "improvement") if values.get(key, 0) is None}
        found.setdefault(str(row["method"]), []).append(Change(**{**values, **unknown}))
    return found
