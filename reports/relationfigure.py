"""The figure of gain against sparsity."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from reports import canvas
from reports.relation import Line, Point
from reports.safe import visible


def gain_figure(points: Sequence[Point], fitted: Line | None, label: str, published: Sequence[Point] = ()) -> Figure:
    """Draw each run's gain, in points, against its sparsity, with 95% reaches of both, the line and its prediction band.

    ``published`` points are hollow, and the line does not know of them.
    """
    with canvas.style():
        figure = Figure(figsize=(canvas.WIDE, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=canvas.INK, linewidth=0.8)
        xs = [point.x for point in (*points, *published)]
        if fitted is not None:
            grid = np.linspace(min(xs), max(xs), 60)
            band = np.array([fitted.predict(float(x)) for x in grid])
            axes.plot(grid, band[:, 0], color=canvas.look(0).colour, linewidth=1.2, label="line over the runs")
            inside = (grid >= min(point.x for point in points)) & (grid <= max(point.x for point in points))
            axes.fill_between(
                grid, band[:, 1], band[:, 2], where=inside.tolist(), color=canvas.look(0).colour, alpha=0.12, linewidth=0,
                label="95% of further runs",
            )  # fmt: skip
        axes.errorbar(
            [point.x for point in points], [point.y for point in points],
            xerr=[1.96 * point.x_error for point in points], yerr=[1.96 * point.y_error for point in points],
            linestyle="none", marker="o", markersize=4, color=canvas.look(0).colour, elinewidth=0.8, label="runs, 95% intervals",
        )  # fmt: skip
        if published:
            axes.plot(
                [point.x for point in published], [point.y for point in published], linestyle="none", marker="s", markersize=5,
                markerfacecolor="none", color=canvas.look(1).colour, label="published, not run again",
            )  # fmt: skip
            for point in published:
                axes.annotate(visible(point.name), (point.x, point.y), xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set_xlabel(label)
        axes.set_ylabel("gain, points")
        figure.legend(loc="outside upper center", ncols=2)
    return figure
