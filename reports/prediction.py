"""What a method would gain on a model that was not trained, by the runs that `harness relate` related.

    {"tau": 0.1, "runs": [{"name": "a:retmask", "gain": 1.0, "gain_error": 0.5, "sparsity": {"gini": 0.8}, "errors": {"gini": 0.01}}, ...]}

is what is read of `relate.json`. The interval is for the true gain of one more model: it has the line's own uncertainty, what models differ
by for other reasons, and how sure the new model's trials make its sparsity.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from reports.relation import Estimate, Point, RelationError, line


@dataclass(frozen=True)
class Related:
    """Runs of a relation, by measure."""

    tau: float
    points: Mapping[str, tuple[Point, ...]]
    """Measure -> the runs; those measures alone that every run has."""
    detectors: tuple[str, ...] = ()
    """What scored their heads, where that is known."""


@dataclass(frozen=True)
class Prediction:
    """A gain that one measure predicts."""

    measure: str
    value: float
    """Of the new model."""
    gain: Estimate
    """Points out of 100, with its 95% prediction interval."""
    runs: int
    low: float
    high: float
    """The least and the most sparse of the runs."""

    @property
    def extrapolates(self) -> bool:
        """Whether the new model lies outside of the runs."""
        return not self.low <= self.value <= self.high

    def as_json(self) -> dict[str, Any]:
        """Give it for a file."""
        return {"value": self.value, "gain": list(self.gain), "runs": [self.low, self.high], "extrapolates": self.extrapolates}

    def in_words(self) -> str:
        """Say it in one line."""
        where = "extrapolated, outside" if self.extrapolates else "within"
        return (
            f"predicted gain by {self.measure} ({self.value:.3f}): {self.gain.value:+.1f} points "
            f"[{self.gain.low:+.1f}, {self.gain.high:+.1f}], {where} the {self.low:.3f} to {self.high:.3f} of {self.runs} runs"
        )


def read_related(text: bytes) -> Related:
    """Read `relate.json`. ValueError says in a few words what it is not."""
    table = json.loads(text)
    if not isinstance(table, dict) or not isinstance(table.get("runs"), list) or not isinstance(table.get("fits"), dict):
        raise ValueError("it has no runs and fits")
    if not table["runs"] or not table["fits"]:
        raise ValueError("it relates no runs")
    try:
        rows = [
            (str(run["name"]), _number(run["gain"]), _number(run["gain_error"]), run["sparsity"], run["errors"]) for run in table["runs"]
        ]
        if any(error < 0 for _, _, error, _, _ in rows):
            raise TypeError("a gain_error is less than 0")
        points = {
            str(measure): tuple(Point(name, _number(x[measure]), gain, _number(u[measure]), s) for name, gain, s, x, u in rows)
            for measure in table["fits"]
        }
        detectors = tuple(sorted({str(run["detector"]) for run in table["runs"] if run.get("detector")}))
        return Related(_number(table["tau"]), points, detectors)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a run of it lacks something ({error})") from None


def predict(
    related: Related, values: Mapping[str, float], errors: Mapping[str, float], detector: str
) -> tuple[list[Prediction], list[str]]:
    """Predict the gain of a model by each measure that it and the runs have; and say what stands against it, or makes it impossible."""
    found, problems = [], []
    for measure, points in related.points.items():
        if measure not in values:
            continue
        try:
            fitted = line(points)
        except RelationError as error:
            problems.append(f"no gain is predicted by {measure}: {error}")
            continue
        gain = fitted.predict(values[measure], abs(fitted.slope.value) * errors[measure])
        every = [point.x for point in points]
        found.append(Prediction(measure, values[measure], gain, len(points), min(every), max(every)))
    others = [each for each in related.detectors if each != detector]
    if others:
        problems.append(
            f"heads of the runs were scored by {', '.join(others)} and these by {detector}: their sparsities are of different kinds"
        )
    return found, problems


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not isfinite(value):
        raise TypeError(f"{value!r} is no finite number")
    return float(value)
