"""Pieces of a page: tables, figures, sections. What they take as HTML is HTML already; what they take as text they escape."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from reports import canvas
from reports.plates import Plate
from reports.safe import escape


def section(title: str, content: str) -> str:
    """Make a section that can be linked to; "" if it has no content."""
    if not content:
        return ""
    return f'<section id="{anchor(title)}">\n<h2>{escape(title)}</h2>\n{content}\n</section>'


def anchor(title: str) -> str:
    """Give the name that a section of this title has in addresses."""
    return "section-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def contents(titles: Sequence[str]) -> str:
    """Make the table of contents of a page with these sections; "" where there are few."""
    if len(titles) < 3:
        return ""
    items = "".join(f'<li><a href="#{anchor(title)}">{escape(title)}</a></li>' for title in titles)
    return f'<nav class="contents" aria-label="Contents"><ul>{items}</ul></nav>'


def rows(head: Sequence[str], cells: Sequence[Sequence[str]], firsts: Iterable[int] = (), numbers: Sequence[int] = ()) -> str:
    """Make a table from cells that are HTML already: a rule above the rows ``firsts``, the columns ``numbers`` to the right."""
    rules = set(firsts)

    def line(row: Sequence[str], tag: str) -> str:
        opening = (f'<{tag} class="number">' if at in numbers else f"<{tag}>" for at in range(len(row)))
        return "".join(f"{start}{cell}</{tag}>" for start, cell in zip(opening, row, strict=True))

    top = f"<thead><tr>{line(head, 'th')}</tr></thead>\n" if head else ""
    openings = ('<tr class="first">' if at in rules else "<tr>" for at in range(len(cells)))
    body = "\n".join(f"{start}{line(row, 'td')}</tr>" for start, row in zip(openings, cells, strict=True))
    return f'<div class="wide"><table>\n{top}<tbody>\n{body}\n</tbody>\n</table></div>'


def pairs(values: Mapping[str, object]) -> str:
    """Make a table of names and values; "" without any."""
    cells = [[escape(name), f"<code>{escape(_text(value))}</code>"] for name, value in values.items()]
    return f'<div class="pairs">{rows([], cells)}</div>' if values else ""


def figure(plate: Plate) -> str:
    """Make the figure twice; the page's style shows the one that fits the screen."""
    broad = f'<div class="wide broad">{canvas.to_svg(plate.draw(), plate.name, plate.description)}</div>'
    narrow = f'<div class="narrow">{canvas.to_svg(plate.draw(narrow=True), f"{plate.name}-narrow", plate.description)}</div>'
    return f'<figure>\n{broad}\n{narrow}\n<figcaption class="caption">{escape(plate.words)}</figcaption></figure>'


def details(summary: str, content: str) -> str:
    """Make a part that opens when its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def caption(text: str) -> str:
    """Make a quiet paragraph."""
    return f'<p class="caption">{escape(text)}</p>'


def duration(seconds: float) -> str:
    """Write a time: "3.2 s", "4 min 05 s", "1 h 02 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
