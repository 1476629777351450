"""Fit a published prompt to the tested model's tokens: whole passages are dropped from the end, never one that is needed."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from tasks.build import BudgetError

#: Share of its context by which a gold piece may come forward and still be said to stand where it stood.
_NEAR: Final = 0.1
#: (prompt, answer prefix) -> tokens of the finished prompt on the tested model's tokenizer.
Count = Callable[[str, str], int]


@dataclass(frozen=True)
class Piece:
    """A passage, pair, sentence or shot of the context."""

    text: str
    gold: bool = False
    needed: bool = False
    """Stays for another reason: a worked example asks for it."""


@dataclass(frozen=True)
class Fitted:
    """A prompt within its budget."""

    prompt: str
    kept: tuple[int, ...]
    """Positions of the pieces that are in it."""
    dropped_tokens: int
    dropped_passages: int
    depth: float
    """Where the only gold piece starts, as a share of the context in characters; NaN if there is not exactly one, or if it has moved."""
    moved: bool = False
    """So much before the only gold piece had to go that it stands elsewhere: at the end, where the same question's next one ends up too."""


def fit(
    pieces: Sequence[Piece], render: Callable[[Sequence[str]], str], tokens: Callable[[str], int], room: int, title: str, *, least: int = 0
) -> Fitted:
    """Render the pieces (by ``render``, into a prompt) with as many as ``room`` tokens take; ``title`` is for the error.

    The prompt is counted once if everything fits, and a handful of times if not: guesses by length in characters, then corrections.

    Raises:
        BudgetError: the question, its demonstrations, the gold and ``least`` pieces alone are too long.
    """
    droppable = [index for index, piece in enumerate(pieces) if not (piece.gold or piece.needed)]
    droppable = droppable[max(0, least - (len(pieces) - len(droppable))) :][::-1]  # in the order in which they go

    def prompt(dropped: int) -> str:
        gone = set(droppable[:dropped])
        return render([piece.text for index, piece in enumerate(pieces) if index not in gone])

    whole = prompt(0)
    total = spent = tokens(whole)
    if total <= room:
        return _fitted(pieces, whole, 0, total - spent, droppable)
    over, fits = 0, len(droppable)  # invariant: dropping `over` pieces is too little, dropping `fits` is enough
    best = prompt(fits)
    spent = tokens(best)
    if spent > room:
        raise BudgetError(
            f"{title}: the question with its demonstrations and gold passages alone takes {spent} tokens of the {room} "
            "that the answer leaves; ask for a longer length"
        )
    removed = [0]  # characters gone with the first n droppable pieces
    for index in droppable:
        removed.append(removed[-1] + len(pieces[index].text) + 1)
    rate = (total - spent) / max(1, removed[-1])
    at, measured = 0, total
    for attempt in range(len(droppable)):
        if fits - over <= 1:
            break
        target = removed[at] + (measured - room) / rate
        guess = next((n for n in range(over + 1, fits) if removed[n] >= target), fits - 1) if attempt < 6 else (over + fits) // 2
        text = prompt(guess)
        at, measured = guess, tokens(text)
        if measured <= room:
            fits, best, spent = guess, text, measured
        else:
            over = guess
    return _fitted(pieces, best, fits, total - spent, droppable)


def _fitted(pieces: Sequence[Piece], prompt: str, dropped: int, dropped_tokens: int, droppable: Sequence[int]) -> Fitted:
    gone = set(droppable[:dropped])
    kept = tuple(index for index in range(len(pieces)) if index not in gone)
    moved = _moved(pieces, gone)
    depth = math.nan if moved else _depth([pieces[index] for index in kept])
    return Fitted(prompt, kept, dropped_tokens, dropped, depth, moved)


def _moved(pieces: Sequence[Piece], gone: Collection[int]) -> bool:
    gold = [index for index, piece in enumerate(pieces) if piece.gold]
    if len(gold) != 1:
        return False
    forward = sum(len(pieces[index].text) for index in gone if index < gold[0])
    return forward > _NEAR * sum(len(piece.text) for piece in pieces)


def _depth(pieces: Sequence[Piece]) -> float:
    gold = [index for index, piece in enumerate(pieces) if piece.gold]
    if len(gold) != 1:
        return math.nan
    before = sum(len(piece.text) for piece in pieces[: gold[0]])
    return before / max(1, sum(len(piece.text) for piece in pieces))
