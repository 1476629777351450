import math

import numpy as np
import pytest
from scipy import integrate

from reports.sequential import ConfidenceSequence, _log_mixture, limits, narrowest, read


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


def test_the_p_value_and_the_interval_agree_at_every_moment() -> None:
    """p falls below 5% in the round in which the 95% interval first excludes 0, and not before."""
    rng = np.random.default_rng(4)
    for shift in (0.0, 0.1, 0.3):
        values = rng.choice([-1.0, 0.0, 1.0], p=[0.3 - shift / 2, 0.4, 0.3 + shift / 2], size=(120, 2)) / 2
        for n in (1, 10, 40, 120):
            interval, p = read(values[:n], bound=0.5, planned=100)
            sequence = ConfidenceSequence(bound=0.5, planned=100)
            for parts in values[:n]:
                sequence.add(parts)
            assert (interval.low, interval.high) == pytest.approx((sequence.interval.low, sequence.interval.high), abs=1e-9)
            assert interval.low <= interval.mean <= interval.high
            assert (p < 0.05) == (interval.low > 0 or interval.high < 0)


def test_equal_models_are_known_best_when_nothing_ever_differs() -> None:
    interval, p = read(np.zeros((7, 3)), bound=0.2, planned=50)
    assert p == 1
    assert interval.high == pytest.approx(narrowest(0.95, 0.2, 50, 3) / 7)
