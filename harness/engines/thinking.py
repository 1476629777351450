"""Reasoning models: their thoughts get a budget of their own, are kept, and are cut off before scoring."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.thoughts import MARKS

START, END = MARKS[0]


@dataclass(frozen=True)
class Split:
    """A generation, taken apart."""

    thinking: int
    """Tokens up to and including the mark that ends the thoughts; 0 where there are none."""
    answer: slice
    """The tokens of the answer; empty if it never came."""
    complete: bool
    """Whether the answer ended by itself within its budget."""


def split(
    ids: Sequence[int], ended: bool, decode: Callable[[Sequence[int]], str], *, opened: bool, budget: int, answer_budget: int
) -> Split:
    """Say where the thoughts end and the answer begins.

    Args:
        ids: what was generated, without the token that ended it.
        ended: whether such a token came.
        decode: tokens to text, special ones included.
        opened: whether the prompt itself began the thoughts, as some chat templates do.
        budget: tokens that thoughts may take; an answer after longer ones does not count.
        answer_budget: tokens that the answer may take.
    """
    thoughts = _after(ids, decode)
    if thoughts is None:
        thoughts = len(ids) if opened or decode(ids[:16]).lstrip().startswith(START) else 0
        came = thoughts == 0
    else:
        came = thoughts <= budget
    end = min(len(ids), thoughts + answer_budget)
    answer = slice(thoughts, end) if came else slice(len(ids), len(ids))
    return Split(thoughts, answer, came and ended and end == len(ids))


def _after(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> int | None:
    """How many tokens it takes until :data:`END` is complete; a bisection, since a longer beginning holds what a shorter one does."""
    if END not in decode(ids):
        return None
    low, high = 0, len(ids)  # END is not in ids[:low], and is in ids[:high]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if END in decode(ids[:middle]) else (middle, high)
    return high
