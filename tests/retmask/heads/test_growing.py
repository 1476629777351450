"""Where a growing mask stops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retmask.heads.growing import largest, smallest

SIZES = [1, 2, 3, 6, 11, 20]


def test_the_smallest_that_does_enough_is_found_between_the_sizes() -> None:
    asked: list[int] = []

    def share(k: int) -> float:
        asked.append(k)
        return min(1.0, k / 16)

    found = smallest(SIZES, share, 0.5)
    assert (found.k, found.value) == (8, 0.5)
    assert asked == [1, 2, 3, 6, 11, 8, 7]
    assert found.tried == tuple((k, k / 16) for k in sorted(asked))


def test_where_none_does_enough_the_nearest_is_taken_the_fewest_first() -> None:
    found = smallest(SIZES, lambda k: 0.25 if k >= 6 else 0.0, 0.5)
    assert (found.k, found.value) == (6, 0.25)


def test_the_largest_within_a_bound() -> None:
    assert largest(SIZES, lambda k: 1 + k / 10, 1.5).k == 5  # type: ignore[union-attr]
    assert largest(SIZES, lambda k: 1.0, 1.5).k == 20  # type: ignore[union-attr]
    assert largest(SIZES, lambda k: 2.0, 1.5) is None


@given(st.integers(1, 200), st.integers(1, 200))
def test_both_are_exact_where_what_is_measured_only_grows(most: int, turn: int) -> None:
    sizes = sorted({1, most, round(most**0.5)})
    found, bound = smallest(sizes, lambda k: float(k >= turn), 1.0), largest(sizes, lambda k: float(k >= turn), 0.5)
    assert found.k == (turn if turn <= most else 1)
    assert (0 if bound is None else bound.k) == min(most, turn - 1)


@pytest.mark.parametrize("sizes", [[1], [1, 2]])
def test_small_models(sizes: list[int]) -> None:
    assert smallest(sizes, lambda k: 1.0, 0.5).k == 1
