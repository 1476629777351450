"""A leaderboard as HTML, Markdown, CSV and a terminal table."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports.comparison import chance, percent, points
from reports.leaderboard import Board, Column, Row, Versus
from reports.reference import published
from reports.safe import cell, escape, xml
from reports.safe import markdown as escaped
from reports.tables import length_label
from tasks.files import write_text

NOT_RERUN: Final = (
    "Published HELMET results (arXiv 2410.02694), not re-run: other prompts, judges and engines, so they have no rank. Their overall score "
    "is the mean of the categories shown here."
)
_ONE_SEED: Final = (
    "A row without a number of training seeds is one checkpoint: its place is about that checkpoint. Training again with another seed may "
    "give another place."
)
_HEAD: Final = ("rank", "model", "overall", "alike")


def caption(board: Board) -> str:
    """Say what a reader has to know about ranks and intervals."""
    return (
        "Scores are points out of 100. A rank is a range of places: 1–3 means that up to two others may be better. Rows that share a "
        "letter cannot be told apart by these questions; the gap between their scores may be luck. Read so, "
        f"{percent(board.confidence)} of such boards are right in every rank and letter of every table (all pairs tested together, by sign "
        f"flips of questions). In brackets: where the true overall score may lie ({percent(board.confidence)} interval)."
    )


def headline(column: Column) -> str:
    """Say which model is the best, as far as that is known."""
    first = [row.name for row in column.rows if row.best == 1]
    others = len(column.rows) - len(first)
    if len(column.rows) < 2:
        return "One model: there is nothing to rank it against."
    if len(first) == 1:
        return f"{first[0]} is better than {'the other' if others == 1 else f'each of the other {others}'}."
    if all(row.letters == column.rows[0].letters for row in column.rows):
        return f"These questions do not tell which of the {len(first)} is better: none is shown to be better than another."
    if not others:
        return "These questions do not tell which is the best: any of them may be, though some pairs are told apart."
    rest = f"the other {others} are not" if others > 1 else "the other is not"
    return f"These questions do not tell which of {', '.join(first)} is the best; {rest}."


def terminal(board: Board, length: int | None) -> RenderableType:
    """Make the table at one length, and what is not in it."""
    column = _at(board, length)
    table = Table(title=Text(_title(column)), caption=caption(board), caption_justify="left")
    for name in (*_HEAD, *board.categories):
        table.add_column(name, justify="left" if name in ("model", "alike") else "right")
    for row in column.rows:
        table.add_row(_rank(row), Text(_called(row)), *_cells(row))
    for cells in _references(board, column):
        table.add_row(*map(Text, cells), style="dim")
    return Group(Text(headline(column)), table, *map(Text, _notes(board, column)), *(Text(line) for line in _others(board)))


def markdown(board: Board) -> str:
    """Make one table for each length."""
    blocks = []
    for column in board.columns:
        rows = [[_rank(row), _called(row), *_cells(row)] for row in column.rows]
        rows += _references(board, column)
        lines = [" | ".join(map(escaped, row)) for row in ([*_HEAD, *board.categories], *rows)]
        rule = "|-:|-|-:|-|" + "-:|" * len(board.categories)
        blocks += [
            f"### {_title(column)}",
            escaped(headline(column)),
            "\n".join([f"| {lines[0]} |", rule, *(f"| {line} |" for line in lines[1:])]),
        ]
    return "\n\n".join([*blocks, caption(board), *_notes(board), *(f"- {escaped(line)}" for line in _others(board))]) + "\n"


def csv_text(board: Board) -> str:
    """Make a row for each model and length, unrounded fractions of 1; ``kind`` is run, published or not ranked."""
    out = io.StringIO()
    writer = csv.writer(out)
    categories = map(cell, board.categories)
    figures = ["rank_best", "rank_worst", "overall", "low", "high", *categories]
    writer.writerow(["length", "kind", "model", *figures, "reason", "letters", "seeds"])
    for column in board.columns:
        length = "mean" if column.length is None else column.length
        for row in column.rows:
            ends = ["" if math.isnan(end) else end for end in (row.low, row.high)]
            scores = ["" if each is None else each for each in row.categories]
            writer.writerow([length, "run", cell(row.name), row.best, row.worst, row.overall, *ends, *scores, "", row.letters, row.seeds])
        for each in column.references:
            scores = [each.scores.get(name, "") for name in board.categories]
            overall = each.overall(board.categories)
            reference = ["", "", "" if overall is None else overall, "", "", *scores]
            writer.writerow([length, "published", each.model, *reference, "not re-run", "", ""])
    for name, reason in board.others:
        writer.writerow(["", "not ranked", cell(name), "", "", "", "", "", *("" for _ in board.categories), cell(reason), "", ""])
    return out.getvalue()


def html(board: Board) -> str:
    """Make a page of its own: a table for each length, sortable by every column."""
    sections = []
    for at, column in enumerate(board.columns):
        hidden = "" if at == 0 else " hidden"
        said = f'<p class="headline">{escape(headline(column))}</p>'
        parts = [f"<h2>{escape(_title(column))}</h2>", said, _table(board, column), _matrix(board, column)]
        sections.append("\n".join([f'<section data-length="{at}"{hidden}>', *parts, "</section>"]))
    choice = "".join(f'<option value="{at}">{escape(_title(column))}</option>' for at, column in enumerate(board.columns))
    chooser = f'<label class="chooser">length <select id="board-length">{choice}</select></label>' if len(board.columns) > 1 else ""
    notes = [caption(board), *_notes(board)]
    others = "".join(f"<li>{escape(line)}</li>" for line in _others(board))
    read = files("reports").joinpath
    text = Template(read("leaderboard.html").read_text(encoding="utf-8")).substitute(
        css=read("page.css").read_text(encoding="utf-8"),
        script=read("leaderboard.js").read_text(encoding="utf-8"),
        chooser=chooser,
        sections="\n".join(sections),
        notes="".join(f'<p class="caption">{escape(note)}</p>' for note in notes),
        others=f"<h2>Not ranked</h2><ul>{others}</ul>" if others else "",
    )
    return xml(text)


FORMATS: Final[Mapping[str, Callable[[Board], str]]] = {"html": html, "md": markdown, "csv": csv_text}


def write(path: Path, board: Board) -> None:
    """Publish the board at ``path``; raises ValueError for a suffix that is none of :data:`FORMATS`."""
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path} does not say which format to write; end it in one of {', '.join('.' + each for each in FORMATS)}")
    write_text(path, FORMATS[suffix](board))


def _at(board: Board, length: int | None) -> Column:
    for column in board.columns:
        if column.length == length:
            return column
    raise ValueError(f"no scores at length {length}; there are {', '.join(length_label(column.length) for column in board.columns)}")


def _table(board: Board, column: Column) -> str:
    heads = [*_HEAD, *board.categories]
    top = "".join(
        f'<th scope="col"{_sorted(name)}{_class(name)}><button type="button" class="sort">{escape(name)}</button></th>' for name in heads
    )
    body = []
    left, right = _ends(column)
    for row in column.rows:
        overall = f'{_bar(row, left, right)}{points(row.overall)} <span class="range">{escape(_interval(row))}</span>'
        first = [(row.best + row.worst / 1000, _rank(row)), (row.name, escape(_called(row)))]
        values = [*first, (row.overall, overall), (row.letters, row.letters)]
        body.append(_row([*values, *((each, _score(each)) for each in row.categories)]))
    for each, cells in zip(column.references, _references(board, column), strict=True):
        scores = [each.scores.get(name) for name in board.categories]
        keys = ["", each.model, each.overall(board.categories), "", *scores]
        body.append(_row(list(zip(keys, map(escape, cells), strict=True)), "published"))
    rows = "\n".join(body)
    said = f"Dots and bars: overall scores and their intervals, drawn from {points(left)} to {points(right)} points."
    table = f'<div class="wide"><table class="board"><thead><tr>{top}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
    return f'{table}<p class="caption">{said}</p>'


def _ends(column: Column) -> tuple[float, float]:
    """Where the drawing of a column's intervals begins and ends, in whole points."""
    known = [end for row in column.rows for end in (row.low, row.overall, row.high) if not math.isnan(end)]
    left, right = math.floor(100 * min(known)) / 100, math.ceil(100 * max(known)) / 100
    return (left, right) if right > left else (left - 0.01, right + 0.01)


