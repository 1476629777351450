"""Ceilings and floors: what a score can be at most and at least, for a model that a task is put to.

    ceiling   the model's score where the context holds the gold passages alone
    floor     its score without them: what guessing gets

A task with a low ceiling measures whether the model follows its instruction, not what it does with context. Neither enters a mean. A
task *can tell* something of context if its ceiling is at least :data:`LOWEST` points and its distance to the floor is not by chance.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from reports import hierarchy, safe
from reports.compare import points
from reports.generations import averaged
from reports.tables import length_label

#: A ceiling below this is no measure of context.
LOWEST: Final = 0.20
#: Standard errors that a ceiling has to be above its floor.
_CLEAR: Final = 1.96
#: How far a score lies above its ceiling where that is worth a word.
_OVER: Final = 0.05
CEILING: Final = "ceiling"
FLOOR: Final = "floor"


@dataclass(frozen=True)
class Anchor:
    """One line: a task (the mean of its metrics), a category, or overall, at one length or over all. Scores are fractions of 1."""

    scope: str
    """``task``, ``category`` or ``overall``."""
    name: str
    length: int | None
    score: float
    """In full context."""
    ceiling: float
    floor: float


@dataclass(frozen=True)
class Anchors:
    """The reference points of one evaluation."""

    lines: tuple[Anchor, ...]
    telling: tuple[str, ...]
    """Tasks that can tell something of context."""
    low: tuple[str, ...]
    """Tasks whose ceiling is too low."""
    unclear: tuple[str, ...]
    """Tasks whose ceiling is not clearly above the floor."""
    without: tuple[str, ...]
    """Tasks that have no reference points."""
    overall: float
    """The mean over all tasks: the score that is reported everywhere else."""
    overall_telling: float
    """The same mean over the tasks that can tell something; NaN without any."""

    def sentences(self) -> list[str]:
        """Say what a reader should know before the scores."""
        said = []
        for tasks, why in (
            (self.low, f"ceiling below {100 * LOWEST:.0f} points: measures whether instructions are followed, not what context does"),
            (self.unclear, "ceiling not clearly above what guessing gets: says nothing of context"),
            (self.without, "no reference points: its gold passages are not known"),
            (self.exceeded, "scores above its ceiling: what is beside the gold helps too (more shots), so that this ceiling is no bound"),
        ):
            if tasks:
                said.append(f"{', '.join(tasks)}: {why}.")
        if not self.telling:
            return [*said, "No task here can tell what this model does with context."]
        mean = f"Overall score of the {len(self.telling)} tasks that can tell something of context: {points(self.overall_telling)}"
        return [*said, f"{mean} ({', '.join(self.telling)}); of all tasks: {points(self.overall)}."]

    @property
    def exceeded(self) -> tuple[str, ...]:
        """Tasks that score more in full context than with the gold alone."""
        lines = sorted(self.of("task"), key=lambda line: line.length is None)  # the mean over lengths last, where there is one
        chosen = {line.name: line for line in lines}
        return tuple(sorted(name for name, line in chosen.items() if line.score - line.ceiling > _OVER))

    def of(self, scope: str) -> list[Anchor]:
        """List the lines of one scope."""
        return [line for line in self.lines if line.scope == scope]

    def curves(self) -> dict[str, dict[int, tuple[float, float]]]:
        """Map category or "overall" -> length -> (ceiling, floor)."""
        found: dict[str, dict[int, tuple[float, float]]] = {}
        for line in self.lines:
            if line.scope != "task" and line.length is not None and not math.isnan(line.ceiling):
                found.setdefault(line.name, {})[line.length] = (line.ceiling, line.floor)
        return found


def anchors(samples: pd.DataFrame, references: pd.DataFrame) -> Anchors:
    """Set the scores of one model beside its reference points, both samples tables of the same questions.

    ``run`` of the references is :data:`CEILING` or :data:`FLOOR`.

    Categories and the overall score are means over the tasks that have reference points.
    """
    samples, references = averaged(samples), averaged(references)
    known = sorted(references["task"].unique())
    anchored = samples[samples["task"].isin(known)]
    sides = [_means(frame) for frame in (anchored, *(references[references["run"] == name] for name in (CEILING, FLOOR)))]
    lines = tuple(Anchor(*key, *(side.get(key, math.nan) for side in sides)) for key in sides[0])
    low: list[str] = []
    unclear: list[str] = []
    telling: list[str] = []
    for task in known:
        at_ceiling = sides[1]["task", task, None]
        kind = low if at_ceiling < LOWEST else telling if _is_clear(references[references["task"] == task]) else unclear
        kind.append(task)
    without = sorted(set(samples["task"].unique()) - set(known))
    chosen = samples[samples["task"].isin(telling)]
    overall, apart = (_means(frame)["overall", "overall", None] if len(frame) else math.nan for frame in (samples, chosen))
    return Anchors(lines, tuple(telling), tuple(low), tuple(unclear), tuple(without), overall, apart)


def _means(frame: pd.DataFrame) -> dict[tuple[str, str, int | None], float]:
    """(scope, name, length) -> score; a task's is the mean of its metrics."""
    plan = hierarchy.design(frame)
    found: dict[tuple[str, str, int | None], list[float]] = {}
    for target, mean in zip(plan.targets, plan.means(frame[["score"]].to_numpy(dtype=np.float64))[:, 0], strict=True):
        found.setdefault((target.scope, target.task or target.category or "overall", target.length), []).append(float(mean))
    return {key: float(np.mean(values)) for key, values in found.items()}


