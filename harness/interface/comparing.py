"""The comparison of evaluations that are there already, for programs and for ``harness compare``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness.api import HarnessError
from harness.interface.settings import check_choice

if TYPE_CHECKING:
    import pandas as pd

    from reports.export import Exported
    from reports.plates import Plate

Kind: TypeAlias = Literal["differences", "lengths"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods against a baseline, question by question."""

    exported: "Exported"
    """For :mod:`reports.export`, which writes it in every format."""

    @property
    def verdict(self) -> str:
        """What the comparison says, in sentences; a paragraph for each method and each pair of methods."""
        return "\n\n".join(self.exported.sentences())

    @property
    def frame(self) -> "pd.DataFrame":
        """Every difference as a row, fractions of 1: scores, interval, p, detectable effect, counts of questions."""
        import pandas as pd

        from reports.tables import records

        found = self.exported.found
        typed = {"length": "Int64", **dict.fromkeys(("task", "category", "metric"), "string")}
        return pd.DataFrame(records({**found.methods, **found.contrasts})).astype(typed)

    def plot(self, kind: Kind = "differences") -> "Plate":
        """Draw the differences with their intervals, or ("lengths") the scores by length."""
        from functools import partial

        from reports import figures
        from reports.plates import Plate

        check_choice(kind, ("differences", "lengths"), "kind of plot")
        methods = self.exported.found.methods
        if kind == "lengths":
            return Plate("curves", partial(figures.length_curves, methods), "Score of baseline and methods by length")
        return Plate("forest", partial(figures.forest, methods), "Differences to the baseline with intervals")

    def save(self, path: str | Path) -> None:
        """Write the comparison; the file's suffix says how: .txt, .md, .json, .csv, .tex or .parquet."""
        from reports.export import write

        try:
            write(Path(path), self.exported)
        except (OSError, ValueError) as error:
            raise HarnessError(f"cannot write {path}: {error}") from None

    def __repr__(self) -> str:
        return self.verdict


def compared(
    baseline: "Sequence[pd.DataFrame]",
    methods: "Mapping[str, Sequence[pd.DataFrame]]",
    *,
    name: str = "baseline",
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
    interval: Literal["percentile", "bca"] = "percentile",
    allow: Sequence[str] = (),
    common: bool = False,
    margin: float = math.nan,
    effect: float | None = None,
    history: "Sequence[pd.DataFrame]" = (),
    tasks: bool = False,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare samples tables, several of a side being training seeds. HarnessError for what cannot be compared.

    ``margin`` and ``effect`` are points; ``history`` are samples of these questions and more; ``tasks`` has tables show every
    dataset-metric; ``notes`` are said before the others.
    """
    from reports import export
    from reports.compare import CompareError, compare_methods
    from reports.difficulty import adjust

    try:
        found = compare_methods(
            baseline, methods, resamples=resamples, seed=seed, confidence=confidence, interval=interval, allow=allow, common=common,
            margin=margin / 100,
        )  # fmt: skip
        adjusted = adjust(baseline, methods, history, resamples=resamples, seed=seed, confidence=confidence) if history else []
    except CompareError as error:
        raise HarnessError(str(error)) from None
    found = replace(found, notes=(*notes, *found.notes))
    settings = {"interval": interval, "confidence": confidence, "resamples": resamples, "seed": seed, "baseline": name}
    scopes = export.EVERYTHING if tasks else export.HEADLINES
    return Comparison(export.Exported(found, settings, scopes, None if effect is None else effect / 100, adjusted))


def passed(
    baseline: "Sequence[pd.DataFrame]", methods: "Mapping[str, Sequence[pd.DataFrame]]", k: int
) -> "tuple[list[pd.DataFrame], dict[str, list[pd.DataFrame]], list[str]]":
    """Give the same tables with pass@k for a score, and what has to be said of it. HarnessError where that is no score."""
    from reports import passk

    several = {"": list(baseline), **{name: list(tables) for name, tables in methods.items()}}
    every = [table for tables in several.values() for table in tables]
    try:
        scored, left = passk.at(every, k)
    except passk.PassError as error:
        raise HarnessError(str(error)) from None
    given = iter(scored)
    found = {name: [next(given) for _ in tables] for name, tables in several.items()}
    return found.pop(""), found, [passk.sentence(every, k, left)]
