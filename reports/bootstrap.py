"""Paired, clustered, stratified bootstrap over a benchmark's hierarchy.

Every figure that we report is a weighted mean of *cells*; a cell is the mean of one metric on one (task, length):

    cell(niah, 8192, recall)  cell(niah, 16384, recall) ...   dataset-metric
    category at a length  = unweighted mean of its cells      HELMET, arXiv 2410.02694, section 2
    overall at a length   = unweighted mean of its categories
    over lengths          = unweighted mean of the above over the lengths where it exists

So one resample of the questions, turned into cells and multiplied by the matrix of those weights, gives every figure at once, with
the right covariances. Resampling draws *clusters* (questions, each with all its examples and metrics) with replacement within each
(task, length). Lengths of one task that ask the same questions share one draw: their scores are correlated, and treating them as
independent would make the interval of their mean too narrow.

Cluster bootstrap: Davison & Hinkley 1997, section 3.8. Paired differences for model comparison: Miller 2024, arXiv 2411.00640.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.intp]
#: (rows by cluster and cell, number of resamples, generator) -> weight of each cluster in each resample.
Draw: TypeAlias = Callable[[Floats, int, np.random.Generator], Floats]
Scope: TypeAlias = Literal["task", "category", "overall"]

CELL = ["category", "task", "metric", "length"]
POWER = 0.80
_CHUNK_DRAWS = 1 << 18
_TIE = 1e-9


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
        """Sums by cluster, cell and column, (n_clusters, len(cells), columns), of ``values`` (rows of the table, columns)."""
        slot = self.cluster * len(self.cells) + self.cell
        slots = self.n_clusters * len(self.cells)
        columns = [np.bincount(slot, weights=column[self.rows], minlength=slots) for column in values.T]
        return np.asarray(np.stack(columns, axis=-1), dtype=np.float64).reshape(self.n_clusters, len(self.cells), -1)

    def counts(self) -> Floats:
        """Rows by cluster and cell, (n_clusters, len(cells))."""
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
        """Targets x columns: HELMET's averages of each column of ``values``, (rows of the table, columns)."""
        cells = np.empty((self.weights.shape[1], values.shape[1]))
        for stratum in self.strata:
            cells[stratum.cells] = stratum.sums(values).sum(axis=0) / stratum.counts().sum(axis=0)[:, None]
        return self.weights @ cells


@dataclass(frozen=True)
class Estimate:
    """Uncertainty of paired differences; every array is targets x columns."""

    low: Floats
    high: Floats
    p: Floats
    """Two-sided sign-flip permutation p-value."""
    mde: Floats
    """Smallest true difference that a two-sided test at this level would find with 80% power."""


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
    targets, weights = _targets(cells, cell_of_row, _numbered(rows, ["task", "length", "example_id"]), cluster_of_row)
    return Design(tuple(strata), targets, weights)


def estimate(plan: Design, differences: Floats, *, resamples: int, confidence: float, rng: np.random.Generator) -> Estimate:
    """Intervals, p-values and detectable effects of paired ``differences`` (rows of the table, columns).

    Columns are separate comparisons on the same examples; they share resamples. Percentile intervals. The p-value flips the sign of
    all differences of a cluster at once and counts the observed arrangement too, (1 + hits) / (1 + resamples). A target that draws
    on a cell with a single cluster has no measurable spread: its interval and ``mde`` are NaN. Needs at least 2 resamples.
    """
    observed = plan.means(differences)
    boot_rng, flip_rng = rng.spawn(2)
    deltas = plan.weights @ _bootstrap_cells(plan, differences, resamples, boot_rng)
    tail = (1 - confidence) / 2
    low, high = np.quantile(deltas, [tail, 1 - tail], axis=0)
    detectable = (stats.norm.ppf(1 - tail) + stats.norm.ppf(POWER)) * deltas.std(axis=0, ddof=1)
    unknown = _without_spread(plan)
    for array in (low, high, detectable):
        array[unknown] = np.nan
    flipped = plan.weights @ _sign_flip_cells(plan, differences, resamples, flip_rng)
    hits = (np.abs(flipped) >= np.abs(observed) - _TIE).sum(axis=0)
    return Estimate(low, high, (1 + hits) / (1 + resamples), detectable)


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


def _targets(cells: pd.DataFrame, cell: Ints, example: Ints, cluster: Ints) -> tuple[tuple[Target, ...], Floats]:
    """Every dataset-metric, category and overall at each length and over lengths, with their weights on the cells.

    ``cells`` has the columns of :data:`CELL`; ``cell``, ``example`` and ``cluster`` number each row's.
    """
    targets: list[Target] = []
    weights: list[Floats] = []

    def add(scope: Scope, members: pd.DataFrame, category: str | None, task: str | None, metric: str | None) -> None:
        rows: dict[int | None, Floats] = {}
        for length in sorted(int(each) for each in members["length"].unique()):
            rows[length] = _level_weights(members[members["length"] == length], len(cells))
        rows = {None: np.mean(list(rows.values()), axis=0), **rows}
        for length_or_all, row in rows.items():
            used = (row > 0)[cell]
            n_examples, n_clusters = (int(np.count_nonzero(np.bincount(codes[used]))) for codes in (example, cluster))
            targets.append(Target(scope, category, task, metric, length_or_all, n_examples, n_clusters))
            weights.append(row)

    add("overall", cells, None, None, None)
    for category in cells["category"].unique():
        add("category", cells[cells["category"] == category], str(category), None, None)
    for (category, task, metric), members in cells.groupby(["category", "task", "metric"], sort=True, observed=True):
        add("task", members, str(category), str(task), str(metric))
    return tuple(targets), np.array(weights)


