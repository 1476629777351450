"""Gain against sparsity: against scipy and least squares, and coverage by simulation."""

import doctest

import numpy as np
import pytest
from scipy.stats import linregress, spearmanr, t

from reports import relation
from reports.relation import Point, RelationError, line, published_gains, spearman
from reports.relationfigure import gain_figure


def points(x: list[float], y: list[float], u: float = 0.0, s: float = 0.0) -> list[Point]:
    return [Point(str(place), a, b, u, s) for place, (a, b) in enumerate(zip(x, y, strict=True))]


X = [0.70, 0.75, 0.80, 0.86, 0.90, 0.95]
Y = [0.3, -0.2, 0.9, 0.8, 1.9, 1.4]


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(relation).failed == 0


def test_without_errors_it_is_least_squares() -> None:
    found, known = line(points(X, Y)), linregress(X, Y)
    assert found.slope.value == pytest.approx(known.slope)
    assert found.intercept == pytest.approx(known.intercept)
    reach = t.ppf(0.975, len(X) - 2) * known.stderr
    assert found.slope.low == pytest.approx(known.slope - reach, rel=1e-3)
    assert found.slope.high == pytest.approx(known.slope + reach, rel=1e-3)
    assert spearman(points(X, Y)).value == pytest.approx(spearmanr(X, Y).statistic)


def test_a_runs_own_errors_widen_everything() -> None:
    sure, unsure = points(X, Y, 0.0, 0.05), points(X, Y, 0.02, 2.0)
    for measure in (lambda some: line(some).slope, spearman):
        narrow, wide = measure(sure), measure(unsure)
        assert wide.high - wide.low > narrow.high - narrow.low
    assert line(unsure).between == 0  # they scatter less than their errors alone would
    assert line(sure).slope.sign == 1
    assert line(unsure).slope.sign == 0


def test_a_run_that_is_surer_weighs_more() -> None:
    off = [*points(X, [10 * x for x in X], s=0.1), Point("off", 0.99, 0.0, 0.0, 50.0)]
    assert line(off).slope.value == pytest.approx(10, abs=0.5)
    assert linregress([p.x for p in off], [p.y for p in off]).slope < 5


def test_the_slopes_interval_covers_as_it_says() -> None:
    """Eight runs whose gains are a line with scatter, each measured with errors in both; 300 times."""
    rng = np.random.default_rng(7)
    inside = again = 0
    for _ in range(300):
        x = rng.uniform(0.6, 0.95, 8)
        u, s = np.full(8, 0.01), rng.uniform(0.2, 1.0, 8)
        y = -4 + 6 * x + rng.normal(0, 0.3, 8)
        seen = [Point("", a + rng.normal(0, b), c + rng.normal(0, d), b, d) for a, b, c, d in zip(x, u, y, s, strict=True)]
        found = line(seen)
        inside += found.slope.low <= 6 <= found.slope.high
        new = rng.uniform(0.6, 0.95)
        low, high = found.predict(new, 0.5)[1:]
        again += low <= -4 + 6 * new + rng.normal(0, np.hypot(0.3, 0.5)) <= high
    assert 0.92 <= inside / 300 <= 0.995
    assert again / 300 >= 0.9


def test_no_relation_is_rarely_claimed() -> None:
    rng = np.random.default_rng(8)
    claims = 0
    for _ in range(200):
        y = rng.normal(0, 0.5, 6)
        claims += line(points(X, [b + rng.normal(0, 0.7) for b in y], 0.01, 0.7)).slope.sign != 0
    assert claims / 200 <= 0.08


@pytest.mark.parametrize(
    ("some", "why"),
    [
        (points(X[:3], Y[:3]), "3 points are too few"),
        (points([0.5] * 5, Y[:5]), "equally sparse"),
        (points(X, [float("nan"), *Y[1:]]), "no finite value"),
    ],
)
def test_what_nothing_can_be_said_about(some: list[Point], why: str) -> None:
    for measure in (line, spearman):
        with pytest.raises(RelationError, match=why):
            measure(some)


def test_published_points_name_their_source_and_have_no_errors() -> None:
    found = {each.model: each for each in published_gains()}
    assert len(found) == 4
    assert found["Llama-3.1-8B-Instruct"].sparsity == {"gini": 0.935, "hoyer": 0.804, "share": 33 / 1024}
    assert found["Olmo-3-7B-Instruct"].sparsity == {}
    assert all("2601.11020" in each.source for each in found.values())


def test_published_points_are_hollow_and_the_line_does_not_know_them() -> None:
    own = points(X, Y, 0.01, 0.5)
    figure = gain_figure(own, line(own), "Gini", [Point("Llama", 0.935, 2.28)])
    drawn = {each.get_label(): each for each in figure.axes[0].lines}
    assert drawn["published, not run again"].get_markerfacecolor() == "none"
    assert [text.get_text() for text in figure.axes[0].texts] == ["Llama"]
