"""The engine's noise floor: the same model, evaluated twice on the same examples.

Greedy decoding changes with batching, prefix caching and hardware. What two evaluations of one model differ by says how large a
difference between two models has to be before it can mean anything at all.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from scipy import stats

from reports import generations, samples
from reports.comparable import alike
from reports.compare import CompareError, check_comparable, points
from reports.hierarchy import Scope, design
from reports.tables import length_label


@dataclass(frozen=True)
class Floor:
    """Noise of one average."""

    scope: Scope
    category: str | None
    length: int | None
    delta: float
    """Second evaluation minus the first."""
    floor: float
    """95% of such differences stay below this in absolute value, if every change could as well have gone the other way."""


@dataclass(frozen=True)
class Noise:
    """What changed between two evaluations of one model."""

    examples: int
    outputs_changed: int
    scores_changed: int
    largest_change: float
    """Of one example's score."""
    floors: tuple[Floor, ...]
    notes: tuple[str, ...] = ()


def noise(first: pd.DataFrame, second: pd.DataFrame, *, allow: tuple[str, ...] = (), confidence: float = 0.95) -> Noise:
    """Compare two samples tables of the same model. Raises :class:`CompareError` if they are of different models or examples."""
    tables = []
    for name, frame in (("first", first), ("second", second)):
        try:
            tables.append(samples.validate(frame))
        except samples.SamplesError as error:
            raise CompareError(f"{name}: {error}") from error
    sides, lost = alike({"first": tables[:1], "second": tables[1:]})
    one, two = (table.sort_values(samples.row_key(table), ignore_index=True) for (table,) in sides.values())
    if set(one["model_digest"]) != set(two["model_digest"]):
        raise CompareError("the noise floor needs the same model twice, and these are two models; leave out --aa to compare them")
    if (one["output"] == "").all() != (two["output"] == "").all():
        raise CompareError("one of the two has no outputs, as a saved baseline has none; the noise floor needs both evaluations whole")
    if generations.counts(one) != generations.counts(two):
        raise CompareError("the two have other numbers of answers to each prompt; the noise floor needs the same answers twice")
    notes = [*lost, *check_comparable(one, two, "second", allow)]
    changed = (one["output"] != two["output"]).to_numpy(dtype=bool)
    differences = (two["score"] - one["score"]).to_numpy(dtype=np.float64)
    example = one.groupby(["task", "length", "example_id"], sort=False).ngroup().to_numpy(dtype=np.intp)
    plan = design(one)
    spread = np.zeros(len(plan.targets))
    for stratum in plan.strata:
        shares = stratum.sums(differences[:, None])[:, :, 0] / stratum.counts().sum(axis=0)
        spread += ((shares @ plan.weights[:, stratum.cells].T) ** 2).sum(axis=0)
    floors = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(spread)
    deltas = plan.means(differences[:, None])[:, 0]
    return Noise(
        examples=len(np.unique(example)),
        outputs_changed=len(np.unique(example[changed])),
        scores_changed=len(np.unique(example[differences != 0])),
        largest_change=float(np.abs(differences).max()),
        floors=tuple(
            Floor(target.scope, target.category, target.length, float(delta), float(floor))
            for target, delta, floor in zip(plan.targets, deltas, floors, strict=True)
            if target.scope != "task"
        ),
        notes=tuple(notes),
    )


def sentence(found: Noise) -> str:
    """Say what a reader has to know."""
    overall = next(each for each in found.floors if each.scope == "overall" and each.length is None)
    if not found.outputs_changed and not found.scores_changed:
        return f"All {found.examples:,} outputs are the same: on this engine a difference between models is not noise of generation."
    if not found.outputs_changed:
        return (
            f"All {found.examples:,} outputs are the same and yet {found.scores_changed:,} score otherwise, by up to "
            f"{points(found.largest_change)} points: that is not the engine but another scorer, judge or gold answer."
        )
    return (
        f"{found.outputs_changed:,} of {found.examples:,} outputs differ between two evaluations of the same model, "
        f"{found.scores_changed:,} examples in score, by up to {points(found.largest_change)} points. A difference of the overall score "
        f"below {points(overall.floor)} points can be this engine's noise."
    )


def terminal(found: Noise) -> RenderableType:
    """Make the noise floors by average and length, then the sentence."""
    table = Table(title=Text("the same model twice: difference, and noise floor (points)"))
    for column in ("", "length", "difference", "noise floor"):
        table.add_column(column, justify="left" if not column else "right")
    for each in found.floors:
        name = each.category or "overall"
        table.add_row(Text(name), length_label(each.length), points(each.delta, signed=True), points(each.floor))
    return Group(*(Text(f"Note: {note}") for note in found.notes), table, Text(sentence(found)))
