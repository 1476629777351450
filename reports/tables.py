"""Comparisons as a terminal table, Markdown, CSV and JSON.

    category   length   baseline   retmask
    overall       512       61.2   64.0  +2.8 [+0.9, +4.7] 61% ▲
    overall        1K       48.7   48.9  +0.2 [−1.6, +2.1] 51%
    overall      mean       55.0   56.5  +1.5 [+0.2, +2.8] 56% ▲

Scores are points out of 100 where people read them (terminal, Markdown), fractions of 1 where programs do (CSV, JSON). ▲ and ▼ mark
what is claimed, by the rule of the verdict. The percentage is the probability of improvement.
Every function takes the comparisons by column name: a method's name, or "a minus b" for a contrast.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TypeAlias

import pandas as pd
from rich.table import Table
from rich.text import Text

from reports import categories, safe
from reports.comparison import Comparison, chance, percent, points
from reports.hierarchy import Scope

ByName: TypeAlias = Mapping[str, Sequence[Comparison]]
Value: TypeAlias = str | int | float | None

_MARKS = {1: "▲", 0: "", -1: "▼"}
_STYLES = {1: "green", 0: "", -1: "red"}
_MOST_BESIDE = 5
"""Methods whose columns stand beside each other on a terminal and can still be read."""
_COLUMNS = ("name", *(field.name for field in fields(Comparison)), "improvement")


@dataclass(frozen=True)
class Line:
    """One line of a table: a category (or dataset-metric, or the overall score) at one length."""

    label: str
    length: int | None
    comparisons: tuple[Comparison, ...]
    """One for each column, in order."""


def lines(comparisons: ByName, scopes: Sequence[Scope] = ("overall", "category")) -> list[Line]:
    """List the table's lines: lengths ascending, then their mean where there are several; columns in the order of ``comparisons``."""
    by_place = [{_place(each): each for each in column if each.scope in scopes} for column in comparisons.values()]
    if not by_place:
        return []
    several = len({each.length for each in by_place[0].values() if each.length is not None}) > 1
    places = [place for place in by_place[0] if (several or place[-1] is not None) and all(place in column for column in by_place)]
    rank = {place[:-1]: position for position, place in reversed(list(enumerate(places)))}
    places.sort(key=lambda place: (rank[place[:-1]], math.inf if place[-1] is None else place[-1]))
    return [Line(label(by_place[0][place]), place[-1], tuple(column[place] for column in by_place)) for place in places]


def legend(comparisons: ByName) -> str:
    """Say how to read a table of these comparisons, for people who know no statistics."""
    each = next((each for column in comparisons.values() for each in column), None)
    confidence = 0.95 if each is None else each.confidence
    counted = each is not None and not each.always_valid
    chances = "Percent: how often it does better on a question (equal scores count half, so 50% is no change). " if counted else ""
    return (
        "Scores and differences are points out of 100. In brackets: where the true difference may lie "
        f"({percent(confidence)} interval). {chances}▲ better, ▼ worse: claimed, by a test corrected for everything shown; no mark: not "
        f"shown either way. All marks of a table together are wrong in at most {percent(1 - confidence)} of tables of equal methods."
        f"{_overall(comparisons)}"
    )


def _overall(comparisons: ByName) -> str:
    """A sentence about which categories the overall score is the mean of, where LongQA or summaries are among them."""
    cells = [(each.category, each.length) for column in comparisons.values() for each in column if each.scope == "category"]
    frame = pd.DataFrame([cell for cell in cells if cell[1] is not None], columns=["category", "length"])
    said = categories.said(set(categories.counted(frame)["category"]))
    return f" {said[0].upper()}{said[1:]}." if said else ""


def label(comparison: Comparison) -> str:
    """Give the short name of what a comparison is about: "overall", "recall", "niah ruler_recall"."""
    if comparison.scope == "task":
        return f"{comparison.task} {comparison.metric}"
    return comparison.category or "overall"


def length_label(length: int | None) -> str:
    """Write the length in tokens: 512 is "512", 8192 is "8K", None is "mean"."""
    if length is None:
        return "mean"
    return f"{length // 1024}K" if length % 1024 == 0 else str(length)


def difference(comparison: Comparison) -> str:
    """Write the difference, interval, probability of improvement and mark: "+2.8 [+0.9, +4.7] 61% ▲"."""
    interval = f"[{points(comparison.low, signed=True)}, {points(comparison.high, signed=True)}]"
    parts = (points(comparison.delta, signed=True), interval, chance(comparison.improvement), _MARKS[comparison.claim])
    return " ".join(part for part in parts if part)