def _is_clear(task: pd.DataFrame) -> bool:
    """Whether the paired difference of ceiling and floor, question by question, is away from 0."""
    by_question = task.pivot_table(index=["length", "cluster"], columns="run", values="score", aggfunc="mean")
    gaps = (by_question[CEILING] - by_question[FLOOR]).to_numpy(dtype=np.float64)
    return len(gaps) > 1 and bool(gaps.mean() > _CLEAR * gaps.std(ddof=1) / math.sqrt(len(gaps)) and gaps.mean() > 0)


def rows(found: Anchors) -> list[tuple[str, ...]]:
    """Make cells under :data:`HEAD`: overall, categories, tasks; the mean over lengths where there are several."""
    several = len({line.length for line in found.lines} - {None}) > 1
    shown = [line for scope in ("overall", "category", "task") for line in found.of(scope) if several or line.length is not None]
    return [_row(line) for line in shown]


def _row(line: Anchor) -> tuple[str, ...]:
    name = f"  {line.name}" if line.scope == "task" else line.name
    return (name, length_label(line.length), points(line.score), points(line.ceiling), points(line.floor))


HEAD: Final = ("", "length", "score", "ceiling", "floor")


def terminal(found: Anchors) -> Table:
    """Make a rich table."""
    table = Table(title=Text("ceiling: gold passages alone; floor: without them"))
    for at, name in enumerate(HEAD):
        table.add_column(name, justify="left" if at == 0 else "right")
    for row in rows(found):
        table.add_row(*map(Text, row))
    return table


def markdown(found: Anchors) -> str:
    """Make the sentences, and a GitHub-flavoured table."""
    lines = [f"| {' | '.join(map(safe.markdown, row))} |" for row in (HEAD, *rows(found))]
    return "\n\n".join([*map(safe.markdown, found.sentences()), "\n".join([lines[0], "|-|-:|-:|-:|-:|", *lines[1:]])]) + "\n"


def record(found: Anchors) -> dict[str, Any]:
    """Make a record for JSON; unknown figures are None."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(found)), parse_constant=lambda name: None)
    return plain


def from_record(record: Mapping[str, Any] | None) -> Anchors | None:
    """Read what :func:`record` was made of; None for None. KeyError or TypeError for something else."""
    if record is None:
        return None

    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    def texts(name: str) -> tuple[str, ...]:
        return tuple(map(str, record[name]))

    return Anchors(
        lines=tuple(
            Anchor(each["scope"], each["name"], each["length"], number(each["score"]), number(each["ceiling"]), number(each["floor"]))
            for each in record["lines"]
        ),
        telling=texts("telling"),
        low=texts("low"),
        unclear=texts("unclear"),
        without=texts("without"),
        overall=number(record["overall"]),
        overall_telling=number(record["overall_telling"]),
    )
