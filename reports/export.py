"""A finished comparison in the formats people and programs ask for; the file name's suffix says which."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.text import Text

from reports import safe, tables
from reports.bootstrap import POWER
from reports.comparison import Comparison, MethodComparisons, points
from reports.difficulty import Adjusted
from reports.hierarchy import Scope
from reports.power import needed
from reports.shape import Shape
from reports.verdict import verdicts
from tasks.files import replacing, write_text

HEADLINES: Final[tuple[Scope, ...]] = ("overall", "category")
EVERYTHING: Final[tuple[Scope, ...]] = ("overall", "category", "task")
_WIDTH: Final = 150


@dataclass(frozen=True)
class Exported:
    """A comparison and what has to be said beside its numbers."""

    found: MethodComparisons
    settings: Mapping[str, object] = field(default_factory=dict)
    """Resamples, seed, kind of interval, digests: whatever identifies the comparison."""
    scopes: Sequence[Scope] = HEADLINES
    effect: float | None = None
    """Difference, as a fraction of 1, for which to say how large a suite would have to be."""
    adjusted: Sequence[Adjusted] = ()
    """Overall differences with the difficulty of questions taken into account."""

    def sentences(self) -> list[str]:
        """List notes, then the verdicts, what the difficulty of questions adds, and the size of suite that the effect takes."""
        found = self.found
        return [
            *(f"Note: {note}" for note in found.notes),
            *verdicts(found),
            *(each.sentence() for each in self.adjusted),
            *(_size(name, column, self.effect, found.shapes.get(name)) for name, column in found.methods.items() if self.effect),
        ]


def terminal(exported: Exported) -> RenderableType:
    """Make tables of methods and of contrasts, then the sentences."""
    found, scopes = exported.found, exported.scopes
    parts: list[RenderableType] = [
        tables.terminal(found.methods, scopes=scopes, title="scores x 100; difference to the baseline [interval]")
    ]
    if found.contrasts:
        parts.append(tables.terminal(found.contrasts, scopes=scopes, title="difference between methods", contrast=True))
    return Group(*parts, *(Text(sentence) for sentence in exported.sentences()))


def as_text(exported: Exported) -> str:
    """Make :func:`terminal` without colours, for a file."""
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
    console.print(terminal(exported))
    assert isinstance(console.file, io.StringIO)
    return safe.visible(console.file.getvalue())


def as_markdown(exported: Exported) -> str:
    """Make sentences and GitHub-flavoured tables."""
    found = exported.found
    parts = [*map(safe.markdown, exported.sentences()), tables.markdown(found.methods, scopes=exported.scopes)]
    if found.contrasts:
        parts.append(tables.markdown(found.contrasts, scopes=exported.scopes, contrast=True))
    return "\n\n".join(parts)


def as_json(exported: Exported) -> str:
    """Make an object with ``notes``, ``settings``, ``sentences``, ``comparisons`` (records of :func:`reports.tables.records`),
    ``adjusted``.
    """
    found = exported.found
    value = {
        "notes": list(found.notes),
        "settings": dict(exported.settings),
        "sentences": exported.sentences(),
        "comparisons": tables.records({**found.methods, **found.contrasts}),
        "adjusted": [each.record() for each in exported.adjusted],
    }
    return safe.encodable(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str)) + "\n"


def as_csv(exported: Exported) -> str:
    """Make every comparison as a row, unrounded."""
    return tables.csv_text({**exported.found.methods, **exported.found.contrasts})


def as_latex(exported: Exported) -> str:
    """Make a booktabs table of the methods; notes and settings as comments."""
    found = exported.found
    comments = [*found.notes, *(f"{name}: {value}" for name, value in exported.settings.items())]
    heading = "".join("% " + safe.visible(" ".join(comment.split())) + "\n" for comment in comments)
    return heading + tables.latex(found.methods, scopes=exported.scopes)


#: Suffix of a file, or name of a format -> text.
TEXTS: Final[Mapping[str, Callable[[Exported], str]]] = {
    "txt": as_text,
    "md": as_markdown,
    "json": as_json,
    "csv": as_csv,
    "tex": as_latex,
}
SUFFIXES: Final = (*TEXTS, "parquet")


def write(path: Path, exported: Exported) -> None:
    """Publish the comparison at ``path``, whole or not at all. Raises ValueError for a suffix that is none of :data:`SUFFIXES`."""
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} does not say which format to write; end it in one of {', '.join('.' + each for each in SUFFIXES)}")
    found = exported.found
    if suffix == "parquet":
        frame = pd.DataFrame(tables.records({**found.methods, **found.contrasts}))
        typed = {"length": "Int64", **dict.fromkeys(("task", "category", "metric"), "string")}
        with replacing(path) as temporary:
            frame.astype(typed).to_parquet(temporary, index=False)
    else:
        write_text(path, TEXTS[suffix](exported))


def _size(name: str, column: Sequence[Comparison], effect: float, shape: Shape | None) -> str:
    overall = next((each for each in column if each.scope == "overall" and each.length is None), None)
    asked = needed(overall, effect, shape) if overall is not None else None
    if overall is None or asked is None:
        return f"{name}: no number of questions is known that would find {points(effect)} points."
    return (
        f"{name}: finding a true overall difference of {points(asked.effect)} points with {POWER:.0%} power takes about "
        f"{asked.clusters:,} questions ({asked.examples:,} examples); this suite has {overall.n_clusters:,} ({overall.n_examples:,})."
    )