def _level_weights(members: pd.DataFrame, n_cells: int) -> Floats:
    """Weights of one length's cells in the unweighted mean over categories of the unweighted mean over dataset-metrics."""
    _, category, sizes = np.unique(members["category"].to_numpy(dtype=object).astype(str), return_inverse=True, return_counts=True)
    row = np.zeros(n_cells)
    row[members.index.to_numpy()] = 1 / (sizes[category] * len(sizes))
    return row


def _bootstrap_cells(plan: Design, differences: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Cell means of resampled clusters, (resamples, cells, columns)."""
    sums = [np.concatenate([each.sums(differences), each.counts()[:, :, None]], axis=2) for each in plan.strata]
    totals = _resample(plan, sums, _multiplicities, resamples, rng)
    return np.divide(totals[:, :, :-1], totals[:, :, -1:])


def _sign_flip_cells(plan: Design, differences: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Cell means after flipping the sign of random clusters, (resamples, cells, columns)."""
    shares = [each.sums(differences) / each.counts().sum(axis=0)[:, None] for each in plan.strata]
    return _resample(plan, shares, _signs, resamples, rng)


def _resample(plan: Design, values: list[Floats], draw: Draw, resamples: int, rng: np.random.Generator) -> Floats:
    """Sums over clusters of ``values`` (for each stratum clusters x its cells x columns) times drawn weights: (resamples, cells, columns).

    Drawing is what costs time, so strata with equally many clusters use one pool of draws: each takes the pool in another rotation
    and with its clusters in another order. Within one resample no two strata then use the same draw, so they are independent. One
    large matrix product for a pool is also far cheaper on a busy machine than one for each stratum.
    """
    columns = values[0].shape[2]
    cells = np.empty((resamples, plan.weights.shape[1], columns))
    for pool in _pools(plan.strata):
        clusters = plan.strata[pool[0]].n_clusters
        rotations = rng.choice(resamples, size=len(pool), replace=len(pool) > resamples)
        shuffled = [rng.permutation(values[number]) for number in pool] if len(pool) > 1 else [values[pool[0]]]
        block = np.hstack([each.reshape(clusters, -1) for each in shuffled])
        chunk = max(1, _CHUNK_DRAWS // clusters)
        for start in range(0, resamples, chunk):
            numbers = np.arange(start, min(start + chunk, resamples))
            sums = draw(plan.strata[pool[0]].counts(), len(numbers), rng) @ block
            edge = 0
            for number, rotation in zip(pool, rotations, strict=True):
                places = plan.strata[number].cells
                part = sums[:, edge : edge + len(places) * columns].reshape(len(numbers), len(places), columns)
                cells[((numbers + rotation) % resamples)[:, None], places] = part
                edge += len(places) * columns
    return cells


def _pools(strata: tuple[Stratum, ...]) -> list[list[int]]:
    """Numbers of the strata that can share draws: of one size. One whose clusters do not all fill all its cells stays alone."""
    pools: dict[tuple[int, int], list[int]] = {}
    for number, stratum in enumerate(strata):
        pools.setdefault((stratum.n_clusters, -1 if stratum.counts().all() else number), []).append(number)
    return list(pools.values())


def _multiplicities(counts: Floats, size: int, rng: np.random.Generator) -> Floats:
    """How often each cluster is drawn, (size, clusters); a draw that leaves a cell of ``counts`` without rows is drawn again."""
    clusters = len(counts)
    picks = rng.integers(0, clusters, size=(size, clusters))
    picks += np.arange(size)[:, None] * clusters
    drawn = np.bincount(picks.ravel(), minlength=size * clusters).reshape(size, clusters).astype(np.float64)
    if not counts.all():
        empty = (drawn @ counts == 0).any(axis=1)
        if empty.any():
            drawn[empty] = _multiplicities(counts, int(empty.sum()), rng)
    return drawn


def _signs(counts: Floats, size: int, rng: np.random.Generator) -> Floats:
    """1 or -1 for each cluster, (size, clusters)."""
    packed = rng.integers(0, 256, size=(size, (len(counts) + 7) // 8), dtype=np.uint8)
    return 2 * np.unpackbits(packed, axis=1, count=len(counts)).astype(np.float64) - 1


def _without_spread(plan: Design) -> npt.NDArray[np.bool_]:
    """Targets that draw on a cell whose rows are all of one cluster."""
    single = np.zeros(plan.weights.shape[1], dtype=bool)
    for stratum in plan.strata:
        single[stratum.cells] = (stratum.counts() > 0).sum(axis=0) < 2
    return np.asarray((plan.weights[:, single] > 0).any(axis=1))
