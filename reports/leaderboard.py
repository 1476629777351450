"""Many evaluations in one table, with ranges of ranks instead of bare ranks.

The confidence set of a rank follows Mogstad, Romano, Shaikh & Wilhelm 2024, "Inference for Ranks with Applications to Mobility across
Neighbourhoods and Academic Achievement across Countries", Rev. Econ. Stud. 91, section 3: simultaneous intervals of all pairwise
differences (paired bootstrap, studentized maximum); a model's best rank is one more than the number of models that are certainly
better, its worst leaves room only for those that are certainly worse. All ranks of a column hold together with the given confidence.
As in a verdict, the permutation test has to agree: with few questions the bootstrap alone is too sure.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from reports import samples
from reports.bootstrap import resampled
from reports.compare import MISMATCHES, CompareError
from reports.hierarchy import Design, Floats, design
from reports.permutation import p_values
from reports.reference import Published
from reports.stopping import StoppingError, stopping_of


@dataclass(frozen=True)
class Entry:
    """An evaluation that wants a place."""

    name: str
    table: pd.DataFrame


@dataclass(frozen=True)
class Row:
    """A model at one length. Scores are fractions of 1."""

    name: str
    best: int
    worst: int
    overall: float
    low: float
    high: float
    categories: tuple[float | None, ...]
    """In the order of the board's categories; None where the length has none."""


@dataclass(frozen=True)
class Column:
    """The ranking at one length, best overall score first."""

    length: int | None
    """Tokens; None is the mean over lengths."""
    rows: tuple[Row, ...]
    references: tuple[Published, ...] = ()


@dataclass(frozen=True)
class Board:
    """Comparable runs ranked together, and the others with the reason."""

    categories: tuple[str, ...]
    columns: tuple[Column, ...]
    others: tuple[tuple[str, str], ...]
    confidence: float
    without_reference: tuple[int | None, ...] = ()
    """Lengths at which published results were asked for and there are none."""


