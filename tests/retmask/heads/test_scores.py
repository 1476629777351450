"""Head scores: statistics against hand-worked numbers, files there and back."""

import doctest
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import HarnessError
from retmask.heads import scores as heads
from retmask.heads.scores import Head, HeadScores, TrialFacts


def scores_of(mean: list[list[float]]) -> HeadScores:
    return HeadScores("digest", np.array([mean], np.float32), (TrialFacts(success=True),))


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(heads).failed == 0
    assert doctest.testmod(heads).attempted >= 3


def test_a_head_score_is_the_mean_over_successful_trials() -> None:
    per_trial = np.array([[[1.0, 0.0]], [[0.5, 0.0]], [[0.0, 1.0]]], np.float32)
    scores = HeadScores("", per_trial, (TrialFacts(True), TrialFacts(True), TrialFacts(False)))
    assert scores.mean.tolist() == [[0.75, 0.0]]
    assert scores.shape == (1, 2)


def test_no_successful_trial_is_an_error() -> None:
    with pytest.raises(HarnessError, match="no trial found its needle"):
        HeadScores("", np.zeros((1, 2, 2), np.float32), (TrialFacts(False),))


def test_statistics_of_four_heads() -> None:
    scores = scores_of([[0.0, 0.25], [0.0, 0.75]])
    assert scores.at_least(0.25) == 2  # the threshold itself counts
    assert scores.zero == 0.5
    assert scores.max == 0.75
    assert scores.gini == pytest.approx(0.625)  # mean absolute difference 0.3125 over twice the mean 0.25
    assert scores.hoyer == pytest.approx((2 - 1 / np.hypot(0.25, 0.75)) / (2 - 1))
    assert scores.top(2) == [(Head(1, 1), 0.75), (Head(0, 1), 0.25)]


def test_equal_scores_rank_in_the_order_of_the_layers() -> None:
    assert [head for head, _ in scores_of([[0.5, 0.5], [0.5, 0.5]]).top(3)] == [Head(0, 0), Head(0, 1), Head(1, 0)]


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=30))
def test_gini_is_half_the_relative_mean_absolute_difference(values: list[float]) -> None:
    x = np.array(values, np.float32).astype(np.float64)
    if x.mean() < 1e-6:
        return
    expected = np.abs(x[:, None] - x[None]).mean() / (2 * x.mean())
    assert scores_of([values]).gini == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.floats(0, 1, width=16), min_size=2, max_size=30), st.floats(0.1, 1))
def test_sparsity_ignores_scale_and_order(values: list[float], factor: float) -> None:
    one, other = scores_of([values]), scores_of([[value * factor for value in reversed(values)]])
    assert one.gini == pytest.approx(other.gini, abs=1e-5)
    assert one.hoyer == pytest.approx(other.hoyer, abs=1e-5)


def test_saved_scores_come_back(tmp_path: Path) -> None:
    per_trial = np.random.default_rng(0).random((2, 3, 4), np.float32)
    facts = (TrialFacts(True, 512, 500, 0.5, 0.48, 1.0), TrialFacts(False, 512, 505, 0.0, 0.0, 0.25))
    HeadScores("abc", per_trial, facts).save(tmp_path / "deep" / "heads.safetensors")
    back = HeadScores.load(tmp_path / "deep" / "heads.safetensors")
    assert back.model_digest == "abc"
    assert back.trials == facts
    assert np.array_equal(back.per_trial, per_trial)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["heads.safetensors"]


def test_loading_names_the_file_that_is_no_score_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not safetensors at all")
    for name in ("x", "missing"):
        with pytest.raises(HarnessError, match=str(tmp_path / name)):
            HeadScores.load(tmp_path / name)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        scores_of([[float("nan")]])
