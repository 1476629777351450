import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.compare import compare
from reports.power import detectable, needed, power
from reports.shape import Shape

Make = Callable[..., pd.DataFrame]


def test_half_the_effect_takes_four_times_the_questions(make_samples: Make) -> None:
    overall = compare(make_samples(questions=20), make_samples(seed=1, questions=20), resamples=200)[0]
    same, half = needed(overall, overall.mde), needed(overall, overall.mde / 2)
    assert same is not None
    assert half is not None
    assert (same.clusters, same.examples) == (overall.n_clusters, overall.n_examples)
    assert (half.clusters, half.examples) == (4 * overall.n_clusters, 4 * overall.n_examples)


def test_a_suite_of_the_size_asked_for_would_find_the_effect(make_samples: Make) -> None:
    """Predicted from a small suite, checked on one of the predicted size."""
    small = compare(make_samples(questions=80), make_samples(seed=1, questions=80), resamples=500)[0]
    asked = needed(small, small.mde / 2)
    assert asked is not None
    questions = 80 * asked.clusters // small.n_clusters
    large = compare(make_samples(seed=2, questions=questions), make_samples(seed=3, questions=questions), resamples=500)[0]
    assert large.mde == pytest.approx(small.mde / 2, rel=0.15)


def test_an_unknown_spread_needs_an_unknown_number(make_samples: Make) -> None:
    overall = compare(make_samples(), make_samples(seed=1), resamples=20)[0]
    assert needed(dataclasses.replace(overall, mde=math.nan), 0.01) is None


@pytest.mark.parametrize("effect", [0.0, -0.1, math.nan, math.inf])
def test_senseless_effects_are_refused(make_samples: Make, effect: float) -> None:
    overall = compare(make_samples(), make_samples(seed=1), resamples=20)[0]
    with pytest.raises(ValueError, match="effect"):
        needed(overall, effect)


def test_the_smallest_effect_is_found_where_larger_ones_would_need_larger_differences() -> None:
    """Half of the questions differ, by 10 points on average: 6 points are found; 12 would take differences such as nobody saw."""
    places = (np.arange(30) + 0.5) / 30
    sizes = np.where(places < 0.5, 0.0, stats.expon.ppf(np.clip(2 * places - 1, 0, 1), scale=0.1))
    shape = Shape(np.full(30, 1 / 30), sizes, 0.025, 0.95)
    found = detectable(shape)
    assert found < 0.08
    assert power(shape, found) == pytest.approx(0.8, abs=0.03)


def test_an_effect_just_in_reach_takes_no_larger_differences() -> None:
    """All questions differing by what those seen differ by make 10.2 points; a rounding error of it is no reason to draw whole points."""
    fine = (np.arange(6000) + 0.5) / 6000
    sizes = np.where(fine < 0.5, 0.0, stats.expon.ppf(np.clip(2 * fine - 1, 0, 1), scale=0.1)).clip(0, 1)
    shape = Shape(np.full(30, 1 / 30), np.sqrt((sizes.reshape(30, 200) ** 2).mean(axis=1)), 0.025, 0.95)
    assert detectable(shape) < 0.06
