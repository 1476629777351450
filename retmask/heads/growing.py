"""The size of a mask that grows: up to the largest under which something still holds, or the smallest that does enough.

Sizes go up in even proportions, and the gap at which the answer turns is halved until neighbours are known. Both searches take it that what
holds for a mask holds for smaller ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Grown:
    """The mask that was settled on, and what was tried on the way."""

    k: int
    value: float
    """What was measured at ``k``."""
    tried: tuple[tuple[int, float], ...]
    """(heads, value), the fewest first."""


def largest(sizes: Sequence[int], measure: Callable[[int], float], bound: float) -> Grown | None:
    """Find the most heads at which ``measure`` is at most ``bound``, between the ``sizes``, which ascend; None if the fewest exceed it."""
    tried: dict[int, float] = {}
    known = _turn(sizes, tried, measure, lambda value: value > bound)
    below = max((k for k in tried if k < known), default=0) if known else sizes[-1]
    return _grown(below, tried) if below else None


def smallest(sizes: Sequence[int], measure: Callable[[int], float], wanted: float) -> Grown:
    """Find the fewest heads at which ``measure`` is ``wanted`` or more, between the ``sizes``, which ascend.

    If none does, the one that comes nearest, the fewest first.
    """
    tried: dict[int, float] = {}
    known = _turn(sizes, tried, measure, lambda value: value >= wanted)
    return _grown(known or max(sorted(tried), key=tried.__getitem__), tried)


def _turn(sizes: Sequence[int], tried: dict[int, float], measure: Callable[[int], float], turned: Callable[[float], bool]) -> int:
    """The first number of heads whose value has ``turned``, of those between the sizes too; 0 if none has. Fills ``tried``."""
    above = 0
    for k in sizes:
        tried[k] = measure(k)
        if turned(tried[k]):
            above = k
            break
    below = max((k for k in tried if k < above), default=0)
    while above - below > 1:
        middle = (below + above) // 2
        tried[middle] = measure(middle)
        below, above = (below, middle) if turned(tried[middle]) else (middle, above)
    return above


def _grown(k: int, tried: dict[int, float]) -> Grown:
    return Grown(k, tried[k], tuple(sorted(tried.items())))
