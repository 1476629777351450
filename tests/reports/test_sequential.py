import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import integrate

from reports.hierarchy import design
from reports.sequential import ConfidenceSequence, _log_mixture, limits, schedule

Make = Callable[..., pd.DataFrame]


def fed(values: np.ndarray, **settings: float) -> ConfidenceSequence:  # type: ignore[type-arg]
    sequence = ConfidenceSequence(**settings)  # type: ignore[arg-type]
    for value in values:
        sequence.add(value)
    return sequence


def test_the_mixture_is_the_integral_it_stands_for() -> None:
    """Howard et al. 2021, proposition 9: exp(lambda s - psi_E(lambda) v), averaged over a truncated gamma density of lambda."""
    s, v, rho, c = 3.0, 5.0, 2.0, 0.7
    prior = rho / c**2

    def psi(rate: float) -> float:
        return (-math.log(1 - c * rate) - c * rate) / c**2

    # the density is proportional to exp(-rho psi_E(lambda)) / (1 - c lambda)
    def density(rate: float) -> float:
        return math.exp(-rho * psi(rate)) / (1 - c * rate)

    total = integrate.quad(density, 0, 1 / c)[0]
    mixed = integrate.quad(lambda rate: density(rate) * math.exp(rate * s - psi(rate) * v), 0, 1 / c)[0]
    assert prior > 0
    assert float(_log_mixture(np.array([s]), np.array([v]), rho, c)[0]) == pytest.approx(math.log(mixed / total), rel=1e-6)


def test_one_at_a_time_and_all_at_once_are_the_same() -> None:
    parts = np.random.default_rng(0).uniform(-0.5, 0.6, (2, 40, 3))
    low, high = limits(parts, bound=0.6, planned=40)
    sequence = fed(parts[1], bound=0.6, planned=40)
    assert sequence.interval.low == pytest.approx(low[1].max(), abs=1e-9)
    assert sequence.interval.high == pytest.approx(high[1].min(), abs=1e-9)
    assert sequence.interval.mean == pytest.approx(parts[1].sum(axis=1).mean())


def test_looking_after_every_example_keeps_the_error_rate() -> None:
    """An ordinary 95% interval, looked at 300 times, excludes the truth in far more than 5% of experiments; the sequence does not."""
    rng = np.random.default_rng(1)
    null = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=(200, 300, 1))
    low, high = limits(null, planned=300)
    assert ((low > 0) | (high < 0)).any(axis=1).mean() <= 0.05
    n = np.arange(1, 301)
    mean = null[:, :, 0].cumsum(axis=1) / n
    error = 1.96 * np.sqrt((null[:, :, 0] ** 2).cumsum(axis=1) / n - mean**2) / np.sqrt(n)
    assert (np.abs(mean) > error)[:, 10:].any(axis=1).mean() > 0.2


def test_a_real_difference_stops_early_and_its_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(2)
    values = rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.45, 0.5], size=1000)
    sequence = ConfidenceSequence(planned=200)
    stopped = next(n for n, value in enumerate(values, start=1) if sequence.add(value) and sequence.decision())
    assert sequence.decision() == "better"
    assert stopped < 300
    assert sequence.interval.low <= 0.45 <= sequence.interval.high


def test_models_that_agree_are_found_equivalent_within_a_margin() -> None:
    sequence = fed(np.zeros(400), planned=100)
    assert sequence.decision(margin=0.1) == "equivalent"
    assert sequence.decision() is None


def test_mirrored_differences_give_the_mirrored_interval() -> None:
    values = np.random.default_rng(3).uniform(-0.2, 0.4, 60)
    there, back = fed(values), fed(-values)
    assert (there.interval.low, there.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))


@pytest.mark.parametrize("value", [1.5, -1.01, math.nan])
def test_a_difference_outside_the_bound_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="bound"):
        ConfidenceSequence().add(value)


def test_rounds_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="parts"):
        fed(np.zeros((1, 3))).add([0.0, 0.0])


@pytest.mark.parametrize("settings", [{"confidence": 1.0}, {"bound": 0.0}, {"planned": 0}])
def test_senseless_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot use"):
        fed(np.zeros(0), **settings)


def test_a_schedule_asks_every_question_once_and_averages_to_the_overall_score(make_samples: Make) -> None:
    rows = make_samples(questions=8, depths=3)
    differences = np.random.default_rng(0).normal(0, 0.2, len(rows))
    plan = schedule(rows, np.random.default_rng(1))
    assert sorted(np.concatenate([each.rows for each in plan.rounds])) == list(range(len(rows)))
    rounds = [each.parts(differences) for each in plan.rounds]
    assert np.mean([parts.sum() for parts in rounds]) == pytest.approx(design(rows).means(differences[:, None])[0, 0], abs=1e-12)
    assert max(np.abs(each.parts(np.ones(len(rows)))).max() for each in plan.rounds) <= plan.bound + 1e-12
    assert {len(parts) for parts in rounds} == {len(design(rows).strata)}


def test_the_order_is_random_and_seeded(make_samples: Make) -> None:
    rows = make_samples(questions=8)
    one, again, other = (schedule(rows, np.random.default_rng(seed)).rounds[0].rows.tolist() for seed in (1, 1, 2))
    assert one == again
    assert one != other
