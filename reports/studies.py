"""What one option does: the difference to the baseline, and how much was masked, over a method's variants that differ in it alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation

from reports import canvas
from reports.comparison import Comparison
from reports.safe import visible
from reports.tables import ByName

_WIDE_RANGE = 8
"""From this ratio of the largest to the smallest value on, the axis is logarithmic."""
_LETTER_INCHES = 0.085
_BESIDE_INCHES = 0.06
"""What methods stand apart at one value, so that no interval hides another."""


@dataclass(frozen=True)
class Study:
    """One option, and the variants that differ in it."""

    option: str
    lines: Mapping[str, Mapping[str, float]]
    """Method -> label of a variant -> the option's value."""
    masked: Mapping[str, int] = field(default_factory=dict)
    """Label -> heads that it masked, where it masks any."""

    @property
    def labels(self) -> list[str]:
        """List every variant's label."""
        return [label for line in self.lines.values() for label in line]


def from_records(records: Sequence[Mapping[str, object]]) -> list[Study]:
    """Read what a run's description holds. ValueError, TypeError or AttributeError for something else."""
    return [_study(record) for record in records]


def _study(record: Mapping[str, object]) -> Study:
    lines, masked = record["lines"], record.get("masked", {})
    if not isinstance(lines, dict) or not isinstance(masked, dict):
        raise ValueError("a study's lines and masks are tables")
    found = {str(method): {str(label): float(value) for label, value in line.items()} for method, line in lines.items()}
    if not all(math.isfinite(value) for line in found.values() for value in line.values()):
        raise ValueError("a study's values are numbers")
    return Study(str(record["option"]), found, {str(label): int(heads) for label, heads in masked.items()})


def points(study: Study, method: str, comparisons: ByName) -> list[tuple[float, Comparison]]:
    """List a method's variants as (value of the option, difference of the overall score), the smallest value first."""
    found = []
    for label, value in study.lines[method].items():
        found += [(value, each) for each in comparisons.get(label, ()) if each.scope == "overall" and each.length is None]
    return sorted(found, key=lambda pair: pair[0])


def gain(study: Study, comparisons: ByName, *, narrow: bool = False) -> Figure:
    """Draw the difference to the baseline in points, with intervals, and below it the number of masked heads, against the option."""
    panels = 2 if any(label in study.masked for label in study.labels) else 1
    with canvas.style():
        figure = Figure(figsize=(canvas.NARROW if narrow else canvas.WIDE, 2.4 + 1.5 * (panels - 1)), layout="constrained")
        axes = figure.subplots(panels, 1, sharex=True, squeeze=False, height_ratios=[2, 1][:panels])[:, 0]
        for position, method in enumerate(study.lines):
            series, found = canvas.look(position), points(study, method, comparisons)
            shift = (position - (len(study.lines) - 1) / 2) * _BESIDE_INCHES
            _differences(axes[0], found, series, shift)
            if panels > 1:
                sizes = sorted((value, study.masked[label]) for label, value in study.lines[method].items() if label in study.masked)
                axes[1].plot(*zip(*sizes, strict=True), color=series.colour, linestyle=series.dashes, marker=series.marker, markersize=4)
        axes[0].axhline(0, color=canvas.INK, linewidth=1)
        axes[0].set_ylabel("difference (points)")
        if panels > 1:
            axes[1].set_ylabel("heads masked")
            axes[1].set_ylim(bottom=0)
            axes[1].yaxis.set_major_locator(MaxNLocator(4, integer=True))
        _values(axes[-1], sorted({value for line in study.lines.values() for value in line.values()}), narrow)
        axes[-1].set_xlabel(visible(study.option))
        _legend(figure, [visible(method) for method in study.lines])
    return figure


def _differences(axes: Axes, found: Sequence[tuple[float, Comparison]], series: canvas.Series, shift: float) -> None:
    """Draw one method's values, ``shift`` inches beside the option's own."""
    beside = axes.transData + ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans)
    for value, each in found:
        reach = [100 * each.low, 100 * each.high]
        axes.plot([value, value], reach, color=series.colour, linewidth=1.3, marker="_", markersize=4, transform=beside)
        axes.update_datalim([(value, end) for end in reach])  # what is moved aside counts for no limit of its own
        fill = series.colour if each.claim else "none"
        (point,) = axes.plot([value], [100 * each.delta], color=series.colour, marker=series.marker, markersize=5, transform=beside)
        point.set_markerfacecolor(fill)
    line = [100 * each.delta for _, each in found]
    axes.plot([value for value, _ in found], line, color=series.colour, linestyle=series.dashes, linewidth=0.9, transform=beside)
    axes.autoscale_view()


def _values(axes: Axes, values: Sequence[float], narrow: bool) -> None:
    """Ticks at the values that were tried, as many as have room."""
    if values[0] > 0 and values[-1] / values[0] >= _WIDE_RANGE:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    every = math.ceil(len(values) / (5 if narrow else 9))
    axes.set_xticks(values[::every])
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
    axes.minorticks_off()
    axes.margins(x=0.08)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    looks = [canvas.look(position) for position in range(len(names))]
    handles = [Line2D([], [], color=each.colour, marker=each.marker, linestyle=each.dashes, markersize=4) for each in looks]
    columns = max(1, int(figure.get_figwidth() / (_LETTER_INCHES * (max(map(len, names)) + 6))))
    figure.legend(handles, list(names), loc="outside upper center", ncols=min(len(names), columns), handlelength=3)
