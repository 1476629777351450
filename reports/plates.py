"""The figures of a report, in the order of its page; also written as files, for papers and slides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from reports import canvas, figures, headfigures, studies
from reports.contents import ReportData
from reports.safe import file_name
from reports.tables import ByName, length_label

_BANDS = (
    "A band is the interval of the paired difference, added to the baseline: where it leaves the baseline's line, the difference "
    "is detected at that length."
)
_ANCHORS = "Thin lines: the baseline's ceiling (dashed) and floor (dotted)."
_ANCHORED = "Thin lines: ceiling (dashed) and floor (dotted)."
_MASKED = "The ticks below the curve are the heads that each method masked."


@dataclass(frozen=True)
class Plate:
    """A figure and what is said about it."""

    name: str
    draw: Callable[..., Figure]
    """Draws it anew; with ``narrow=True`` for a phone."""
    description: str
    caption: str = ""

    @property
    def words(self) -> str:
        """Description and caption, as sentences."""
        return f"{self.description}. {self.caption}".strip()

    @property
    def figure(self) -> Figure:
        """The figure, drawn anew, for whoever would change it."""
        return self.draw()

    def save(self, path: str | Path) -> tuple[Path, Path]:
        """Write it as SVG and PNG beside each other, whichever of the two the path ends in; both paths."""
        place = Path(path)
        return canvas.save(self.draw(), place.with_suffix("") if place.suffix in (".svg", ".png") else place, self.words)

    def _repr_svg_(self) -> str:
        """The figure in a notebook."""
        return canvas.to_svg(self.draw(), self.name, self.description)


def plates(data: ReportData) -> dict[str, Plate]:
    """Name -> figure, for all that ``data`` has something to show in."""
    if not data.methods:
        return {plate.name: plate for plate in _own_lengths(data)}
    compared = {name: data.comparisons[name] for name in data.methods}
    curves = {name: data.curves.get(name, ()) for name in data.methods}
    found = [*_differences(compared, data.contrasts), *_studies(compared, data.studies), *_lengths(compared, data), *_heads(data)]
    if any(curves.values()):
        found.append(Plate("training", partial(figures.training_curves, curves), "Training curves of each method by step"))
    return {plate.name: plate for plate in found}


def save(data: ReportData, folder: Path) -> list[Path]:
    """Write every figure into ``folder`` as SVG and PNG; the files' paths. OSError if it cannot be written to."""
    return [path for plate in plates(data).values() for path in canvas.save(plate.draw(), folder / plate.name, plate.words)]


def lengths(comparisons: ByName) -> list[int]:
    """List the context lengths in tokens that were compared, shortest first."""
    return sorted({each.length for column in comparisons.values() for each in column if each.length is not None})


def _differences(compared: ByName, contrasts: ByName) -> list[Plate]:
    found = lengths(compared)
    where = "mean over lengths" if len(found) > 1 else f"{length_label(found[0])} tokens"
    forest = Plate("forest", partial(figures.forest, compared), f"Differences to the baseline with intervals, {where}")
    if not contrasts:
        return [forest]
    return [forest, Plate("contrasts", partial(figures.forest, contrasts), f"Differences between methods with intervals, {where}")]


def _studies(compared: ByName, tried: Sequence[studies.Study]) -> list[Plate]:
    drawn = [(each, f"Difference to the baseline and heads masked by {each.option}") for each in tried]
    return [
        Plate(f"study-{file_name(each.option)}", partial(studies.gain, each, compared), words, "Bars are intervals; filled: claimed.")
        for each, words in drawn
    ]


def _lengths(compared: ByName, data: ReportData) -> list[Plate]:
    if len(lengths(compared)) < 2:
        return []  # one point is no curve, and the table has it
    lines = data.anchors.curves() if data.anchors else {}
    draw = partial(figures.length_curves, compared, lines)
    return [Plate("curves", draw, "Score of baseline and methods by length", f"{_BANDS} {_ANCHORS}" if lines else _BANDS)]


def _own_lengths(data: ReportData) -> list[Plate]:
    if len({each.length for each in data.scores if each.length is not None}) < 2:
        return []
    lines = data.anchors.curves() if data.anchors else {}
    return [
        Plate("curves", partial(figures.score_lines, data.scores, lines), "Score by length, with intervals", _ANCHORED if lines else "")
    ]


def _heads(data: ReportData) -> list[Plate]:
    if data.head_scores is None:
        return []
    scores: Sequence[Sequence[float]] = data.head_scores
    masked: Mapping[str, Sequence[tuple[int, int]]] = {name: data.masked_heads.get(name, ()) for name in data.methods}
    drawn = partial(headfigures.head_map, scores, masked)
    ranks = partial(headfigures.score_curve, scores, masked, data.threshold)
    distribution = partial(headfigures.score_distribution, scores, data.threshold)
    return [
        Plate("heads", drawn, "Retrieval score by layer and head", "Framed: heads that were masked."),
        Plate("ranks", ranks, "Retrieval scores in descending order", _MASKED if any(masked.values()) else ""),
        Plate("distribution", distribution, "Number of heads by retrieval score"),
    ]
