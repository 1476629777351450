"""Corrections for the many comparisons of a page, so that all of it together errs as rarely as it says.

Three families share the error rate: the overall scores over lengths, which verdicts are about, get half of it; categories and single
lengths three tenths; dataset-metrics a fifth. Within each, joint sign flips correct for all methods and contrasts together
(:func:`reports.permutation.stepdown`). By the union bound no mark and no sentence of a page is false in more than that share of pages.

``p_holm`` is the plain correction of one table, for who wants to quote it: Holm's, over all its lines and columns.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from reports.comparison import Comparison
from reports.hierarchy import Target
from reports.permutation import holm

#: Family -> its share of the error rate.
SHARES: Final = {"overall": 0.5, "headlines": 0.3, "tasks": 0.2}

Pair: TypeAlias = tuple[str, str]
_Name: TypeAlias = tuple[str | None, str | None, str | None, str | None, int | None]


@dataclass(frozen=True)
class Stepped:
    """What joint flips say about one comparison's lines, in their order."""

    p: Sequence[float]
    """Corrected within their family, before its share."""
    seeds: bool
    """Whether the comparison has several training seeds, which flips know nothing of."""


def family(target: Target | Comparison) -> str:
    """Say which of :data:`SHARES` a line belongs to."""
    if target.scope == "task":
        return "tasks"
    return "overall" if target.scope == "overall" and target.length is None else "headlines"


def counts_once(targets: Sequence[Target] | Sequence[Comparison]) -> list[bool]:
    """Say which lines count: those at the only length repeat those over lengths."""
    single = len({each.length for each in targets} - {None}) == 1
    return [not (single and each.length is not None) for each in targets]


def corrected(found: Mapping[Pair, Sequence[Comparison]], stepped: Mapping[Pair, Stepped]) -> dict[Pair, list[Comparison]]:
    """Give the comparisons with ``p_page`` and ``p_holm``; flips are used where every pair has them, else Holm's bound."""
    single = not all(all(counts_once(column)) for column in found.values())
    joint = all(pair in stepped for pair in found)
    plain: dict[tuple[Pair, _Name], float] = {}
    for names in (("tasks",), ("overall", "headlines")):
        plain |= _holm(found, names, single)
    bounds: dict[tuple[Pair, _Name], float] = {}
    for name in SHARES:
        bounds |= _holm(found, (name,), single)
    result: dict[Pair, list[Comparison]] = {}
    for pair, column in found.items():
        known = _first(column, stepped[pair].p, single) if joint else {}
        result[pair] = []
        for each in column:
            key = pair, _name(each, single)
            p = known.get(key[1], 0.0)
            if not joint or stepped[pair].seeds:
                p = max(p, bounds[key])
            share = SHARES[family(replace(each, length=None) if single else each)]
            result[pair].append(replace(each, p_holm=plain[key], p_page=min(1.0, p / share)))
    return result


def _first(column: Sequence[Comparison], p: Sequence[float], single: bool) -> dict[_Name, float]:
    return {_name(each, single): value for each, value in zip(column, p, strict=True) if not math.isnan(value)}


def _holm(found: Mapping[Pair, Sequence[Comparison]], names: Sequence[str], single: bool) -> dict[tuple[Pair, _Name], float]:
    members = [(pair, each) for pair, each in _lines(found, single) if family(each) in names]
    keys = [(pair, _name(each, single)) for pair, each in members]
    return dict(zip(keys, holm([each.p for _, each in members]), strict=True))


def _lines(found: Mapping[Pair, Sequence[Comparison]], single: bool) -> Iterator[tuple[Pair, Comparison]]:
    for pair, column in found.items():
        for each in column:
            if not (single and each.length is not None):
                yield pair, each


def _name(each: Comparison, single: bool) -> _Name:
    return each.scope, each.category, each.task, each.metric, None if single else each.length
