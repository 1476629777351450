"""Many evaluations in one table, with ranges of ranks instead of bare ranks.

The confidence set of a rank follows Mogstad, Romano, Shaikh & Wilhelm 2024, "Inference for Ranks with Applications to Mobility across
Neighbourhoods and Academic Achievement across Countries", Rev. Econ. Stud. 91, section 3: all pairs of models are tested together; a
model's best rank is one more than the number of models that are certainly better, its worst leaves room only for those that are
certainly worse. The test is :mod:`reports.pairs`'. All ranks of all tables of a board hold together with the given confidence.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports import generations, samples
from reports.bootstrap import resampled, spread
from reports.comparable import MISMATCHES, alike, distinct, of_kind, ordered, valid
from reports.compare import Tables
from reports.comparison import CompareError
from reports.hierarchy import Design, Floats, design
from reports.pairs import Pairs, compare_all, letters
from reports.reference import Published
from reports.stopping import StoppingError, stopping_of


@dataclass(frozen=True)
class Entry:
    """An evaluation that wants a place."""

    name: str
    table: Tables
    """Its samples, or those of each training seed."""


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
    seeds: int = 1
    """Training seeds, averaged."""
    letters: str = ""
    """Rows that share a letter cannot be told apart."""


@dataclass(frozen=True)
class Versus:
    """Two rows of a column against each other."""

    one: str
    other: str
    delta: float
    """Overall score of ``one`` minus ``other``'s."""
    claim: int
    """1 or -1 where they are told apart, else 0."""
    equivalent: bool
    """Shown to be equal within the margin that was named."""
    improvement: float
    """Chance that ``one`` does better on a question, a tie counting half."""


@dataclass(frozen=True)
class Column:
    """The ranking at one length, best overall score first."""

    length: int | None
    """Tokens; None is the mean over lengths."""
    rows: tuple[Row, ...]
    references: tuple[Published, ...] = ()
    pairs: tuple[Versus, ...] = ()
    """Every two rows, the better one first."""


@dataclass(frozen=True)
class Board:
    """Comparable runs ranked together, and the others with the reason."""

    categories: tuple[str, ...]
    columns: tuple[Column, ...]
    others: tuple[tuple[str, str], ...]
    confidence: float
    without_reference: tuple[int | None, ...] = ()
    """Lengths at which published results were asked for and there are none."""
    margin: float = math.nan
    notes: tuple[str, ...] = ()
    """What a reader has to know before the numbers."""


def board(
    entries: Sequence[Entry],
    *,
    references: Sequence[Published] = (),
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
    margin: float = math.nan,
    notes: Sequence[str] = (),
) -> Board:
    """Rank the largest group of comparable entries at every length. Raises :class:`CompareError` for no entries and invalid tables.

    ``margin``: a difference, as a fraction of 1, that does not matter; pairs that are shown to be closer are marked as equal.
    """
    if not entries:
        raise CompareError("nothing to rank: name at least one run")
    answered, lost = _valid(entries)
    tables: dict[str, list[pd.DataFrame]] = {}
    stopped: list[tuple[str, str]] = []
    for name, whole in answered.items():
        mine = distinct([ordered(each) for each in whole])
        try:
            partial = [mark for each in mine if (mark := stopping_of(each)) is not None and not mark.complete]
        except StoppingError as error:
            raise CompareError(f"{name}: {error}") from error
        if not partial:
            tables[name] = mine
        else:
            stopped.append((name, f"stopped early after {partial[0].examples:,} of {partial[0].order.examples:,} examples"))
    if not tables:
        raise CompareError(f"nothing to rank: {'; '.join(f'{name} {reason}' for name, reason in stopped)}")
    ranked, others = _comparable(tables)
    said = [*lost, *generations.notes({name: answered[name] for name in ranked})]
    plan = _headlines(design(tables[ranked[0]][0]))
    scores = [np.column_stack([each["score"].to_numpy(dtype=np.float64) for each in tables[name]]) for name in ranked]
    means = np.column_stack([each.mean(axis=1) for each in scores])
    of_seeds = {at: [each - each.mean(axis=1, keepdims=True)] for at, each in enumerate(scores) if each.shape[1] > 1}
    draw_rng, spread_rng, pair_rng = np.random.default_rng(seed).spawn(3)
    limits = spread(plan, means, resamples=resamples, rng=spread_rng, seeds=of_seeds, rare=True).limits((1 - confidence) / 2)
    shown = _Shown(
        plan=plan,
        names=ranked,
        seeds=tuple(each.shape[1] for each in scores),
        means=plan.means(means),
        ends=(np.clip(limits[0], 0, 1), np.clip(limits[1], 0, 1)),
        draws=resampled(plan, means, resamples=resamples, rng=draw_rng),
        pairs=compare_all(plan, scores, resamples=resamples, rng=pair_rng, confidence=confidence, margin=margin),
        categories=tuple(dict.fromkeys(str(each.category) for each in plan.targets if each.category)),
        confidence=confidence,
    )
    lengths = sorted({each.length for each in plan.targets if each.length is not None})
    columns = [_column(shown, length, references) for length in ([None, *lengths] if len(lengths) > 1 else lengths)]
    bare = tuple(each.length for each in columns if references and not each.references)
    return Board(shown.categories, tuple(columns), tuple(others + stopped), confidence, bare, margin, (*notes, *said))


