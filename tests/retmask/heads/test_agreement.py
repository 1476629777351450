"""Agreement of head scores: against scipy, and by hand."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from harness.api import HarnessError
from retmask.heads import agreement
from retmask.heads.agreement import compare, intervals, overlap, rank_correlation, split_half, views
from retmask.heads.scores import Head, HeadScores, TrialFacts


def scores_of(*trials: list[list[float]]) -> HeadScores:
    return HeadScores("", np.array(trials, np.float32), (TrialFacts(True),) * len(trials))


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(agreement).failed == 0
    assert doctest.testmod(agreement).attempted == 3


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, dtype=np.float64).T
    found = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(first, second).statistic)


def test_overlap_counts_shared_heads() -> None:
    first, second = np.array([4.0, 3, 2, 1]), np.array([3.0, 1, 2, 4])
    assert [overlap(first, second, k) for k in (1, 2, 3)] == [0, 0.5, 2 / 3]


def test_change_is_split_by_what_was_masked() -> None:
    found = compare(scores_of([[0.5, 0.1], [0.0, 0.2]]), scores_of([[0.6, 0.1], [0.06, 0.4]]), threshold=0.2)
    assert found["at_least"] == [2, 2]
    assert found["change"] == {"masked": pytest.approx(0.15), "unmasked": pytest.approx(0.03)}
    assert compare(scores_of([[0.5]]), scores_of([[0.5]]), threshold=0.9)["change"] == {"masked": None, "unmasked": 0.0}


def asked(*found: bool, length: int = 512, recall: float | None = 0.0) -> HeadScores:
    facts = tuple(TrialFacts(success, length, 500 + number, 0.5, 0.5, recall) for number, success in enumerate(found))
    return HeadScores("", np.zeros((len(found), 1, 2), np.float32), facts)


def test_needles_found_are_compared_by_mcnemars_exact_test() -> None:
    before, after = asked(True, True, *[False] * 8), asked(False, True, *[True] * 7, False)
    found = compare(before, after, threshold=0.1)["needles"]
    assert found == {"trials": 10, "found": [2, 8], "gained": 7, "lost": 1, "p": pytest.approx(2 * (1 + 8) / 2**8)}
    assert compare(before, before, threshold=0.1)["needles"] == {"trials": 10, "found": [2, 2], "gained": 0, "lost": 0, "p": 1}


@pytest.mark.parametrize("other", [asked(True, False, length=256), asked(True), asked(True, False, recall=None)])
def test_needles_of_other_trials_are_not_compared(other: HeadScores) -> None:
    assert compare(asked(True, False), other, threshold=0.1)["needles"] is None


def test_models_of_different_shapes_are_refused() -> None:
    with pytest.raises(HarnessError, match="1 layers of 2 heads and 2 layers of 1 heads"):
        compare(scores_of([[0.5, 0.1]]), scores_of([[0.5], [0.1]]), threshold=0.1)


def test_halves_agree_where_trials_do_and_not_where_they_are_noise() -> None:
    rng = np.random.default_rng(0)
    heads = rng.random((4, 8))
    steady = scores_of(*(np.clip(heads + rng.normal(0, 0.02, heads.shape), 0, 1).tolist() for _ in range(10)))
    noise = scores_of(*(rng.random((4, 8)).tolist() for _ in range(10)))
    assert split_half(steady) > 0.95
    assert abs(split_half(noise)) < 0.4
    assert split_half(scores_of([[0.1, 0.2]])) is None


def test_views_separate_lengths_and_count_only_successes() -> None:
    per_trial = np.array([[[0.8, 0.0]], [[0.4, 0.0]], [[0.1, 0.9]], [[0.0, 0.0]]], np.float32)
    facts = (
        TrialFacts(True, 512, depth=0.0),
        TrialFacts(True, 512, depth=1.0),
        TrialFacts(True, 1024, depth=0.0),
        TrialFacts(False, 2048, depth=1.0),
    )
    scores = HeadScores("", per_trial, facts)
    short, middle, long = views(scores, "length", top=1)
    assert (short.value, short.trials, short.counted) == (512, 2, 2)
    assert short.top_score == pytest.approx(0.6)
    assert middle.rank_correlation == pytest.approx(-1)
    assert (long.counted, long.top_score, long.rank_correlation) == (0, None, None)
    assert [view.trials for view in views(scores, "depth")] == [2, 2]
    with pytest.raises(HarnessError, match="does not say the depth"):
        views(scores_of([[0.1, 0.2]]), "depth")


def test_intervals_hold_the_score_and_narrow_with_trials() -> None:
    rng = np.random.default_rng(0)
    few, many = (scores_of(*rng.binomial(1, 0.5, (n, 1, 2)).tolist()) for n in (20, 500))
    widths = []
    for scores in (few, many):
        (low, high), _ = intervals(scores, [Head(0, 0), Head(0, 1)])
        assert low <= scores.mean[0, 0] <= high
        widths.append(high - low)
    assert widths[0] == pytest.approx(4 * 0.5 / np.sqrt(20), rel=0.3)  # about two standard errors either way
    assert widths[1] < widths[0] / 3
