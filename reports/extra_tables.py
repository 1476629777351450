"""Extra tasks as a terminal table, Markdown, JSON and sentences (:mod:`reports.extra_tasks` compares them)."""

import json
import math
from collections.abc import Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from reports import safe
from reports.comparison import chance, p_words
from reports.extra_tasks import ByName, Change, ExtraScores, count, records

_MARKS: Final = {1: "▲", 0: "", -1: "▼"}
_STYLES: Final = {1: "green", 0: "", -1: "red"}
#: From here on four decimals would be noise.
_LARGE: Final = 1e5
LEGEND: Final = (
    "Beside the benchmark, not in its means. lm-eval's own values ± standard errors; in brackets the interval of the paired difference. "
    "The percentage is the probability of improvement: that a document's answer is better, ties counting half. "
    "▲ better, ▼ worse: the interval excludes 0, and so does a test corrected for all figures shown (perplexities have no test)."
)


def terminal(changes: ByName) -> Table:
    """Make a rich table of the tasks and groups that were asked for by name."""
    table = Table(title=Text("elsewhere: extra tasks"), caption=LEGEND, caption_justify="left")
    for head in ("task", "metric"):
        table.add_column(head)
    table.add_column("documents", justify="right")
    table.add_column("baseline")
    for name in changes:
        table.add_column(Text(name))
    for row in _rows(changes, top=True):
        first = row[0]
        cells = [Text(_cell(each), style=_STYLES[each.claim]) for each in row]
        table.add_row(Text(first.name), Text(metric(first)), f"{first.documents:,}", _value(first.baseline, first.baseline_stderr), *cells)
    return table


def scores(model: ExtraScores) -> Table:
    """Make the same of one model alone."""
    table = Table(title=Text("elsewhere: extra tasks"), caption="lm-eval's own values ± standard errors", caption_justify="left")
    for head in ("task", "metric"):
        table.add_column(head)
    table.add_column("documents", justify="right")
    table.add_column("value")
    for row in own_rows(model):
        table.add_row(*map(Text, row))
    return table


def own_rows(model: ExtraScores) -> list[tuple[str, str, str, str]]:
    """Make cells of one model's figures: task, metric, documents, value."""
    return [
        (
            each.name,
            _metric(each.metric, each.filter),
            f"{count(model.documents, each):,}",
            _value(each.value, each.stderr),
        )
        for each in model.figures
        if each.top
    ]


def markdown(changes: ByName) -> str:
    """Make a GitHub-flavoured table of what :func:`terminal` shows."""
    head = ["task", "metric", "documents", "baseline", *changes]
    body = [
        [row[0].name, metric(row[0]), f"{row[0].documents:,}", _value(row[0].baseline, row[0].baseline_stderr), *map(_cell, row)]
        for row in _rows(changes, top=True)
    ]
    lines = ["| " + " | ".join(map(safe.markdown, row)) + " |" for row in (head, *body)]
    return "\n".join([lines[0], "|" + "|".join(["-", "-", "-:", "-", *("-" for _ in changes)]) + "|", *lines[1:], "", LEGEND]) + "\n"


def json_text(changes: ByName) -> str:
    """Make :func:`records` as JSON."""
    return safe.encodable(json.dumps(records(changes), indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def cells(changes: ByName, *, top: bool) -> list[tuple[list[str], list[tuple[str, int]]]]:
    """Make a page's rows: (task, metric, version, shots, documents, baseline), then each method's text and its :attr:`Change.claim`."""
    found = []
    for row in _rows(changes, top=top):
        first = row[0]
        version = "" if first.version is None else str(first.version)
        shots = "" if first.fewshot is None else str(first.fewshot)
        head = [first.name, metric(first), version, shots, f"{first.documents:,}", _value(first.baseline, first.baseline_stderr)]
        found.append((head, [(f"{_cell(each)}{_probability(each)}", each.claim) for each in row]))
    return found


def _probability(change: Change) -> str:
    return "" if math.isnan(change.p) else f", {p_words(change.p)}"


def sentence(changes: Sequence[Change], name: str) -> str:
    """Say what changed, by the rule of the marks; "" without figures."""
    asked = [each for each in changes if each.top and not math.isnan(each.low)]
    untested = [f"{each.name} {metric(each)} ({_signed(each.delta)})" for each in changes if each.top and math.isnan(each.low)]
    if not asked and not untested:
        return ""
    signs = [each.claim for each in asked]
    groups = {
        word: [f"{each.name} {metric(each)} ({_signed(each.delta)})" for each, sign in zip(asked, signs, strict=True) if sign == wanted]
        for word, wanted in (("worse", -1), ("improved", 1), ("no detectable difference", 0))
    }
    groups["no interval"] = untested
    found = "; ".join(f"{word}: {', '.join(names)}" for word, names in groups.items() if names)
    return f"Elsewhere, {name} against the baseline: {found}."


def metric(change: Change) -> str:
    """Give lm-eval's name of the metric, with its filter if it has one."""
    return _metric(change.metric, change.filter)


def _metric(name: str, filtered: str) -> str:
    return name if filtered == "none" else f"{name} ({filtered})"


def _rows(changes: ByName, *, top: bool) -> list[tuple[Change, ...]]:
    """One for each figure that every method has."""
    columns = [{(each.name, each.metric, each.filter): each for each in column if each.top or not top} for column in changes.values()]
    return [tuple(column[key] for column in columns) for key in columns[0] if all(key in column for column in columns)] if columns else []


def _value(value: float, stderr: float | None) -> str:
    return _decimals(value) + ("" if stderr is None else f" ± {_decimals(stderr)}")


def _decimals(value: float, sign: str = "") -> str:
    """Four decimals, as lm-eval prints; four digits where a perplexity has run away."""
    return f"{value:{sign}.4f}" if abs(value) < _LARGE else f"{value:{sign}.3e}"


def _signed(value: float) -> str:
    text = "n/a" if math.isnan(value) else _decimals(value, "+")
    return "0.0000" if text in ("+0.0000", "-0.0000") else text.replace("-", "−")


def _cell(change: Change) -> str:
    interval = "" if math.isnan(change.low) else f"[{_signed(change.low)}, {_signed(change.high)}]"
    known = (_signed(change.delta), interval, chance(change.improvement), _MARKS[change.claim])
    return f"{_value(change.candidate, change.candidate_stderr)}  {' '.join(filter(None, known))}"
