"""Does a method gain more where heads are sparser? A line and a rank correlation over runs, each of which is itself uncertain.

The line is a random-effects meta-regression: run i's gain is ``a + b·x_i``, plus what runs differ by for other reasons (variance τ²), plus
its own measurement error s_i. The error u_i of its sparsity counts as b·u_i of gain (effective variance, Orear 1982). τ² is what makes
the weighted residuals as large as expected (Paule and Mandel 1982), and the slope's interval is Knapp and Hartung's (2003), with Student's
t and n − 2 degrees of freedom.

    >>> line([Point("a", 0.1, 1.0), Point("b", 0.2, 2.0), Point("c", 0.3, 3.1), Point("d", 0.4, 4.0)]).slope.value
    10.1
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Values: TypeAlias = npt.NDArray[np.float64]
#: Fewest runs from which a line's scatter can be told, and a rank correlation's.
FEWEST: Final = 4
_DRAWS: Final = 2000


class RelationError(ValueError):
    """Points that nothing can be said about; one line that says why."""


class Estimate(NamedTuple):
    """A value with its interval; the interval's ends may be infinite."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies above or below 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Point:
    """One run: a sparsity and a gain."""

    name: str
    x: float
    y: float
    x_error: float = 0.0
    """Standard errors."""
    y_error: float = 0.0


@dataclass(frozen=True)
class Line:
    """Gain as a line over sparsity."""

    intercept: float
    slope: Estimate
    between: float
    """Standard deviation of runs around the line beyond their own errors (τ)."""
    covariance: tuple[tuple[float, float], tuple[float, float]]
    """Of intercept and slope."""
    quantile: float
    """Of Student's t, for intervals."""

    def predict(self, x: float, error: float = 0.0) -> Estimate:
        """Predict the gain of a run that was not looked at, with a prediction interval; ``error`` is that of its own measurement."""
        row = np.array([1.0, x])
        spread = math.sqrt(float(row @ np.array(self.covariance) @ row) + self.between**2 + error**2)
        value = self.intercept + self.slope.value * x
        return Estimate(value, value - self.quantile * spread, value + self.quantile * spread)


def line(points: Sequence[Point], confidence: float = 0.95) -> Line:
    """Fit the line. RelationError for fewer than :data:`FEWEST` points, or points whose sparsity does not differ."""
    from scipy.stats import t

    x, y, u, s = _columns(points)
    slope, between = 0.0, 0.0
    for _ in range(20):  # the errors of x weigh by the slope, which they change little
        within = s**2 + (slope * u) ** 2
        between = _between(x, y, within)
        weights = _weights(within + between)
        fitted, _ = _fit(x, y, weights)
        if abs(fitted[1] - slope) <= 1e-9 * max(1.0, abs(slope)):
            break
        slope = float(fitted[1])
    fitted, inverse = _fit(x, y, weights)
    residual = y - fitted[0] - fitted[1] * x
    scale = float((weights * residual**2).sum() / (len(x) - 2))  # Knapp and Hartung
    # without this bound an interval could be narrower than the runs' own errors allow
    covariance = inverse * max(scale, 1.0 if (within + between > 0).any() else 0.0)
    quantile = float(t.ppf((1 + confidence) / 2, len(x) - 2))
    reach = quantile * math.sqrt(max(float(covariance[1, 1]), 0.0))
    value = round(float(fitted[1]), 12)
    rows = ((float(covariance[0, 0]), float(covariance[0, 1])), (float(covariance[1, 0]), float(covariance[1, 1])))
    return Line(float(fitted[0]), Estimate(value, value - reach, value + reach), math.sqrt(between), rows, quantile)


