"""Random weights for questions, and the cell means that follow from them; shared by the bootstrap and the permutation test."""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from reports.hierarchy import Design, Floats

#: (rows by cluster and cell, number of resamples, generator) -> weight of each cluster in each resample.
Draw: TypeAlias = Callable[[Floats, int, np.random.Generator], Floats]

_CHUNK_DRAWS = 1 << 18
#: More clusters than this of a stratum are drawn in this many groups, put together at random: the variance of a mean is that of its
#: clusters whatever the grouping, and 4,095 degrees of freedom are as good as a million. Resampling then costs no more than this.
GROUPS: Final = 4096


def bootstrap_cells(plan: Design, values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Compute cell means of resampled clusters, (resamples, cells, columns), of ``values`` (rows of the table, columns)."""
    sums = [_grouped(np.concatenate([each.sums(values), each.counts()[:, :, None]], axis=2), rng) for each in plan.strata]
    totals = _weighted_sums(plan, sums, [each[:, :, -1] for each in sums], _multiplicities, resamples, rng)
    return np.divide(totals[:, :, :-1], totals[:, :, -1:])


def all_flips(plan: Design, resamples: int) -> bool:
    """Say whether the clusters have no more arrangements of signs than ``resamples``: :func:`sign_flip_cells` then gives each once."""
    return sum(each.n_clusters for each in plan.strata) < resamples.bit_length()


def sign_flip_cells(plan: Design, differences: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Compute cell means after flipping the sign of random clusters, (resamples, cells, columns); or of all in every way."""
    shares = [_grouped(each.sums(differences) / each.counts().sum(axis=0)[:, None], rng) for each in plan.strata]
    if all_flips(plan, resamples):
        return _every_flip(plan, shares)
    counts = [np.ones(each.shape[:2]) for each in shares]  # a flip leaves no cell empty
    return _weighted_sums(plan, shares, counts, _signs, resamples, rng)


def _every_flip(plan: Design, shares: list[Floats]) -> Floats:
    """Cell means under every arrangement of signs, (2**clusters, cells, columns)."""
    clusters = sum(map(len, shares))
    signs = 1.0 - 2.0 * (np.arange(1 << clusters)[:, None] >> np.arange(clusters) & 1)
    cells = np.empty((len(signs), plan.weights.shape[1], shares[0].shape[2]))
    begin = 0
    for stratum, each in zip(plan.strata, shares, strict=True):
        cells[:, stratum.cells] = np.tensordot(signs[:, begin : begin + len(each)], each, axes=1)
        begin += len(each)
    return cells


def _grouped(values: Floats, rng: np.random.Generator) -> Floats:
    """Sums over at most :data:`GROUPS` random groups of clusters, (groups, cells, columns), of ``values`` (clusters, cells, columns)."""
    clusters = len(values)
    if clusters <= GROUPS:
        return values
    shuffled = values[rng.permutation(clusters)]
    return np.add.reduceat(shuffled, np.arange(GROUPS) * clusters // GROUPS, axis=0)


def _weighted_sums(
    plan: Design, values: list[Floats], counts: list[Floats], draw: Draw, resamples: int, rng: np.random.Generator
) -> Floats:
    """Sums over clusters of ``values`` (for each stratum clusters x its cells x columns) times drawn weights: (resamples, cells, columns).

    ``counts`` are the rows by cluster and cell of each stratum.

    Drawing is what costs time, so strata with equally many clusters use one pool of draws: each takes the pool in another rotation
    and with its clusters in another order. Within one resample no two strata then use the same draw, so they are independent. One
    large matrix product for a pool is also far cheaper on a busy machine than one for each stratum.
    """
    columns = values[0].shape[2]
    cells = np.empty((resamples, plan.weights.shape[1], columns))
    for pool in _pools(counts):
        clusters = len(counts[pool[0]])
        rotations = rng.choice(resamples, size=len(pool), replace=len(pool) > resamples)
        shuffled = [rng.permutation(values[number]) for number in pool] if len(pool) > 1 else [values[pool[0]]]
        block = np.hstack([each.reshape(clusters, -1) for each in shuffled])
        chunk = max(1, _CHUNK_DRAWS // clusters)
        for start in range(0, resamples, chunk):
            numbers = np.arange(start, min(start + chunk, resamples))
            sums = draw(counts[pool[0]], len(numbers), rng) @ block
            edge = 0
            for number, rotation in zip(pool, rotations, strict=True):
                places = plan.strata[number].cells
                part = sums[:, edge : edge + len(places) * columns].reshape(len(numbers), len(places), columns)
                cells[((numbers + rotation) % resamples)[:, None], places] = part
                edge += len(places) * columns
    return cells


def _pools(counts: list[Floats]) -> list[list[int]]:
    """Numbers of the strata that can share draws: of one size. One whose clusters do not all fill all its cells stays alone."""
    pools: dict[tuple[int, int], list[int]] = {}
    for number, each in enumerate(counts):
        pools.setdefault((len(each), -1 if each.all() else number), []).append(number)
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
