"""The single examples whose scores differ most between two evaluations, as text for a terminal."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from rich.text import Text

from reports.comparison import CompareError
from reports.examples import golds, parsed
from reports.generations import shown
from reports.samples import KEY
from reports.tables import length_label

_LONGEST: Final = 600


@dataclass(frozen=True)
class Differing:
    """One example in two evaluations."""

    task: str
    length: int
    example: str
    metric: str
    targets: tuple[str, ...]
    before: "Answered"
    after: "Answered"


@dataclass(frozen=True)
class Answered:
    """What one model made of it."""

    score: float
    output: str
    parsed: str
    """What was read as the answer; empty where the whole output was."""


def differing(before: pd.DataFrame, after: pd.DataFrame, most: int) -> list[Differing]:
    """List up to ``most`` examples, those first whose score in some metric changed most. CompareError if none is in both tables."""
    key = list(KEY)
    both = shown(before).merge(shown(after), on=key, suffixes=("", "_after"))
    if both.empty:
        raise CompareError("the evaluations share no example")
    both["change"] = (both["score_after"] - both["score"]).abs()
    changed = both[both["change"] > 0].sort_values(["change", *key], ascending=[False, *(True for _ in key)], kind="stable")
    return [_differing(row) for row in changed.drop_duplicates(["task", "length", "example_id"]).head(most).to_dict("records")]


def _differing(row: dict[Any, Any]) -> Differing:
    def answered(suffix: str) -> Answered:
        one = pd.Series({name: row.get(f"{name}{suffix}", "") for name in ("output", "parsed")})
        return Answered(float(row[f"score{suffix}"]), str(one["output"]), parsed(one))

    targets = tuple(golds(str(row["targets"])))
    return Differing(row["task"], int(row["length"]), row["example_id"], row["metric"], targets, answered(""), answered("_after"))


def terminal(found: list[Differing], names: tuple[str, str]) -> Text:
    """Print them under each other: right answers, then what each model wrote, what was read of it, and its score."""
    return Text("\n").join([Text(line) for each in found for line in _lines(each, names)])


def _lines(each: Differing, names: tuple[str, str]) -> Iterator[str]:
    scores = f"{100 * each.before.score:.1f} -> {100 * each.after.score:.1f}"
    yield f"{each.task}, {length_label(each.length)}, example {each.example}: {each.metric} {scores}"
    yield f"  gold       {_short(' | '.join(each.targets))}"
    for name, answer in zip(names, (each.before, each.after), strict=True):
        yield f"  {name}: {_short(answer.output) or '(empty)'}"
        if answer.parsed:
            yield f"    read as  {_short(answer.parsed)}"
    yield ""


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[:_LONGEST]} … ({len(flat) - _LONGEST:,} more characters)"
