"""Evaluations that may stop before every question is asked: which questions a round takes, when to look, what is then known.

Questions come in an order that a seed fixes, a round takes the same number from every stratum (the lengths of a task that ask the same
questions), so that every round estimates each average of :mod:`reports.hierarchy` without bias. A table that holds the first rounds
alone carries its :class:`Stopping` in ``DataFrame.attrs["stopping"]``, which files of samples keep: nobody takes it for a whole
evaluation.

Two models are compared on the rounds that both were asked, by confidence sequences (:mod:`reports.sequential`): intervals and p-values
that hold whenever the looking stopped. They get a fifth of the error rate, and the ordinary bootstrap gets the rest where every question
was asked in the end (a Haybittle-Peto rule: Haybittle 1971, Br. J. Radiol. 44; Peto et al. 1976, Br. J. Cancer 34). By the union bound
both together err no more often than they say; the last look costs 5% in width instead of the factor of two of a sequence.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from reports import families, hierarchy, sequential
from reports.hierarchy import CELL, Floats, Ints, Target
from reports.sequential import Decision

#: Key in ``DataFrame.attrs``.
ATTRIBUTE: Final = "stopping"
#: Share of the error rate that all looks before the last one get together.
LOOKS_SHARE: Final = 0.2
_GROWTH: Final = 1.5
_FIRST: Final = 16
_NOTHING: Final = 0.5
_DECISIONS: Final = ("better", "worse", "equivalent", None)


class StoppingError(ValueError):
    """Rounds that cannot be used; one line that says why."""


@dataclass(frozen=True)
class Stratum:
    """Questions of a task that are drawn together, as the whole suite has them."""

    category: str
    task: str
    metrics: tuple[str, ...]
    lengths: tuple[int, ...]
    asked_at: tuple[int, ...]
    """Questions at each length; all of them where the lengths ask the same."""
    questions: int


@dataclass(frozen=True)
class Order:
    """The order in which a suite's questions are asked: a hash of seed, task and question, fixed before the first look."""

    seed: int
    strata: tuple[Stratum, ...]
    examples: int
    """Of the whole suite."""

    @property
    def rounds(self) -> int:
        """As many as the smallest stratum has questions; what larger ones have beyond equal rounds comes after the last."""
        return min(each.questions for each in self.strata)

    def looks(self, confidence: float) -> tuple[int, ...]:
        """List the rounds after which to look, each half as many again as before; the last is :attr:`rounds`.

        None comes before a sequence of equal models would be known to within half of the scale: there is nothing to see there.
        """
        narrowest = sequential.narrowest(looking(confidence), _bound(self), self.rounds, len(self.strata))
        found = [min(self.rounds, max(math.ceil(self.rounds / _FIRST), math.ceil(narrowest / _NOTHING)))]
        while found[-1] < self.rounds:
            found.append(min(self.rounds, math.ceil(found[-1] * _GROWTH)))
        return tuple(found)

    def round_of(self, rows: pd.DataFrame) -> Ints:
        """Compute the round, from 0, of each row (columns task, length, cluster); :attr:`rounds` and above for what comes after the last.

        ``rows`` hold every question, or those of the first rounds; raises :class:`StoppingError` if they are of another suite.
        """
        found = np.full(len(rows), -1, dtype=np.intp)
        for stratum, positions, cluster in self._members(rows):
            found[positions] = cluster // (stratum.questions // self.rounds)
        if (found < 0).any():
            row = rows.iloc[int((found < 0).argmax())]
            raise StoppingError(f"the order of questions knows no task {row['task']!r} at length {row['length']}")
        return found

    def _members(self, rows: pd.DataFrame) -> Iterator[tuple[Stratum, Ints, Ints]]:
        """Each stratum with the positions of its rows and the place of each row's question in its order."""
        for stratum in self.strata:
            mine = ((rows["task"] == stratum.task) & rows["length"].isin(stratum.lengths)).to_numpy(dtype=bool)
            positions = np.flatnonzero(mine).astype(np.intp)
            code, names = pd.factorize(rows["cluster"].to_numpy(dtype=object)[positions])
            if len(names) > stratum.questions or (len(names) < stratum.questions and len(names) % (stratum.questions // self.rounds)):
                raise StoppingError(f"{stratum.task} has {len(names)} questions and the order knows {stratum.questions} of them")
            ranks = np.argsort(np.argsort([_place(self.seed, stratum.task, str(name)) for name in names]))
            yield stratum, positions, ranks[code].astype(np.intp)


def plan_order(rows: pd.DataFrame, seed: int) -> Order:
    """Draw the order of a suite (columns category, task, metric, length, example_id, cluster); scores are not looked at."""
    strata = []
    for each in hierarchy.design(rows).strata:
        mine = rows.iloc[each.rows]
        at = mine.groupby("length", sort=True)["cluster"].nunique()
        strata.append(
            Stratum(
                category=str(mine["category"].iloc[0]),
                task=str(mine["task"].iloc[0]),
                metrics=tuple(sorted({str(metric) for metric in mine["metric"]})),
                lengths=tuple(int(str(length)) for length in at.index),
                asked_at=tuple(int(count) for count in at),
                questions=each.n_clusters,
            )
        )
    return Order(seed, tuple(strata), len(rows.drop_duplicates(["task", "length", "example_id"])))


@dataclass(frozen=True)
class Stopping:
    """How far an evaluation in rounds went."""

    order: Order
    rounds: int
    """Asked, of ``order.rounds``."""
    examples: int
    """Asked, of ``order.examples``."""
    complete: bool
    """Whether every question was asked."""
    looks: tuple[int, ...] = ()
    """Rounds after which someone looked whether to stop; none for a baseline, which is asked whatever its candidates are."""
    confidence: float = 0.95
    margin: float = 0.0
    """Fraction of 1: looking also stops when the overall difference is known to be smaller."""
    decision: Decision | None = None

    def sentence(self, name: str) -> str:
        """Say it for a person, in front of the numbers."""
        size = f"{self.examples:,} of {self.order.examples:,} examples"
        looked = f"looked at after round{'s' if len(self.looks) > 1 else ''} {', '.join(map(str, self.looks))}"
        if not self.looks:
            return f"{name}: asked {size}, as many as its candidates took."
        if self.complete:
            return (
                f"{name}: not stopped early, all {size.partition(' of ')[2]} were asked ({looked}); its intervals and p-values are "
                "corrected for the looks."
            )
        reason = f"equal within {100 * self.margin:g} points" if self.decision == "equivalent" else str(self.decision)
        return (
            f"{name}: stopped early ({reason}) after {size}, {self.rounds} of {self.order.rounds} rounds ({looked}); its intervals and "
            "p-values are always-valid: they hold whenever the looking stopped, and are wider than ordinary ones."
        )

    def attach(self, table: pd.DataFrame) -> pd.DataFrame:
        """Mark ``table``."""
        marked = table.copy(deep=False)
        marked.attrs = {**table.attrs, ATTRIBUTE: json.loads(json.dumps(asdict(self)))}
        return marked


def stopping_of(table: pd.DataFrame) -> Stopping | None:
    """Say how far the evaluation went; None for an ordinary one. Raises :class:`StoppingError` for a mark that makes no sense."""
    value = table.attrs.get(ATTRIBUTE)
    if value is None:
        return None
    try:
        found = _parse(value)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise StoppingError(f"what the table says about its early stopping cannot be read ({type(error).__name__}: {error})") from None
    if found.complete:
        return found
    asked = found.order.round_of(table)
    if len(table) and int(asked.max()) + 1 != found.rounds:
        raise StoppingError(f"the table says it holds {found.rounds} rounds of questions and holds {int(asked.max()) + 1}")
    return found


def shared(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Keep the tables' rows of the examples that all of them hold, where some stopped early."""
    marks = [mark for table in tables.values() if (mark := stopping_of(table)) is not None and not mark.complete]
    if not marks:
        return dict(tables)
    least = min(marks, key=lambda mark: mark.rounds)
    return {name: table[least.order.round_of(table) < least.rounds].reset_index(drop=True) for name, table in tables.items()}


def read_order(value: Mapping[str, Any]) -> Order:
    """Read an order from what ``dataclasses.asdict`` and JSON made of it."""
    strata = tuple(
        Stratum(
            category=str(each["category"]),
            task=str(each["task"]),
            metrics=tuple(map(str, each["metrics"])),
            lengths=tuple(each["lengths"]),
            asked_at=tuple(each["asked_at"]),
            questions=each["questions"],
        )
        for each in value["strata"]
    )
    sizes = [value["examples"], *(size for each in strata for size in (each.questions, *each.asked_at, *each.lengths))]
    if not strata or type(value["seed"]) is not int or any(type(size) is not int or size < 1 for size in sizes):
        raise ValueError("sizes have to be positive whole numbers")
    return Order(value["seed"], strata, value["examples"])


def _parse(value: Mapping[str, Any]) -> Stopping:
    looks, chosen = tuple(map(int, value["looks"])), value["decision"]
    order = read_order(value["order"])
    numbers = int(value["rounds"]), int(value["examples"])
    found = Stopping(order, *numbers, bool(value["complete"]), looks, float(value["confidence"]), float(value["margin"]), chosen)
    if not 0 < found.confidence < 1 or not 0 < found.rounds <= order.rounds or not 0 < found.examples <= order.examples:
        raise ValueError("confidence, rounds or examples are out of range")
    if chosen not in _DECISIONS:
        raise ValueError(f"the decision is {chosen!r}")
    return found


def looking(confidence: float) -> float:
    """Compute the confidence of the sequences, when everything together has ``confidence``."""
    return 1 - LOOKS_SHARE * (1 - confidence)


@dataclass(frozen=True)
class Known:
    """What the rounds so far say; arrays are (targets,) of the order's hierarchy."""

    targets: tuple[Target, ...]
    baseline: Floats
    candidate: Floats
    low: Floats
    high: Floats
    p: Floats


def known(
    order: Order,
    rows: pd.DataFrame,
    baseline: Floats,
    candidate: Floats,
    rounds: int,
    confidence: float,
    *,
    only_overall: bool = False,
) -> Known:
    """Give both models' averages, always-valid intervals of their differences, and p-values, after the first ``rounds`` rounds.

    ``rows`` hold those rounds' rows and maybe more; scores are (rows,). An average counts each question the same, where HELMET counts
    each example: they differ only where some questions of a task have more examples than others.
    """
    inside = order.round_of(rows) < rounds
    rows = rows[inside].reset_index(drop=True)
    columns = np.column_stack([baseline[inside], candidate[inside]])
    cells = _cells(order)
    at = {tuple(cell): number for number, cell in enumerate(cells.itertuples(index=False, name=None))}
    cell = np.array([at[key] for key in rows[CELL].itertuples(index=False, name=None)], dtype=np.intp)
    codes = [np.asarray(rows.groupby(by).ngroup(), dtype=np.intp) for by in (["task", "length", "example_id"], ["task", "cluster"])]
    found, weights = hierarchy.targets(cells, cell, *codes)
    if only_overall:
        found, weights = found[:1], weights[:1]
    parts, bounds = _parts(order, rows, columns, cell, at, weights, rounds)
    means = parts.sum(axis=2).mean(axis=1)  # targets x columns
    low, high, p = (np.empty(len(found)) for _ in range(3))
    for target in range(len(found)):
        mine = bounds[target] > 0
        mine_parts = parts[target][:, mine]
        difference = mine_parts[:, :, 1] - mine_parts[:, :, 0]
        interval, level = sequential.read(
            difference, confidence=looking(confidence), bound=float(bounds[target].max()), planned=order.rounds
        )
        most = float(bounds[target].sum())  # 1, but for lengths that ask different questions
        low[target], high[target] = max(-most, interval.low), min(most, interval.high)
        p[target] = min(1.0, level / LOOKS_SHARE)
    return Known(found, means[:, 0], means[:, 1], low, high, p)


@dataclass(frozen=True)
class Look:
    """The overall difference as it is known after some rounds, in fractions of 1."""

    delta: float
    low: float
    high: float
    decision: Decision | None
    """``None``: not known well enough to stop."""


def look(
    order: Order, baseline: pd.DataFrame, candidate: pd.DataFrame, rounds: int, confidence: float, margin: float, comparisons: int = 1
) -> Look:
    """Decide whether to stop after ``rounds`` rounds: a page would claim an overall difference, or it is within ``margin`` of 0.

    Both are samples tables of these rounds in the same order of rows. A page with ``comparisons``, methods and contrasts together, claims
    less readily than the interval excludes 0 (:mod:`reports.families`); whoever stops at the interval alone may stop for nothing.
    """
    scores = [table["score"].to_numpy(dtype=np.float64) for table in (baseline, candidate)]
    found = known(order, baseline, scores[0], scores[1], rounds, confidence, only_overall=True)
    low, high = float(found.low[0]), float(found.high[0])
    claimed = float(found.p[0]) * comparisons / families.SHARES["overall"] < 1 - confidence
    decision: Decision | None = None
    if claimed and (low > 0 or high < 0):
        decision = "better" if low > 0 else "worse"
    if decision is None and -margin <= low and high <= margin:
        decision = "equivalent"
    return Look(float(found.candidate[0] - found.baseline[0]), low, high, decision)


def _parts(
    order: Order,
    rows: pd.DataFrame,
    columns: Floats,
    cell: Ints,
    at: Mapping[tuple[object, ...], int],
    weights: Floats,
    rounds: int,
) -> tuple[Floats, Floats]:
    """What each stratum adds to each target in each round, (targets, rounds, strata, columns), and the most it can, (targets, strata)."""
    found = np.zeros((len(weights), rounds, len(order.strata), columns.shape[1]))
    bounds = np.zeros((len(weights), len(order.strata)))
    for number, (stratum, positions, place) in enumerate(order._members(rows)):
        per_round = stratum.questions // order.rounds
        if len(np.unique(place)) != rounds * per_round:
            raise StoppingError(f"{stratum.task} lacks questions of the first {rounds} rounds")
        filled = [at[key] for key in _cell_keys(stratum)]
        slot_of = {each: slot for slot, each in enumerate(filled)}
        slot = place * len(filled) + np.array([slot_of[int(each)] for each in cell[positions]], dtype=np.intp)
        size = rounds * per_round * len(filled)
        counts = np.maximum(1, np.bincount(slot, minlength=size))
        share = _shares(stratum, weights, at)
        for column in range(columns.shape[1]):
            means = (np.bincount(slot, weights=columns[positions, column], minlength=size) / counts).reshape(-1, len(filled))
            found[:, :, number, column] = (means @ share.T).reshape(rounds, per_round, -1).mean(axis=1).T
        bounds[:, number] = share.sum(axis=1)
    return found, bounds


def _bound(order: Order) -> float:
    """The most that a stratum can add to the overall difference in a round."""
    cells = _cells(order)
    none = np.zeros(0, dtype=np.intp)
    weights = hierarchy.targets(cells, none, none, none)[1][:1]
    at = {tuple(cell): number for number, cell in enumerate(cells.itertuples(index=False, name=None))}
    return max(float(_shares(stratum, weights, at).sum()) for stratum in order.strata)


def _shares(stratum: Stratum, weights: Floats, at: Mapping[tuple[object, ...], int]) -> Floats:
    """What a score of 1 in each of the stratum's cells adds to each target, (targets, cells)."""
    # a length that not every question of the stratum is asked at counts the more where one is
    asked = {length: stratum.questions / count for length, count in zip(stratum.lengths, stratum.asked_at, strict=True)}
    keys = _cell_keys(stratum)
    return np.asarray(weights[:, [at[key] for key in keys]] * np.array([asked[int(str(key[-1]))] for key in keys]), dtype=np.float64)


def _cell_keys(stratum: Stratum) -> list[tuple[object, ...]]:
    return [(stratum.category, stratum.task, metric, length) for metric in stratum.metrics for length in stratum.lengths]


def _cells(order: Order) -> pd.DataFrame:
    """Every cell of the suite, sorted as :func:`reports.hierarchy.design` sorts them."""
    keys: Sequence[tuple[object, ...]] = [key for stratum in order.strata for key in _cell_keys(stratum)]
    return pd.DataFrame(list(keys), columns=CELL).sort_values(CELL, ignore_index=True)


def _place(seed: int, task: str, cluster: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{task}/{cluster}".encode()).digest()[:7], "big")
