"""A benchmark's hierarchy: which cells a score is the mean of, and which examples belong together.

Every figure that we report is a weighted mean of *cells*; a cell is the mean of one metric on one (task, length):

    cell(niah, 8192, recall)  cell(niah, 16384, recall) ...   dataset-metric
    category at a length  = unweighted mean of its cells      HELMET, arXiv 2410.02694, section 2
    overall at a length   = unweighted mean of its categories       five or seven: reports.categories
    over lengths          = unweighted mean of the above over the lengths where it exists

So one resample of the questions, turned into cells and multiplied by the matrix of those weights, gives every figure at once, with
the right covariances. A *cluster* is a question with all its examples and metrics. Lengths of one task that ask the same questions
form one *stratum*: their scores are correlated, and treating them as independent would make the interval of their mean too narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports import categories

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.intp]
Scope: TypeAlias = Literal["task", "category", "overall"]

CELL = ["category", "task", "metric", "length"]
_SAME = 1e-9


@dataclass(frozen=True)
class Target:
    """A figure to report: a weighted mean of cells."""

    scope: Scope
    category: str | None
    task: str | None
    metric: str | None
    length: int | None
    """Tokens; None is the mean over lengths."""
    n_examples: int
    n_clusters: int


@dataclass(frozen=True)
class Stratum:
    """The lengths of one task whose questions are drawn together."""

    rows: Ints
    """Positions in the table, (n,)."""
    cluster: Ints
    """Cluster of each row, (n,), 0 .. n_clusters - 1."""
    cell: Ints
    """Position in ``cells`` of each row's cell, (n,)."""
    cells: Ints
    """The design's cells that this stratum fills."""
    n_clusters: int

    def sums(self, values: Floats) -> Floats:
        """Compute the sums by cluster, cell and column, (n_clusters, len(cells), columns), of ``values`` (rows of the table, columns)."""
        slot = self.cluster * len(self.cells) + self.cell
        slots = self.n_clusters * len(self.cells)
        columns = [np.bincount(slot, weights=column[self.rows], minlength=slots) for column in values.T]
        return np.asarray(np.stack(columns, axis=-1), dtype=np.float64).reshape(self.n_clusters, len(self.cells), -1)

    def counts(self) -> Floats:
        """Count the rows by cluster and cell, (n_clusters, len(cells))."""
        shape = (self.n_clusters, len(self.cells))
        return np.bincount(self.cluster * shape[1] + self.cell, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


@dataclass(frozen=True)
class Design:
    """The hierarchy of one samples table, independent of its scores."""

    strata: tuple[Stratum, ...]
    targets: tuple[Target, ...]
    weights: Floats
    """Target x cell; each row sums to 1."""

    def means(self, values: Floats) -> Floats:
        """Compute, targets x columns, HELMET's averages of each column of ``values``, (rows of the table, columns)."""
        cells = np.empty((self.weights.shape[1], values.shape[1]))
        for stratum in self.strata:
            cells[stratum.cells] = stratum.sums(values).sum(axis=0) / stratum.counts().sum(axis=0)[:, None]
        return self.weights @ cells

    def per_question(self, values: Floats) -> Iterator[tuple[Floats, Floats]]:
        """Yield for each target its questions' weights, (questions,), which sum to 1, and their means of ``values``, (questions,
        columns).
        """
        parts = [(each, each.counts(), each.sums(values)) for each in self.strata]
        rows = [(each, counts / counts.sum(axis=0), sums / counts.sum(axis=0)[:, None]) for each, counts, sums in parts]
        for row in self.weights:
            weights, means = [], []
            for stratum, counts, sums in rows:
                used = row[stratum.cells] > 0
                if used.any():
                    weight = counts[:, used] @ row[stratum.cells[used]]
                    asked = weight > 0
                    added = np.einsum("qcx,c->qx", sums[:, used], row[stratum.cells[used]])
                    weights.append(weight[asked])
                    means.append(added[asked] / weight[asked, None])
            yield np.concatenate(weights), np.concatenate(means)

    def without_spread(self) -> npt.NDArray[np.bool_]:
        """Mark the targets that draw on a cell whose rows are all of one cluster, so that nothing is known of its spread."""
        single = np.zeros(self.weights.shape[1], dtype=bool)
        for stratum in self.strata:
            single[stratum.cells] = (stratum.counts() > 0).sum(axis=0) < 2
        return np.asarray((self.weights[:, single] > 0).any(axis=1))


def design(rows: pd.DataFrame) -> Design:
    """Read the hierarchy off a table with columns category, task, metric, length, example_id and cluster."""
    cell_of_row = _numbered(rows, CELL)
    cells = rows[CELL].iloc[np.unique(cell_of_row, return_index=True)[1]].reset_index(drop=True)
    strata: list[Stratum] = []
    cluster_of_row = np.empty(len(rows), dtype=np.intp)
    seen = 0
    for _, task in rows[["task", "length", "cluster"]].assign(position=np.arange(len(rows))).groupby("task", sort=True):
        for lengths in _linked_lengths(task):
            linked = task[task["length"].isin(lengths)]
            positions = linked["position"].to_numpy(dtype=np.intp)
            cluster = _numbered(linked, ["cluster"])
            filled, cell = np.unique(cell_of_row[positions], return_inverse=True)
            strata.append(Stratum(positions, cluster, cell.astype(np.intp), filled, int(cluster.max()) + 1))
            cluster_of_row[positions] = cluster + seen
            seen += strata[-1].n_clusters
    found, weights = targets(cells, cell_of_row, _numbered(rows, ["task", "length", "example_id"]), cluster_of_row)
    return Design(tuple(strata), found, weights)


def _linked_lengths(task: pd.DataFrame) -> list[list[int]]:
    """Lengths grouped so that two that share a cluster are in the same group."""
    groups: list[tuple[list[int], set[str]]] = []
    for length, block in task.groupby("length", sort=True):
        lengths, clusters = [int(str(length))], set(block["cluster"])
        apart = []
        for group in groups:
            if group[1] & clusters:
                lengths, clusters = group[0] + lengths, group[1] | clusters
            else:
                apart.append(group)
        groups = [*apart, (lengths, clusters)]
    return [lengths for lengths, _ in groups]


def _numbered(rows: pd.DataFrame, columns: list[str]) -> Ints:
    """For each row the rank of its values among the distinct ones."""
    return np.asarray(rows.groupby(columns, sort=True, observed=True).ngroup(), dtype=np.intp)


def targets(cells: pd.DataFrame, cell: Ints, example: Ints, cluster: Ints) -> tuple[tuple[Target, ...], Floats]:
    """List every dataset-metric, category and overall at each length and over lengths, with their weights on the cells.

    ``cells`` has the columns of :data:`CELL`; ``cell``, ``example`` and ``cluster`` number each row's.
    """
    found: list[Target] = []
    weights: list[Floats] = []

    def add(scope: Scope, members: pd.DataFrame, category: str | None, task: str | None, metric: str | None) -> None:
        rows: dict[int | None, Floats] = {}
        for length in sorted(int(each) for each in members["length"].unique()):
            rows[length] = _level_weights(members[members["length"] == length], len(cells))
        rows = {None: np.mean(list(rows.values()), axis=0), **rows}
        for length_or_all, row in rows.items():
            used = (row > 0)[cell]
            n_examples, n_clusters = (int(np.count_nonzero(np.bincount(codes[used]))) for codes in (example, cluster))
            found.append(Target(scope, category, task, metric, length_or_all, n_examples, n_clusters))
            weights.append(row)

    add("overall", categories.counted(cells), None, None, None)
    for category in cells["category"].unique():
        add("category", cells[cells["category"] == category], str(category), None, None)
    for (category, task, metric), members in cells.groupby(["category", "task", "metric"], sort=True, observed=True):
        add("task", members, str(category), str(task), str(metric))
    return tuple(found), np.array(weights)


def _level_weights(members: pd.DataFrame, n_cells: int) -> Floats:
    """Weights of one length's cells in the unweighted mean over categories of the unweighted mean over dataset-metrics."""
    _, category, sizes = np.unique(members["category"].to_numpy(dtype=object).astype(str), return_inverse=True, return_counts=True)
    row = np.zeros(n_cells)
    row[members.index.to_numpy()] = 1 / (sizes[category] * len(sizes))
    return row


def wins_and_losses(differences: Sequence[Floats]) -> tuple[Ints, Ints]:
    """Count the questions that each target's candidate wins and loses, targets x columns, from each target's (questions, columns)."""
    signs = [np.where(np.abs(means) > _SAME, np.sign(means), 0) for means in differences]
    wins, losses = (np.array([(each == side).sum(axis=0) for each in signs], dtype=np.intp) for side in (1, -1))
    return wins, losses


def improvements(plan: Design, differences: Floats) -> Floats:
    """Compute the probability of improvement by each target and column: that a question's difference is above 0, a tie counting half."""
    means = [each for _, each in plan.per_question(differences)]
    wins, losses = wins_and_losses(means)
    return np.asarray((1 + (wins - losses) / np.array([[len(each)] for each in means])) / 2)
