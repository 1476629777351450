"""What the functions of :mod:`harness.interface.calls` give: samples of one evaluation, a run, a comparison."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api import HarnessError
from harness.interface.comparing import Comparison, Kind, compared
from harness.publishing.pages import PAGE, bootstrap_settings
from harness.store.find import Evaluation, by_method, find_one
from harness.store.manifest import RunManifest

if TYPE_CHECKING:
    import pandas as pd

    from reports.estimates import Score
    from reports.plates import Plate


@dataclass(frozen=True, eq=False)
class Samples:
    """One evaluation: a score for every example and metric.

    ``Samples("mine", (frame,))`` makes one of a samples table of your own (:mod:`reports.samples` has its columns).
    """

    name: str
    """What tables and figures call it."""
    tables: "tuple[pd.DataFrame, ...]"
    """Its samples tables: one, or one for each training seed."""
    run: Path | None = None
    """The run directory that it is part of."""
    path: Path | None = None
    """The file of the first table."""

    @classmethod
    def of(cls, found: Evaluation) -> "Samples":
        """Read an evaluation that is on disk. HarnessError for a table that cannot be trusted."""
        return cls(found.name, tuple(found.tables()), found.run, found.path)

    @property
    def frame(self) -> "pd.DataFrame":
        """The samples table: one row an example and metric, with the output. HarnessError for several training seeds."""
        if len(self.tables) != 1:
            raise HarnessError(f"{self.name} has {len(self.tables)} training seeds: take one of .tables, or load('RUN:{self.name}@SEED')")
        return self.tables[0]

    @property
    def page(self) -> Path | None:
        """The page of its run, if there is one."""
        return None if self.run is None or not (self.run / PAGE).is_file() else self.run / PAGE

    def named(self, name: str) -> "Samples":
        """Give the same samples another name."""
        return replace(self, name=name)

    def with_prompts(self) -> "pd.DataFrame":
        """Give the samples table with the column ``prompt``. HarnessError for samples without a run directory."""
        from harness.publishing.joined import joined

        return joined(self.frame, self.run)

    def scores(self, *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0) -> "pd.DataFrame":
        """Compute mean scores with their intervals, fractions of 1: overall, categories, dataset-metrics; over lengths, then at each.

        ``length`` is missing where a score is the mean over lengths.
        """
        from reports.estimates import frame

        return frame(self._estimated(resamples, confidence, seed))

    def plot(self) -> "Plate":
        """Draw the scores by length with their intervals: a notebook shows it, ``.save(path)`` writes it, ``.figure`` is matplotlib's."""
        from functools import partial

        from reports.figures import score_lines
        from reports.plates import Plate

        return Plate("curves", partial(score_lines, self._estimated(10_000, 0.95, 0)), f"Scores of {self.name} by length, with intervals")

    def _estimated(self, resamples: int, confidence: float, seed: int) -> "list[Score]":
        from reports.compare import CompareError
        from reports.estimates import estimated

        try:
            return estimated(self.tables, resamples=resamples, confidence=confidence, seed=seed)
        except CompareError as error:
            raise HarnessError(f"{self.name}: {error}") from None

    def __repr__(self) -> str:
        rows = sum(map(len, self.tables))
        return f"Samples({self.name!r}, {rows:,} scores{'' if self.run is None else f', run {str(self.run)!r}'})"


@dataclass(frozen=True, eq=False)
class Results(Mapping[str, Samples]):
    """A finished run: its baseline and what each method made of it, by name."""

    root: Path
    """The run directory."""
    evaluations: dict[str, Samples] = field(repr=False)

    @classmethod
    def of(cls, root: Path) -> "Results":
        """Read a run directory. HarnessError if it is none, or the run has not finished."""
        return cls(root, {each.name: Samples.of(each) for each in by_method(root)})

    @property
    def baseline(self) -> Samples:
        """The evaluation of the model itself."""
        return next(iter(self.evaluations.values()))

    @property
    def page(self) -> Path:
        """The report."""
        return self.root / PAGE

    @cached_property
    def comparison(self) -> Comparison:
        """Its methods against its baseline, with the run's own settings of the bootstrap."""
        manifest = RunManifest.read(self.root)
        margin = manifest.config.get("margin")
        baseline, *methods = self.evaluations.values()
        if not methods:
            raise HarnessError(f"{self.root} holds one evaluation; compare it with another")
        return compared(
            list(baseline.tables),
            {each.name: list(each.tables) for each in methods},
            common=manifest.config.get("stop_early") is True,
            margin=float(margin) if isinstance(margin, int | float) else math.nan,
            **bootstrap_settings(manifest),
        )

    @property
    def verdict(self) -> str:
        """What the comparison says."""
        return self.comparison.verdict

    @property
    def frame(self) -> "pd.DataFrame":
        """The comparison as a table."""
        return self.comparison.frame

    def plot(self, kind: Kind = "differences") -> "Plate":
        """Draw the comparison, as :meth:`Comparison.plot`."""
        return self.comparison.plot(kind)

    def __getitem__(self, name: str) -> Samples:
        return self.evaluations[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.evaluations)

    def __len__(self) -> int:
        return len(self.evaluations)


def as_samples(given: "str | Path | Samples | pd.DataFrame", number: int) -> Samples:
    """Take an evaluation as a program names it: as on the command line, as :class:`Samples`, or as a table, called by its number."""
    if isinstance(given, Samples):
        return given
    if isinstance(given, str | Path):
        return Samples.of(find_one(str(given)))
    if not hasattr(given, "columns"):
        raise HarnessError(f"compare(): {given!r:.60} is no evaluation; give samples, their table, or a name such as 'runs/demo:retmask'")
    return Samples("baseline" if number == 0 else f"candidate {number}", (given,))


def one_each(found: Sequence[Samples]) -> dict[str, Samples]:
    """Give them by name. HarnessError for two of one name."""
    named: dict[str, Samples] = {}
    for each in found:
        if each.name in named:
            raise HarnessError(f"two evaluations are called {each.name}; give one another name, such as samples.named('second')")
        named[each.name] = each
    return named