def ranks(
    means: Floats, draws: Floats, confidence: float, agreed: Callable[[int, int], bool] = lambda one, two: True
) -> tuple[list[int], list[int]]:
    """Compute the range of ranks: best and worst rank of each model from its mean, (models,), and its resampled means, (resamples, models).

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
        sure = np.where(varies, np.abs(gaps) > limit * error, np.abs(gaps) > 1e-12)  # the same on every question: surest of all
        for pair in np.flatnonzero(sure):
            sure[pair] = agreed(int(one[pair]), int(two[pair]))
        better[one[sure & (gaps > 0)], two[sure & (gaps > 0)]] = True
        better[two[sure & (gaps < 0)], one[sure & (gaps < 0)]] = True
    return [int(1 + each) for each in better.sum(axis=0)], [int(models - each) for each in better.sum(axis=1)]


def _valid(entries: Sequence[Entry]) -> tuple[dict[str, list[pd.DataFrame]], list[str]]:
    """The tables of each entry, and notes: those that one judge scored have the same examples, without the ones it left unscored."""
    found: dict[str, list[pd.DataFrame]] = {}
    for entry in entries:
        if entry.name in found:
            raise CompareError(f"two evaluations are called {entry.name}; give them names, NAME=EVALUATION")
        given = [entry.table] if isinstance(entry.table, pd.DataFrame) else entry.table
        found[entry.name] = [valid(each, entry.name) for each in given]
    scorers = {name: tuple(sorted({kind for each in tables for kind in of_kind(each, "scorer")})) for name, tables in found.items()}
    said: list[str] = []
    for scorer in dict.fromkeys(scorers.values()):
        tables, notes = alike({name: found[name] for name in found if scorers[name] == scorer})
        found |= tables
        said += notes
    return found, said


def _comparable(tables: dict[str, list[pd.DataFrame]]) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of the largest comparable group, and the other names with what sets them apart."""
    kinds = {
        name: tuple("+".join(sorted({kind for each in seeds for kind in of_kind(each, column)})) for column, _ in MISMATCHES.values())
        for name, seeds in tables.items()
    }
    asked = [*samples.KEY, "cluster", "category"]
    examples = {
        name: tuple(sorted({int(pd.util.hash_pandas_object(each[asked], index=False).sum()) for each in seeds}))
        for name, seeds in tables.items()
    }
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


@dataclass(frozen=True)
class _Shown:
    """All that the columns are made from; arrays are targets x models."""

    plan: Design
    names: Sequence[str]
    seeds: Sequence[int]
    means: Floats
    ends: tuple[Floats, Floats]
    draws: Floats
    """(resamples, targets, models)."""
    pairs: Pairs
    categories: tuple[str, ...]
    confidence: float


def _column(shown: _Shown, length: int | None, references: Sequence[Published]) -> Column:
    places = {each.category: at for at, each in enumerate(shown.plan.targets) if each.length == length}
    overall, models = places[None], len(shown.names)
    known = not shown.plan.without_spread()[overall]
    agreed = [(one, two) for at, (one, two) in enumerate(shown.pairs.members) if shown.pairs.apart[overall, at]]
    sure = agreed if known else []
    best, worst = ranks(shown.means[overall], shown.draws[:, overall], shown.confidence, lambda one, two: (one, two) in sure)
    if not known:
        best, worst = [1] * models, [models] * models
    apart = set(sure)
    order = sorted(range(models), key=lambda at: (-shown.means[overall, at], shown.names[at]))
    marks = letters(order, apart)
    rows = [
        Row(
            shown.names[at], best[at], worst[at], float(shown.means[overall, at]),
            float(shown.ends[0][overall, at]), float(shown.ends[1][overall, at]),
            tuple(float(shown.means[places[category], at]) if category in places else None for category in shown.categories),
            seeds=shown.seeds[at], letters=marks[at],
        )
        for at in order
    ]  # fmt: skip
    return Column(length, tuple(rows), tuple(each for each in references if each.length == length), _versus(shown, overall, order, apart))


def _versus(shown: _Shown, overall: int, order: Sequence[int], apart: set[tuple[int, int]]) -> tuple[Versus, ...]:
    found = []
    places = {pair: at for at, pair in enumerate(shown.pairs.members)}
    for above, one in enumerate(order):
        for two in order[above + 1 :]:
            pair = (min(one, two), max(one, two))
            delta = float(shown.means[overall, one] - shown.means[overall, two])
            equivalent = pair not in apart and bool(shown.pairs.equivalent[overall, places[pair]])
            better = float(shown.pairs.improvement[overall, places[pair]])
            found.append(
                Versus(shown.names[one], shown.names[two], delta, int(pair in apart), equivalent, better if one < two else 1 - better)
            )
    return tuple(found)
