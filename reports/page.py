"""The report: one HTML file that needs no network and holds everything a reader wants to check.

All text is escaped; figures are inline SVG whose ink follows the light or dark theme.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template

from reports import anchors, canvas, extra_tables, extra_tasks, safe
from reports.anchors import Anchors
from reports.bootstrap import POWER
from reports.comparison import Comparison, p_value, points
from reports.contents import ReportData, Step
from reports.examples import Packed
from reports.hierarchy import Scope
from reports.plates import Plate, plates
from reports.safe import escape
from reports.tables import ByName, Line, difference, legend, length_label, lines

_CLASSES = {1: "better", 0: "", -1: "worse"}
_ANCHORED = (
    "The baseline was asked the same questions with their gold passages alone (ceiling: what it could score if context were no obstacle) "
    "and without them (floor: what guessing gets). Neither enters a mean."
)
_DEPTHS = (
    "Mean score by where the gold stands in the context: 0% is its start, 100% its end. Only examples whose gold stands at one known "
    "depth count, and none whose gold came to the end because its prompt had to lose passages."
)


def render(data: ReportData) -> str:
    """Make the page as HTML text."""
    chosen = {name: data.comparisons[name] for name in data.methods}
    drawn = plates(data)

    def shown(*names: str) -> str:
        return "\n".join(_figure(drawn[name]) for name in names if name in drawn)

    body = [
        *(f'<p class="note">{escape(note)}</p>' for note in data.notes),
        _section("Scores", _scores(chosen, data.contrasts)),
        _section("Differences", shown("forest", "contrasts")),
        _section("By option", shown(*(name for name in drawn if name.startswith("study-")))),
        _section("Difficulty of questions", "\n".join(f"<p>{escape(each)}</p>" for each in data.adjusted)),
        _section("Score by length", shown("curves")),
        _section("Ceiling and floor", _anchors(data.anchors) if data.anchors else ""),
        _section("Elsewhere", _elsewhere(data.extra)),
        _section("Success by depth", data.depths and _caption(_DEPTHS) + data.depths),
        _section("Examples", _browser(data.examples) if data.examples else ""),
        _section("Heads", shown("heads", "ranks", "distribution")),
        _section("Instructions", _instructions(data.instructions)),
        _section("Training", shown("training")),
        _section("Methods", _facts(data)),
        _section("Cost", _costs(data.steps)),
        _section("Settings", _pairs(data.settings)),
    ]
    verdict = "\n".join(map(_verdict, data.verdict))
    page = Template(_resource("page.html"))
    return safe.xml(page.substitute(title=escape(data.title), css=_resource("page.css"), verdict=verdict, body="\n".join(body)))


def _resource(name: str) -> str:
    return files("reports").joinpath(name).read_text(encoding="utf-8")


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def _verdict(said: Sequence[str]) -> str:
    """A paragraph in which the outcome stands out, with the figures; then what else there is to know, a line each."""
    outcome, *rest = said
    first = f"<p><strong>{escape(outcome)}</strong> {escape(rest[0]) if rest else ''}</p>"
    items = "".join(f"<li>{escape(each)}</li>" for each in rest[1:])
    return f"{first}<ul>{items}</ul>" if items else first


def _scores(comparisons: ByName, contrasts: ByName) -> str:
    parts = [_caption(legend(comparisons)), _table(comparisons, ("overall", "category"))]
    if contrasts:
        parts += ["<h3>Between methods</h3>", _table(contrasts, ("overall", "category"), contrast=True)]
    parts.append(_details("Every dataset and metric", _table(comparisons, ("task",))))
    parts.append(_details("p-values, detectable effects and sample sizes", _evidence({**comparisons, **contrasts})))
    return "\n".join(parts)


def _anchors(anchored: Anchors) -> str:
    rows = [[escape(cell) for cell in row] for row in anchors.rows(anchored)]
    return "\n".join([*map(_caption, (_ANCHORED, *anchored.sentences())), _rows(anchors.HEAD, rows, numbers=(1, 2, 3, 4))])


def _elsewhere(changes: extra_tasks.ByName) -> str:
    if not changes:
        return ""
    sentences = [text for name, column in changes.items() if (text := extra_tables.sentence(column, name))]
    top, whole = (extra_tables.cells(changes, top=only) for only in (True, False))
    parts = [*map(_caption, (*sentences, extra_tables.LEGEND)), _changes(changes, top)]
    if len(whole) > len(top):
        parts.append(_details("Every task of the groups", _changes(changes, whole)))
    return "\n".join(parts)


def _changes(changes: extra_tasks.ByName, found: Sequence[tuple[Sequence[str], Sequence[tuple[str, int]]]]) -> str:
    head = ["task", "metric", "baseline", *map(escape, changes), "documents", "shots", "version"]
    rows = []
    for left, right in found:
        task, metric, version, shots, documents, baseline = map(escape, left)
        values = (f'<span class="{_CLASSES[sign]}">{escape(text).replace("  ", "&emsp;")}</span>' for text, sign in right)
        rows.append([task, metric, baseline, *values, documents, shots, version])
    return _rows(head, rows, numbers=(len(head) - 3, len(head) - 2))


def _facts(data: ReportData) -> str:
    return "\n".join(f"<h3>{escape(name)}</h3>\n{_pairs(data.facts[name])}" for name in data.methods if data.facts.get(name))


def _instructions(texts: Sequence[str]) -> str:
    if not texts:
        return ""
    items = "\n".join(f"<li><div>{escape(text)}</div></li>" for text in texts)
    return f'{_caption("The first of those that the models were trained on.")}\n<ol class="instructions">\n{items}\n</ol>'


def _browser(examples: Packed) -> str:
    return Template(_resource("browser.html")).substitute(data=examples.embedded, script=_resource("page.js"))


def _costs(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    spent = sum(step.seconds for step in steps if not step.reused)
    rows = [[escape(step.name), _duration(step.seconds), "reused" if step.reused else ""] for step in steps]
    rows.append(["<strong>this command</strong>", f"<strong>{_duration(spent)}</strong>", ""])
    return _rows(["step", "time", ""], rows)


def _pairs(values: Mapping[str, object]) -> str:
    rows = [[escape(name), f"<code>{escape(_text(value))}</code>"] for name, value in values.items()]
    return f'<div class="pairs">{_rows([], rows)}</div>' if values else ""


def _table(comparisons: ByName, scopes: Sequence[Scope], *, contrast: bool = False) -> str:
    head = ["", "length", *([] if contrast else ["baseline"]), *(escape(name) for name in comparisons)]
    rows: list[list[str]] = []
    firsts: set[int] = set()
    previous: Line | None = None
    for line in lines(comparisons, scopes):
        if previous is None or previous.label != line.label:
            firsts.add(len(rows))
        baseline = [] if contrast else [points(line.comparisons[0].baseline)]
        cells = [_cell(each, contrast) for each in line.comparisons]
        rows.append([escape(line.label) if len(rows) in firsts else "", length_label(line.length), *baseline, *cells])
        previous = line
    return _rows(head, rows, firsts, numbers=(1,) if contrast else (1, 2))


def _cell(comparison: Comparison, contrast: bool) -> str:
    score = "" if contrast else f'<span class="score">{points(comparison.candidate)}</span>'
    return f'{score}<span class="{_CLASSES[comparison.claim]}">{difference(comparison)}</span>'


def _evidence(comparisons: ByName) -> str:
    head = ["", "scope", "length", "p", "corrected", "detectable", "examples", "questions", "better", "worse", "same"]
    rows: list[list[str]] = []
    firsts = []
    for name, column in comparisons.items():
        firsts.append(len(rows))
        for at, line in enumerate(lines({name: column})):
            (each,) = line.comparisons
            counts = ("", "", "") if each.always_valid else (f"{each.wins:,}", f"{each.losses:,}", f"{each.ties:,}")
            sizes = (points(each.mde), f"{each.n_examples:,}", f"{each.n_clusters:,}")
            values = (p_value(each.p), p_value(min(1.0, each.p_page)), *sizes, *counts)
            rows.append(["" if at else escape(name), escape(line.label), length_label(line.length), *values])
    caption = _caption(
        "p: how often equal models would differ so much by luck (two-sided sign-flip permutation test over questions). Corrected: the "
        "same for everything that this page says; marks go by it. Detectable: the smallest true difference, in points, that would be found "
        f"in {POWER:.0%} of such experiments. Better, worse, same: questions."
    )
    return caption + _rows(head, rows, firsts, numbers=tuple(range(2, len(head))))


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]], firsts: Iterable[int] = (), numbers: Sequence[int] = ()) -> str:
    """A table from cells that are HTML already."""
    rules = set(firsts)

    def cells(row: Sequence[str], tag: str) -> str:
        opening = (f'<{tag} class="number">' if at in numbers else f"<{tag}>" for at in range(len(row)))
        return "".join(f"{start}{cell}</{tag}>" for start, cell in zip(opening, row, strict=True))

    top = f"<thead><tr>{cells(head, 'th')}</tr></thead>\n" if head else ""
    openings = ('<tr class="first">' if at in rules else "<tr>" for at in range(len(rows)))
    body = "\n".join(f"{start}{cells(row, 'td')}</tr>" for start, row in zip(openings, rows, strict=True))
    return f'<div class="wide"><table>\n{top}<tbody>\n{body}\n</tbody>\n</table></div>'


def _figure(plate: Plate) -> str:
    """The figure twice; the page's style shows the one that fits the screen."""
    broad = f'<div class="wide broad">{canvas.to_svg(plate.draw(), plate.name, plate.description)}</div>'
    narrow = f'<div class="narrow">{canvas.to_svg(plate.draw(narrow=True), f"{plate.name}-narrow", plate.description)}</div>'
    return f'<figure>\n{broad}\n{narrow}\n<figcaption class="caption">{escape(plate.words)}</figcaption></figure>'


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def _caption(text: str) -> str:
    return f'<p class="caption">{escape(text)}</p>'


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