def terminal(comparisons: ByName, *, scopes: Sequence[Scope] = ("overall", "category"), title: str = "", contrast: bool = False) -> Table:
    """Make a rich table. With ``contrast`` the columns have different baselines, so only differences are shown.

    Such a table stands below one of the methods, whose legend holds for it as well. More methods than fit beside each other stand below.
    """
    caption = None if contrast else legend(comparisons)
    table = Table(title=Text(title) if title else None, caption=caption, caption_justify="left")
    table.add_column()
    table.add_column("length", justify="right")
    if not contrast:
        table.add_column("baseline", justify="right")
    if len(comparisons) > _MOST_BESIDE:
        return _stacked(table, comparisons, scopes, contrast)
    for name in comparisons:
        table.add_column(Text(name))
    found = lines(comparisons, scopes)
    for line, following in zip(found, [*found[1:], None], strict=True):
        baseline = [] if contrast else [Text(points(line.comparisons[0].baseline))]
        cells = [Text(_cell(each, contrast), style=_STYLES[each.claim]) for each in line.comparisons]
        last = following is not None and following.label != line.label
        table.add_row(Text(line.label), length_label(line.length), *baseline, *cells, end_section=last)
    return table


def _stacked(table: Table, comparisons: ByName, scopes: Sequence[Scope], contrast: bool) -> Table:
    """A row for each method."""
    table.add_column()
    table.add_column(Text("difference [interval]" if contrast else "score, difference [interval]"))
    for line in lines(comparisons, scopes):
        for name, each in zip(comparisons, line.comparisons, strict=True):
            where = [line.label, length_label(line.length), *([] if contrast else [points(each.baseline)])]
            cell = Text(_cell(each, contrast), style=_STYLES[each.claim])
            first, last = each is line.comparisons[0], each is line.comparisons[-1]
            table.add_row(*(Text(part if first else "") for part in where), Text(name), cell, end_section=last)
    return table


def markdown(comparisons: ByName, *, scopes: Sequence[Scope] = ("overall", "category"), contrast: bool = False) -> str:
    """Make a GitHub-flavoured table, with the same columns, and the same legend, as :func:`terminal`."""
    head = ["", "length", *([] if contrast else ["baseline"]), *comparisons]
    align = ["-", "-:", *([] if contrast else ["-:"]), *("-" for _ in comparisons)]
    body = [
        [
            line.label,
            length_label(line.length),
            *([] if contrast else [points(line.comparisons[0].baseline)]),
            *(_cell(each, contrast) for each in line.comparisons),
        ]
        for line in lines(comparisons, scopes)
    ]
    rows = ["| " + " | ".join(map(safe.markdown, row)) + " |" for row in (head, *body)]
    below = [] if contrast else ["", legend(comparisons)]
    return "\n".join([rows[0], "|" + "|".join(align) + "|", *rows[1:], *below]) + "\n"


def latex(comparisons: ByName, *, scopes: Sequence[Scope] = ("overall", "category")) -> str:
    """Make a ``tabular`` for the booktabs package: scores, and differences with intervals, bold where a difference is claimed."""
    head = ["", "length", "baseline", *(f"\\multicolumn{{2}}{{c}}{{{safe.tex(name)}}}" for name in comparisons)]
    body: list[str] = []
    previous = ""
    for line in lines(comparisons, scopes):
        if body and line.label != previous:
            body.append("\\addlinespace")
        cells = [part for each in line.comparisons for part in (_tex_number(points(each.candidate)), _tex_difference(each))]
        name = safe.tex(line.label) if line.label != previous else ""
        body.append(" & ".join([name, length_label(line.length), _tex_number(points(line.comparisons[0].baseline)), *cells]) + r" \\")
        previous = line.label
    top = [f"\\begin{{tabular}}{{lrr{'rl' * len(comparisons)}}}", "\\toprule", " & ".join(head) + r" \\", "\\midrule"]
    return "\n".join([*top, *body, "\\bottomrule", "\\end{tabular}"]) + "\n"


def records(comparisons: ByName) -> list[dict[str, Value]]:
    """Make every comparison as a flat record, ``name`` first and the probability of improvement last; unknown figures are None."""
    return [
        {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in {"name": name, **asdict(each), "improvement": each.improvement}.items()
        }
        for name, column in comparisons.items()
        for each in column
    ]


def json_text(comparisons: ByName) -> str:
    """Make :func:`records` as a JSON list; valid JSON, without NaN."""
    return safe.encodable(json.dumps(records(comparisons), indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def csv_text(comparisons: ByName) -> str:
    """Make :func:`records` as CSV (RFC 4180). Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS)
    writer.writeheader()
    for record in records(comparisons):
        writer.writerow({key: safe.cell(value) if isinstance(value, str) else value for key, value in record.items()})
    return out.getvalue()


def _place(comparison: Comparison) -> tuple[str, str | None, str | None, str | None, int | None]:
    return comparison.scope, comparison.category, comparison.task, comparison.metric, comparison.length


def _cell(comparison: Comparison, contrast: bool) -> str:
    return difference(comparison) if contrast else f"{points(comparison.candidate)}  {difference(comparison)}"


def _tex_number(text: str) -> str:
    return text if text == "n/a" else f"${text.replace('−', '-')}$"


def _tex_difference(comparison: Comparison) -> str:
    low, high = (points(end, signed=True).replace("−", "-") for end in (comparison.low, comparison.high))
    delta = points(comparison.delta, signed=True).replace("−", "-")
    strong = f"$\\mathbf{{{delta}}}$" if comparison.claim else f"${delta}$"
    return f"{strong} {{\\scriptsize[${low}$, ${high}$]}}" if "n/a" not in (low, high) else strong