def _bar(row: Row, left: float, right: float) -> str:
    """The interval as a bar and the score as a dot; the numbers beside them say the same."""
    low, at, high = (
        100 * ((row.overall if math.isnan(each) else each) - left) / (right - left) for each in (row.low, row.overall, row.high)
    )
    return f'<span class="whisker" aria-hidden="true" style="--low:{low:.1f}%;--at:{at:.1f}%;--size:{high - low:.1f}%"></span>'


def _matrix(board: Board, column: Column) -> str:
    """All pairs: the row's overall score minus the column's."""
    names = [row.name for row in column.rows]
    if len(names) < 2:
        return ""
    found = {(each.one, each.other): each for each in column.pairs}
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in names[1:])
    body = []
    for at, name in enumerate(names[:-1]):
        cells = ["<td></td>"] * at + [_pair(found[name, other]) for other in names[at + 1 :]]
        body.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    equal = "" if math.isnan(board.margin) else f" = : shown to be equal within {points(board.margin)} points."
    said = (
        "Row minus column, in points; then how often the row does better on a question (equal scores count half, so 50% is no "
        f"difference). ▲: the row is better. No mark: these questions do not tell.{equal}"
    )
    table = f'<div class="wide"><table><thead><tr><th></th>{top}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    return f'<details><summary>Every two models</summary><p class="caption">{escape(said)}</p>{table}</details>'


