"""Figures of retrieval scores: the map of heads, the sorted curve, the distribution, knock-out curves, before and after.

Scores are layers x heads, usually in [0, 1].
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from reports import canvas
from reports.safe import visible

Scores: TypeAlias = Sequence[Sequence[float]] | npt.NDArray[np.float64]
Heads: TypeAlias = Sequence[tuple[int, int]]
Estimate: TypeAlias = tuple[float, float, float]
"""Value, and the ends of its interval."""
KnockOut: TypeAlias = Sequence[tuple[int, Estimate, Estimate]]
"""(heads masked, needle accuracy in [0, 1], perplexity as a multiple of the intact model's), from none on."""

_BINS = 25
_LETTER_INCHES = 0.09
"""Of a title, about."""


def head_map(scores: Scores, masked: Mapping[str, Heads], *, narrow: bool = False) -> Figure:
    """Draw layer x head, one panel for each method that masks heads; those heads are outlined. ``narrow``: one panel in a row.

    Raises ValueError for scores that are not a rectangle and for masked heads outside it.
    """
    values = _rectangle(scores)
    _check_heads(values, masked)
    panels: Mapping[str, Heads] = {name: heads for name, heads in masked.items() if heads} or {"": ()}
    columns = 1 if narrow else min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = canvas.NARROW - 1.0 if narrow else 3.2 if columns == 2 else 5.2
    height = float(np.clip(width * values.shape[0] / values.shape[1], 0.8, 6))
    with canvas.style():
        titles = [_title(name, len(heads), values.size, width) for name, heads in panels.items()]
        over = 0.15 * max(title.count("\n") for title in titles)
        figure = Figure(figsize=(1.0 + width * columns, 0.5 + (height + 0.7 + over) * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        top = max(float(values.max()), 1e-9)
        for panel, title, heads in zip(axes.flat, titles, panels.values(), strict=False):
            picture = panel.imshow(values, cmap="viridis", vmin=0, vmax=top, aspect="auto", interpolation="none")
            _outline(panel, heads)
            panel.grid(visible=False)
            panel.set_title(title)
            for axis, size in ((panel.xaxis, values.shape[1]), (panel.yaxis, values.shape[0])):
                axis.set_ticks(range(0, size, math.ceil(size / 8)))
            panel.set_xlabel("head")
            panel.set_ylabel("layer")
        for panel in axes.flat[len(panels) :]:
            panel.remove()
        figure.colorbar(picture, ax=list(axes.flat[: len(panels)]), label="retrieval score", shrink=0.8, aspect=30)
    return figure


def _title(name: str, heads: int, of: int, width: float) -> str:
    """What a panel of so many inches shows, in as many lines as it takes: labels of variants are long."""
    return "\n".join(wrap(f"{visible(name)}: {heads} of {of} heads masked", int(width / _LETTER_INCHES))) if name else ""


def score_curve(scores: Scores, masked: Mapping[str, Heads], threshold: float | None, *, narrow: bool = False) -> Figure:
    """Draw scores from the highest to the lowest, with the threshold and a tick row for each method's masked heads."""
    values = _rectangle(scores)
    _check_heads(values, masked)
    order = np.argsort(-values.ravel(), kind="stable")
    rank = np.empty(values.size, dtype=np.intp)
    rank[order] = np.arange(values.size)
    with canvas.style():
        figure = Figure(figsize=(canvas.NARROW if narrow else canvas.WIDE, 2.6 + 0.18 * len(masked)), layout="constrained")
        grid = figure.add_gridspec(2 if masked else 1, 1, height_ratios=[2.2, 0.18 * len(masked)] if masked else None)
        curve = figure.add_subplot(grid[0])
        curve.plot(np.arange(1, values.size + 1), values.ravel()[order], color=canvas.INK, linewidth=1.4)
        curve.set_ylabel("retrieval score")
        curve.set_ylim(bottom=0)
        if threshold is not None:
            above = int((values >= threshold).sum())
            curve.axhline(threshold, color=canvas.look(1).colour, linestyle="--", linewidth=1.2)
            curve.annotate(
                f"threshold {threshold:.3g}: {above} of {values.size} heads", (1, threshold), xycoords=("axes fraction", "data"),
                xytext=(-2, 3), textcoords="offset points", ha="right", va="bottom",
            )  # fmt: skip
        last = _mask_strip(figure.add_subplot(grid[1], sharex=curve), masked, rank.reshape(values.shape), narrow) if masked else curve
        last.set_xlabel("rank of the head")
        if masked:
            curve.tick_params(labelbottom=False)
    return figure


def score_distribution(scores: Scores, threshold: float | None, *, narrow: bool = False) -> Figure:
    """Draw how many heads have which score; counts on a logarithmic axis, since most heads score near 0."""
    values = _rectangle(scores)
    edges = np.linspace(0, max(float(values.max()), threshold or 0, 1e-9), _BINS + 1)
    with canvas.style():
        figure = Figure(figsize=(canvas.NARROW if narrow else canvas.WIDE, 2.4), layout="constrained")
        axes = figure.subplots()
        colour = canvas.look(0).colour
        axes.hist(values.ravel(), bins=edges.tolist(), color=(colour, 0.45), edgecolor=colour, linewidth=0.8)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=0.7)
        axes.set_xlabel("retrieval score")
        axes.set_ylabel("heads")
        axes.xaxis.set_major_locator(MaxNLocator(5 if narrow else 8, steps=canvas.STEPS))
        if threshold is not None:
            axes.axvline(threshold, color=canvas.look(1).colour, linestyle="--", linewidth=1.2)
            axes.annotate(
                f"threshold {threshold:.3g}", (threshold, 1), xycoords=("data", "axes fraction"),
                xytext=(4, -2), textcoords="offset points", ha="left", va="top",
            )  # fmt: skip
    return figure


def knockout_curves(curves: Mapping[str, KnockOut], chosen: int | None) -> Figure:
    """Draw needle accuracy and short-text perplexity against the number of heads masked, a line for each kind of mask.

    ``chosen`` is the number of heads decided on, if any. Raises ValueError without curves.
    """
    if not curves:
        raise ValueError("no knock-out curves to draw")
    with canvas.style():
        figure = Figure(figsize=(7.6, 3.3), layout="constrained")
        panels = figure.subplots(1, 2)
        for which, (axes, scale) in enumerate(zip(panels, (100, 1), strict=True)):
            for number, (name, curve) in enumerate(curves.items()):
                look = canvas.BASELINE if number == 0 else canvas.look(number - 1)
                shift = 1 + 0.03 * (number - (len(curves) - 1) / 2)  # side by side, so that intervals do not hide each other
                places = [_place(point[0]) * shift for point in curve]
                values = np.array([point[1 + which] for point in curve]) * scale
                axes.errorbar(
                    places, values[:, 0], yerr=_reach(values), color=look.colour, marker=look.marker, markersize=4,
                    linestyle=look.dashes, linewidth=1.3, elinewidth=0.8, capsize=2, label=name,
                )  # fmt: skip
            axes.set_xscale("log", base=2)
            ticks = sorted({point[0] for curve in curves.values() for point in curve})
            axes.set_xticks([_place(k) for k in ticks], [str(k) for k in ticks])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.minorticks_off()
            axes.set_xlabel("heads masked")
            if chosen is not None:
                axes.axvline(chosen, color=canvas.INK, linestyle=":", linewidth=1)
        panels[0].set_ylabel("needle accuracy, %")
        panels[0].set_ylim(-3, 103)
        panels[1].set_ylabel("perplexity of short texts, x intact")
        if max(point[2][0] for curve in curves.values() for point in curve) > 3:
            panels[1].set_yscale("log")
            panels[1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panels[1].yaxis.set_minor_formatter(NullFormatter())
            panels[1].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        if chosen is not None:
            panels[0].annotate(
                f"chosen: {chosen}", (chosen, 1), xycoords=("data", "axes fraction"), xytext=(4, -2), textcoords="offset points", va="top"
            )
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(curves))
    return figure


def before_after(before: Scores, after: Scores, threshold: float) -> Figure:
    """Draw each head's score after training against its score before; heads at ``threshold`` or more before are filled squares.

    Raises ValueError for scores of different shapes.
    """
    first, second = _rectangle(before), _rectangle(after)
    if first.shape != second.shape:
        raise ValueError(f"head scores of different models: {first.shape} and {second.shape}")
    masked = first >= threshold
    top = max(float(first.max()), float(second.max()), threshold, 1e-9) * 1.05
    with canvas.style():
        figure = Figure(figsize=(4.2, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, top], [0, top], color=canvas.INK, linewidth=0.8, linestyle="--")
        for chosen, look, name in ((masked, canvas.look(1), "masked"), (~masked, canvas.look(0), "other")):
            change = f"{(second - first)[chosen].mean():+.3f}" if chosen.any() else "none"
            axes.plot(
                first[chosen], second[chosen], linestyle="none", marker="s" if name == "masked" else "o", markersize=4,
                color=look.colour, markerfacecolor=look.colour if name == "masked" else "none",
                label=f"{name} heads ({int(chosen.sum())}): mean change {change}",
            )  # fmt: skip
        axes.axvline(threshold, color=canvas.INK, linestyle=":", linewidth=0.8)
        axes.set_xlabel("retrieval score before")
        axes.set_ylabel("retrieval score after")
        axes.set_xlim(-0.02 * top, top)
        axes.set_ylim(-0.02 * top, top)
        axes.set_aspect("equal")
        figure.legend(loc="outside upper center")
    return figure


def _place(k: int) -> float:
    """Where ``k`` heads stand on a logarithmic axis; none, at a half."""
    return k or 0.5


def _reach(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distances from each value down and up to the ends of its interval, 2 x points."""
    return np.clip(np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]), 0, None)


def _rectangle(scores: Scores) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"head scores must be finite and layers x heads, not of shape {values.shape}")
    return values


def _check_heads(values: npt.NDArray[np.float64], masked: Mapping[str, Heads]) -> None:
    for name, heads in masked.items():
        for layer, head in heads:
            if not (0 <= layer < values.shape[0] and 0 <= head < values.shape[1]):
                raise ValueError(f"{name} masks head ({layer}, {head}); the scores have {values.shape[0]} x {values.shape[1]} heads")


def _mask_strip(axes: Axes, masked: Mapping[str, Heads], rank: npt.NDArray[np.intp], narrow: bool) -> Axes:
    """A row of ticks for each method at the ranks of its masked heads; ``narrow`` leaves most of the width to them."""
    for row, heads in enumerate(masked.values()):
        places = [int(rank[head]) + 1 for head in heads]
        axes.plot(places, [row] * len(places), linestyle="none", marker="|", markersize=7, color=canvas.look(row).colour)
    names = [visible(name) for name in masked]
    axes.set_yticks(range(len(names)), [canvas.short(name) if narrow else f"masked by {name}" for name in names])
    axes.set_ylim(len(masked) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    return axes


def _outline(axes: Axes, heads: Heads) -> None:
    """A black frame with a white rim, visible on every colour of the map and on paper."""
    for layer, head in heads:
        for colour, width in (("#ffffff", 2.6), ("#000000", 1.0)):
            frame = Rectangle((head - 0.5, layer - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=width, clip_on=False, zorder=3)
            axes.add_patch(frame)


def save_scores(mean: Scores, above: Heads, threshold: float, directory: Path) -> None:
    """Draw the head map, the sorted curve and the distribution of scores [layers, heads] into a directory, ``above`` marked."""
    canvas.save(head_map(mean, {f"score {threshold:g} or more": above}), directory / "head_map", "Retrieval score of each head.")
    canvas.save(score_curve(mean, {}, threshold), directory / "score_curve", "Retrieval scores from the highest to the lowest.")
    canvas.save(score_distribution(mean, threshold), directory / "score_distribution", "How many heads have which score.")


def save_change(before: Scores, after: Scores, threshold: float, directory: Path) -> None:
    """Draw each head's score before and after into a directory."""
    canvas.save(before_after(before, after, threshold), directory / "before_after", "Each head's retrieval score before and after.")
