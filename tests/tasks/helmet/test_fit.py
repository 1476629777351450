"""Fitting a prompt: what is dropped, and what that does to the place of the gold."""

import math
from collections.abc import Sequence

import pytest

from tasks.helmet.fit import Fitted, Piece, fit

PIECES = 20


def fitted(gold: Sequence[int], kept: int, needed: Sequence[int] = ()) -> Fitted:
    """``kept`` of 20 pieces of ten signs, a sign being a token."""
    pieces = [Piece(f"{index:010d}", index in gold, index in needed) for index in range(PIECES)]
    return fit(pieces, "".join, len, 10 * kept, "a test")


@pytest.mark.parametrize("gold", range(PIECES))
@pytest.mark.parametrize("kept", [1, 5, 12, 18, 19, 20])
def test_a_gold_has_a_depth_unless_it_came_forward_by_more_than_a_tenth(gold: int, kept: int) -> None:
    found = fitted([gold], kept)
    assert found.kept == (tuple(range(kept)) if gold < kept else (*range(kept - 1), gold))
    forward = gold - found.kept.index(gold)
    assert found.moved == (forward > 2)
    assert math.isnan(found.depth) if found.moved else found.depth == pytest.approx(found.kept.index(gold) / kept)


def test_several_golds_have_no_depth_that_could_move() -> None:
    found = fitted([3, 19], 6)
    assert math.isnan(found.depth)
    assert not found.moved


def test_what_a_worked_example_needs_stays() -> None:
    found = fitted([3], 6, needed=[18, 19])
    assert found.kept == (0, 1, 2, 3, 18, 19)
    assert found.depth == pytest.approx(0.5)