def _pair(each: Versus) -> str:
    mark = " ▲" if each.claim else " =" if each.equivalent else ""
    gap = f'{points(each.delta, signed=True)}{mark} <span class="range">{chance(each.improvement)}</span>'
    return f'<td class="number{" better" if each.claim else ""}">{gap}</td>'


def _row(cells: list[tuple[object, str]], kind: str = "") -> str:
    """A row from sort keys and HTML."""
    parts = []
    for at, (key, content) in enumerate(cells):
        tag = 'th scope="row"' if at == 1 else "td"
        value = "" if key is None else escape(str(key))
        parts.append(f'<{tag}{_class(_HEAD[at] if at < len(_HEAD) else "")} data-sort="{value}">{content}</{tag[:2]}>')
    return f"<tr{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{''.join(parts)}</tr>"


def _class(name: str) -> str:
    return "" if name in ("model", "alike") else ' class="number"'


def _sorted(name: str) -> str:
    return ' aria-sort="descending"' if name == "overall" else ""


def _references(board: Board, column: Column) -> list[list[str]]:
    return [
        [
            "–",
            f"{each.model} (published)",
            _score(each.overall(board.categories)),
            "",
            *(_score(each.scores.get(name)) for name in board.categories),
        ]
        for each in column.references
    ]


def _notes(board: Board, *columns: Column) -> list[str]:
    """About the published rows of these columns, or of all; and where there are none."""
    chosen = columns or board.columns
    bare = [_title(column) for column in chosen if column.length in board.without_reference]
    known = ", ".join(length_label(length) for length in sorted({each.length for each in published()}))
    missing = f"No published HELMET results here for {', '.join(bare)}: there are some for {known} tokens each."
    one = [_ONE_SEED] if any(row.seeds == 1 for column in chosen for row in column.rows) else []
    return [*board.notes, *one, *([NOT_RERUN] if any(column.references for column in chosen) else []), *([missing] if bare else [])]


def _others(board: Board) -> list[str]:
    return [f"{name}: not ranked with these, {reason}" for name, reason in board.others]


def _title(column: Column) -> str:
    return "mean over lengths" if column.length is None else f"{length_label(column.length)} tokens"


def _cells(row: Row) -> list[str]:
    return [_overall(row), row.letters, *(_score(each) for each in row.categories)]


def _called(row: Row) -> str:
    return row.name if row.seeds == 1 else f"{row.name} (mean of {row.seeds} training seeds)"


def _rank(row: Row) -> str:
    return str(row.best) if row.best == row.worst else f"{row.best}–{row.worst}"


def _overall(row: Row) -> str:
    return f"{points(row.overall)} {_interval(row)}"


def _interval(row: Row) -> str:
    return f"[{points(row.low)}, {points(row.high)}]"


def _score(value: float | None) -> str:
    return "" if value is None else points(value)