def spearman(points: Sequence[Point], confidence: float = 0.95, seed: int = 0) -> Estimate:
    """Compute the rank correlation of sparsity and gain with an interval that includes the runs' own errors.

    The interval is Bonett and Wright's (2000) on Fisher's scale, its variance enlarged by what the correlation varies when every run is
    measured again. Errors pull a correlation towards 0, which the interval does not undo. RelationError as for :func:`line`.
    """
    from scipy.stats import norm

    x, y, u, s = _columns(points)
    value = float(_rank_correlations(x[None], y[None])[0])
    rng = np.random.default_rng(seed)
    xs, ys = (column + rng.normal(0, 1, (_DRAWS, len(x))) * error for column, error in ((x, u), (y, s)))
    variance = (1 + value**2 / 2) / (len(x) - 3) + float(np.var(_fisher(_rank_correlations(xs, ys))))
    reach = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)
    centre = float(_fisher(np.array(value)))
    return Estimate(value, math.tanh(centre - reach), math.tanh(centre + reach))


def _columns(points: Sequence[Point]) -> tuple[Values, Values, Values, Values]:
    if len(points) < FEWEST:
        few = "1 point is" if len(points) == 1 else f"{len(points)} points are"
        raise RelationError(f"{few} too few to relate gain to sparsity; name {FEWEST} runs or more, better ten")
    table = np.array([[point.x, point.y, point.x_error, point.y_error] for point in points], dtype=np.float64)
    if not np.isfinite(table).all():
        raise RelationError("a run's gain or sparsity has no finite value or error; ask more questions in each run")
    if np.ptp(table[:, 0]) == 0:
        raise RelationError("all runs are equally sparse (they may be of one model), so gain cannot be related to it; add other models")
    x, y, u, s = table.T
    return x, y, u, s


def _weights(variance: Values) -> Values:
    """Inverse variances; equal ones where some run has no error at all."""
    return 1 / variance if (variance > 0).all() else np.ones_like(variance)


def _fit(x: Values, y: Values, weights: Values) -> tuple[Values, Values]:
    """Weighted least squares: (intercept and slope, inverse of the information)."""
    design = np.stack([np.ones_like(x), x], axis=1)
    inverse = np.asarray(np.linalg.inv(design.T @ (weights[:, None] * design)), dtype=np.float64)
    fitted: Values = inverse @ design.T @ (weights * y)
    return fitted, inverse


def _between(x: Values, y: Values, within: Values) -> float:
    """τ² by Paule and Mandel: 0 if the runs scatter no more than their own errors."""

    def excess(variance: float) -> float:
        weights = _weights(within + variance)
        fitted, _ = _fit(x, y, weights)
        return float((weights * (y - fitted[0] - fitted[1] * x) ** 2).sum()) - (len(x) - 2)

    floor = 1e-12 * max(float(np.var(y)), 1e-300)
    if excess(floor) <= 0:
        return 0.0 if (within > 0).all() else floor
    low, high = floor, max(float(np.var(y)), floor) * len(x)
    while excess(high) > 0:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2


def _rank_correlations(x: Values, y: Values) -> Values:
    """Spearman's correlation of each row, with the mean rank for ties."""
    from scipy.stats import rankdata

    first, second = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(x, axis=1), rankdata(y, axis=1)))
    norm = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.asarray((first * second).sum(axis=1) / np.where(norm > 0, norm, 1), dtype=np.float64)


def _fisher(correlation: Values) -> Values:
    return np.asarray(np.arctanh(np.clip(correlation, -0.999, 0.999)), dtype=np.float64)


@dataclass(frozen=True)
class PublishedGain:
    """A model of the paper: never fitted, and drawn hollow."""

    model: str
    tokens: int
    gain: float
    """Points out of 100."""
    sparsity: dict[str, float]
    """``gini``, ``hoyer``, ``share``: of heads that score 0.1 or more. Empty where no score file was published."""
    source: str


def published_gains() -> list[PublishedGain]:
    """List what RetMask's paper reports for its four models. None of it was run again here, and it has no intervals."""
    with files("reports").joinpath("published_gains.csv").open(encoding="utf-8") as file:
        return [
            PublishedGain(row["model"], int(row["tokens"]), float(row["gain"]), _sparsity(row), row["source"])
            for row in csv.DictReader(file)
        ]


def _sparsity(row: dict[str, str]) -> dict[str, float]:
    if not row["heads"]:
        return {}
    return {"gini": float(row["gini"]), "hoyer": float(row["hoyer"]), "share": int(row["at_least_0.1"]) / int(row["heads"])}