def board(
    entries: Sequence[Entry], *, references: Sequence[Published] = (), resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> Board:
    """Rank the largest group of comparable entries at every length. Raises :class:`CompareError` for no entries and invalid tables."""
    if not entries:
        raise CompareError("nothing to rank: name at least one run")
    tables: dict[str, pd.DataFrame] = {}
    stopped: list[tuple[str, str]] = []
    for entry in entries:
        try:
            table = samples.validate(entry.table).sort_values(list(samples.KEY), ignore_index=True)
            mark = stopping_of(table)
        except (samples.SamplesError, StoppingError) as error:
            raise CompareError(f"{entry.name}: {error}") from error
        if entry.name in tables or entry.name in dict(stopped):
            raise CompareError(f"two evaluations are called {entry.name}; give them names, NAME=EVALUATION")
        if mark is None or mark.complete:
            tables[entry.name] = table
        else:
            stopped.append((entry.name, f"stopped early after {mark.examples:,} of {mark.order.examples:,} examples"))
    if not tables:
        raise CompareError(f"nothing to rank: {'; '.join(f'{name} {reason}' for name, reason in stopped)}")
    ranked, others = _comparable(tables)
    others += stopped
    first = tables[ranked[0]]
    plan = _headlines(design(first))
    scores = np.column_stack([tables[name]["score"].to_numpy(dtype=np.float64) for name in ranked])
    means = plan.means(scores)
    draws = resampled(plan, scores, resamples=resamples, rng=np.random.default_rng(seed))

    @cache
    def differ(one: int, two: int) -> Floats:
        """p-values of the difference between two models, one for each of the plan's targets."""
        gaps = scores[:, [one]] - scores[:, [two]]
        return np.asarray(p_values(plan, gaps, resamples=resamples, rng=np.random.default_rng([seed, one, two]))[:, 0])

    categories = tuple(dict.fromkeys(str(each.category) for each in plan.targets if each.category))
    lengths = sorted({each.length for each in plan.targets if each.length is not None})
    columns = [
        _column(plan, length, ranked, categories, means, draws, differ, references, confidence)
        for length in ([None, *lengths] if len(lengths) > 1 else lengths)
    ]
    bare = tuple(each.length for each in columns if references and not each.references)
    return Board(categories, tuple(columns), tuple(others), confidence, bare)


def ranks(
    means: Floats, draws: Floats, confidence: float, agreed: Callable[[int, int], bool] = lambda one, two: True
) -> tuple[list[int], list[int]]:
    """Best and worst rank of each model from its mean, (models,), and its resampled means, (resamples, models).

    ``agreed`` says whether another test finds two models, the smaller number first, to differ too; asked only where the bootstrap does.
    """
    models = len(means)
    one, two = np.triu_indices(models, 1)
    better = np.zeros((models, models), dtype=bool)
    if len(one):
        gaps, drawn = means[one] - means[two], draws[:, one] - draws[:, two]
        error = drawn.std(axis=0, ddof=1)
        varies = error > 1e-12
        error = np.where(varies, error, 1.0)
        limit = np.quantile((np.abs(drawn - gaps) / error * varies).max(axis=1), confidence)
        sure = varies & (np.abs(gaps) > limit * error)
        for pair in np.flatnonzero(sure):
            sure[pair] = agreed(int(one[pair]), int(two[pair]))
        better[one[sure & (gaps > 0)], two[sure & (gaps > 0)]] = True
        better[two[sure & (gaps < 0)], one[sure & (gaps < 0)]] = True
    return [int(1 + each) for each in better.sum(axis=0)], [int(models - each) for each in better.sum(axis=1)]


def _comparable(tables: dict[str, pd.DataFrame]) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of the largest comparable group, and the other names with what sets them apart."""
    kinds = {name: tuple("+".join(sorted(table[column].unique())) for column, _ in MISMATCHES.values()) for name, table in tables.items()}
    examples = {name: pd.util.hash_pandas_object(table[[*samples.KEY, "cluster"]], index=False).sum() for name, table in tables.items()}
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in tables:
        groups.setdefault((*kinds[name], examples[name]), []).append(name)
    largest = max(groups.values(), key=len)
    others = []
    for name in tables:
        if name not in largest:
            pairs = zip(MISMATCHES, kinds[name], kinds[largest[0]], strict=True)
            apart = [f"another {what} ({_short(mine)}, not {_short(theirs)})" for what, mine, theirs in pairs if mine != theirs]
            others.append((name, ", ".join(apart) or "other examples of the same suite"))
    return largest, others


def _short(kind: str) -> str:
    return (kind if len(kind) <= 14 else f"{kind[:12]}…") or "unknown"


def _headlines(plan: Design) -> Design:
    """The design's overall and category scores alone."""
    keep = [at for at, each in enumerate(plan.targets) if each.scope != "task"]
    return dataclasses.replace(plan, targets=tuple(plan.targets[at] for at in keep), weights=plan.weights[keep])


def _column(
    plan: Design,
    length: int | None,
    names: Sequence[str],
    categories: Sequence[str],
    means: Floats,
    draws: Floats,
    differ: Callable[[int, int], Floats],
    references: Sequence[Published],
    confidence: float,
) -> Column:
    places = {each.category: at for at, each in enumerate(plan.targets) if each.length == length}
    overall = places[None]
    known = not plan.without_spread()[overall]

    def agreed(one: int, two: int) -> bool:
        return bool(differ(one, two)[overall] < 1 - confidence)

    best, worst = ranks(means[overall], draws[:, overall], confidence, agreed) if known else ([1] * len(names), [len(names)] * len(names))
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws[:, overall], [tail, 1 - tail], axis=0) if known else np.full((2, len(names)), np.nan)
    rows = [
        Row(
            name, best[at], worst[at], float(means[overall, at]), float(low[at]), float(high[at]),
            tuple(float(means[places[category], at]) if category in places else None for category in categories),
        )
        for at, name in enumerate(names)
    ]  # fmt: skip
    return Column(
        length, tuple(sorted(rows, key=lambda row: (-row.overall, row.name))), tuple(each for each in references if each.length == length)
    )
