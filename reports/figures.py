"""Figures of differences: score by length, and differences with their intervals.

Each function returns a matplotlib figure; :func:`reports.canvas.to_svg` and :func:`reports.canvas.save` turn it into files. ``narrow``
figures are for the width of a phone: :data:`reports.canvas.NARROW`, fewer panels in a row.
:mod:`reports.headfigures` draws the scores of heads.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from reports import canvas
from reports.comparison import Comparison
from reports.estimates import Score
from reports.estimates import lines as lines_of
from reports.hierarchy import Scope
from reports.safe import visible
from reports.tables import ByName, label, length_label, lines

#: Panel -> length -> (ceiling, floor), fractions of 1.
Anchored: TypeAlias = Mapping[str, Mapping[int, tuple[float, float]]]

_LABEL_INCHES = 0.42  # a length's label and the space around it
_LETTER_INCHES = 0.085
_ROW_INCHES = 0.17
_NARROWEST = 0.5  # points to each side of 0: no difference at all must not look like noise on a fine scale


def length_curves(comparisons: ByName, anchors: Anchored = MappingProxyType({}), *, narrow: bool = False) -> Figure:
    """Draw the score by length, one panel for the overall score and one for each category, with the ceiling and the floor where they are
    known.

    A method's band is the interval of its *paired* difference, added to the baseline: where it leaves the baseline's line, the
    difference is detected. Bands of unpaired scores would overlap long after that.
    """
    panels: dict[str, list[tuple[Comparison, ...]]] = {}
    for line in lines(comparisons):
        if line.length is not None:
            panels.setdefault(line.label, []).append(line.comparisons)
    columns = min(2 if narrow else 3, len(panels))
    rows = math.ceil(len(panels) / columns)
    across = (canvas.NARROW - 0.6) / columns if narrow else 2.3
    with canvas.style():
        figure = Figure(figsize=(0.6 + across * columns, 0.7 + 1.9 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, (name, points) in zip(axes.flat, panels.items(), strict=False):
            _curves(panel, points, labels=int(across / _LABEL_INCHES))
            _anchor(panel, anchors.get(name, {}))
            panel.set_title(name)
        _remove(axes, len(panels))
        figure.supxlabel("length (tokens)", fontsize=9)
        figure.supylabel("score", fontsize=9)
        _legend(figure, list(comparisons), baseline=True)
    return figure


def score_lines(scores: Sequence[Score], anchors: Anchored = MappingProxyType({}), *, narrow: bool = False) -> Figure:
    """Draw one evaluation's score by length with its interval, one panel for the overall score and one for each category."""
    panels: dict[str, list[Score]] = {}
    for each in lines_of(scores):
        if each.length is not None:
            panels.setdefault(each.label, []).append(each)
    columns = min(2 if narrow else 3, len(panels))
    rows = math.ceil(len(panels) / columns)
    across = (canvas.NARROW - 0.6) / columns if narrow else 2.3
    with canvas.style():
        figure = Figure(figsize=(0.6 + across * columns, 0.5 + 1.9 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, (name, found) in zip(axes.flat, panels.items(), strict=False):
            at = [each.length or 0 for each in found]
            low, high = ([100 * end for end in ends] for ends in zip(*((each.low, each.high) for each in found), strict=True))
            panel.vlines(at, low, high, color=canvas.INK, linewidth=1.2)
            panel.plot(at, [100 * each.score for each in found], color=canvas.INK, marker=canvas.BASELINE.marker, markersize=4)
            _scale(panel, at, labels=int(across / _LABEL_INCHES))
            _anchor(panel, anchors.get(name, {}))
            panel.set_title(visible(name))
        _remove(axes, len(panels))
        figure.supxlabel("length (tokens)", fontsize=9)
        figure.supylabel("score", fontsize=9)
    return figure


def forest(
    comparisons: ByName, *, scopes: Sequence[Scope] = ("overall", "category"), length: int | None = None, narrow: bool = False
) -> Figure:
    """Draw differences with their intervals, one line for each category and method; filled where a difference is claimed.

    A margin that was named is shaded. ``length`` None takes the mean over lengths.
    """
    rows: dict[str, tuple[Comparison, ...]] = {}
    for column in comparisons.values():
        for each in column:
            if each.scope in scopes and each.length == length:
                rows[label(each)] = (*rows.get(label(each), ()), each)
    n_methods = len(comparisons)
    with canvas.style():
        figure = Figure(
            figsize=(canvas.NARROW if narrow else canvas.WIDE, 1.1 + _ROW_INCHES * len(rows) * (n_methods + 0.8)), layout="constrained"
        )
        axes = figure.subplots()
        for row, found in enumerate(rows.values()):
            for position, each in enumerate(found):
                _whisker(axes, each, row + (position - (n_methods - 1) / 2) / (n_methods + 0.8), canvas.look(position))
            if row % 2:
                axes.axhspan(row - 0.5, row + 0.5, color=canvas.INK, alpha=0.05, linewidth=0)
        axes.axvline(0, color=canvas.INK, linewidth=1)
        margin = next((each.margin for found in rows.values() for each in found), math.nan)
        if not math.isnan(margin):
            axes.axvspan(-100 * margin, 100 * margin, color=canvas.INK, alpha=0.08, linewidth=0)
        left, right = axes.get_xlim()
        axes.set_xlim(min(left, -_NARROWEST), max(right, _NARROWEST))
        axes.set_yticks(range(len(rows)), [canvas.short(visible(label)) if narrow else visible(label) for label in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(6 if narrow else 9, steps=canvas.STEPS))
        shaded = "" if math.isnan(margin) else f"; shaded: within {100 * margin:g}"
        axes.set_xlabel("difference (points)" + ("\n" if narrow else "; ") + f"filled: claimed{shaded}")
        claimed = {name for position, name in enumerate(comparisons) if any(found[position].claim for found in rows.values())}
        _legend(figure, list(comparisons), baseline=False, hollow=set(comparisons) - claimed)
    return figure


def training_curves(curves: Mapping[str, Sequence[Mapping[str, float]]], *, narrow: bool = False) -> Figure:
    """Draw one panel for each figure that the methods logged (loss, reward accuracy, ...), by optimizer step.

    A method that logged nothing has no line, and the others keep the looks that they have elsewhere.
    """
    logged = [name for name in dict.fromkeys(key for points in curves.values() for point in points for key in point) if name != "step"]
    columns = 1 if narrow else min(2, len(logged))
    rows = math.ceil(len(logged) / columns)
    with canvas.style():
        figure = Figure(figsize=(0.6 + 3.2 * columns, 0.7 + 1.7 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for panel, name in zip(axes.flat, logged, strict=False):
            for position, points in enumerate(curves.values()):
                series, known = canvas.look(position), [point for point in points if name in point]
                at = [point.get("step", number) for number, point in enumerate(known)]
                panel.plot(at, [point[name] for point in known], color=series.colour, linestyle=series.dashes, linewidth=1.4)
            panel.set_title(name.replace("_", " "))
            panel.ticklabel_format(axis="y", scilimits=(-3, 5))
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=canvas.STEPS))
        _remove(axes, len(logged))
        figure.supxlabel("step", fontsize=9)
        _legend(figure, list(curves), baseline=False, lines=True, shown=[name for name, points in curves.items() if points])
    return figure


def _remove(axes: NDArray[np.object_], count: int) -> None:
    """Take the panels after ``count`` away; those above them then have the lowest axis of their column, and label it."""
    for panel in axes.flat[count:]:
        panel.remove()
    columns = axes.shape[1]
    for panel in axes.flat[max(0, count - columns) : count]:
        panel.tick_params(labelbottom=True)


def _curves(axes: Axes, points: Sequence[tuple[Comparison, ...]], labels: int) -> None:
    """Baseline and methods at every length, of which ``labels`` have room for their names; the longest has its own.

    A shifted curve that falls would look better than it is.
    """
    lengths = [each[0].length or 0 for each in points]
    axes.plot(lengths, [100 * each[0].baseline for each in points], color=canvas.INK, marker=canvas.BASELINE.marker, markersize=4)
    if len(lengths) == 1:
        axes.axhline(100 * points[0][0].baseline, color=canvas.INK, linewidth=0.7)
    for position in range(len(points[0])):
        series = canvas.look(position)
        found = [each[position] for each in points]
        low, high = (
            [100 * float(np.clip(each.baseline + end, 0, 1)) for each, end in zip(found, ends, strict=True)] for ends in _ends(found)
        )
        at = [float(n) for n in lengths]
        if len(lengths) == 1:
            at = [lengths[0] * 2 ** (0.1 * (position + 1))]
            axes.vlines(at, low, high, color=series.colour, linewidth=1.2)
        axes.fill_between(at, low, high, color=series.colour, alpha=0.1, linewidth=0)
        for edge in (low, high):
            axes.plot(at, edge, color=series.colour, linestyle=series.dashes, linewidth=0.5)
        scores = [100 * each.candidate for each in found]
        axes.plot(at, scores, color=series.colour, linestyle=series.dashes, linewidth=1.4, marker=series.marker, markersize=4)
    _scale(axes, lengths, labels)


def _scale(axes: Axes, lengths: Sequence[int], labels: int) -> None:
    """A logarithmic axis of lengths, of which ``labels`` have room for their names."""
    axes.set_xscale("log", base=2)
    every = math.ceil(len(lengths) / labels)
    axes.set_xticks(lengths, [length_label(n) if place % every == 0 else "" for place, n in enumerate(reversed(lengths))][::-1])
    axes.minorticks_off()
    axes.margins(x=0.08)


def _anchor(axes: Axes, places: Mapping[int, tuple[float, float]]) -> None:
    """The ceiling, dashed, and the floor, dotted; across the panel where there is one length."""
    lengths = sorted(places)
    for side, dashes in enumerate(("--", ":")):
        values = [100 * places[length][side] for length in lengths]
        if len(values) == 1:
            axes.axhline(values[0], color=canvas.INK, linestyle=dashes, linewidth=0.8)
        elif values:
            axes.plot(lengths, values, color=canvas.INK, linestyle=dashes, linewidth=0.8)


def _ends(found: Sequence[Comparison]) -> tuple[list[float], list[float]]:
    return [each.low for each in found], [each.high for each in found]


def _whisker(axes: Axes, each: Comparison, height: float, series: canvas.Series) -> None:
    low, high = 100 * each.low, 100 * each.high
    axes.plot([low, high], [height, height], color=series.colour, linewidth=1.3, marker="|", markersize=4)
    fill = series.colour if each.claim else "none"
    axes.plot(
        [100 * each.delta],
        [height],
        marker=series.marker,
        markersize=5,
        color=series.colour,
        markerfacecolor=fill,
        linestyle="none",
    )


def _legend(
    figure: Figure,
    names: Sequence[str],
    *,
    baseline: bool,
    lines: bool = False,
    shown: Sequence[str] | None = None,
    hollow: Collection[str] = (),
) -> None:
    """The looks of ``names``, or of those ``shown``; ``lines`` for figures whose lines have no markers, ``hollow`` for empty ones."""
    looks = [("baseline", canvas.BASELINE)] if baseline else []
    looks += [(name, canvas.look(position)) for position, name in enumerate(names) if shown is None or name in shown]
    dashes = baseline or lines
    handles = [
        Line2D(
            [],
            [],
            color=series.colour,
            marker="" if lines else series.marker,
            markerfacecolor="none" if name in hollow else series.colour,
            linestyle=series.dashes if dashes else "-",  # the whisker of an interval
            linewidth=1.4 if dashes else 1.3,
            markersize=4 if dashes else 5,
        )
        for name, series in looks
    ]
    figure.legend(
        handles,
        [name for name, _ in looks],
        loc="outside upper center",
        ncols=max(1, min(4, len(looks), int(figure.get_figwidth() / (_LETTER_INCHES * (max(len(name) for name, _ in looks) + 6))))),
        handlelength=3 if dashes else 2,
    )
