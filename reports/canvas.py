"""How our figures look, and how they become SVG and PNG: shared by every figure module, no pyplot and no global state.

Series differ by marker and line style as well as by colour, so a grey print stays readable.
"""

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports import safe

Dashes: TypeAlias = Literal["-"] | tuple[float, tuple[float, ...]]

#: Inches. At the width of a phone's screen a narrow figure's text is as large as the page's captions.
WIDE: Final = 6.4
NARROW: Final = 3.9

#: Between ticks, times a power of ten.
STEPS: Final = (1, 2, 2.5, 5, 10)

#: Ink of axes, text and the baseline; in SVG it becomes ``currentColor`` and follows the page's light or dark theme.
INK: Final = "#1b1c1d"
_INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color", "grid.color")
_RC: Final[dict[Any, Any]] = {
    "svg.hashsalt": "retmask-harness",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a "$" in a method's name is a dollar sign
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.2,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **dict.fromkeys(_INKED, INK),
}


@dataclass(frozen=True)
class Series:
    """The look of one method in every figure of a report."""

    colour: str
    marker: str
    dashes: Dashes


BASELINE: Final = Series(INK, "o", "-")
#: Colours after Okabe and Ito 2008, with a contrast of 3:1 or more on white and on near-black.
METHODS: Final = (
    Series("#1f7ab8", "s", (0, (5, 1.5))),
    Series("#d55e00", "^", (0, (5, 1.5, 1, 1.5))),
    Series("#009e73", "D", (0, (1, 1.2))),
    Series("#b5648f", "v", (0, (8, 2, 1, 2, 1, 2))),
)


def short(name: str, letters: int = 16) -> str:
    """Shorten a name for the axis of a narrow figure, which must leave most of the width to what it shows."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def look(position: int) -> Series:
    """Give the look of the method at ``position``: from the fifth on, a colour comes back with another marker and line style."""
    colour, shape = METHODS[position % len(METHODS)], METHODS[(position + position // len(METHODS)) % len(METHODS)]
    return Series(colour.colour, shape.marker, shape.dashes)


@contextmanager
def style() -> Iterator[None]:
    """Set our rcParams while drawing; what was set before comes back."""
    with mpl.rc_context(_RC):
        yield


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Make the figure as an ``<svg>`` element to put into a page.

    Text stays text, ids start with ``name`` so that several figures can share a page, ink is ``currentColor``, and the same figure
    gives the same bytes. ``description`` is what a screen reader says.
    """
    out = io.StringIO()
    for text in figure.findobj(Text):  # matplotlib stops at names that cannot be drawn; labels of ticks are made anew and have to be clean
        text.set_text(safe.visible(text.get_text()))
    with style():
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    said = html.escape(safe.visible(description))
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{said}" ', 1)
    return svg.replace(INK, "currentColor").strip()


def save(figure: Figure, path: Path, description: str) -> tuple[Path, Path]:
    """Write ``path`` with the suffixes .svg and .png (white background, 200 dots per inch) and return both paths."""
    svg, png = path.with_name(path.name + ".svg"), path.with_name(path.name + ".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    svg.write_text(to_svg(figure, path.name, description) + "\n", encoding="utf-8")
    with style():
        figure.savefig(png, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return svg, png
