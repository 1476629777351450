"""The report: one HTML file that needs no network and holds everything a reader wants to check.

All text is escaped; figures are inline SVG whose ink follows the light or dark theme.
"""

from collections.abc import Sequence
from importlib.resources import files
from string import Template

from reports import anchors, estimates, extra_tables, extra_tasks, safe
from reports.anchors import Anchors
from reports.bootstrap import POWER
from reports.comparison import Comparison, p_value, percent, points
from reports.contents import ReportData, Step
from reports.estimates import Score
from reports.examples import Packed
from reports.glossary import listed, term
from reports.hierarchy import Scope
from reports.markup import caption, contents, details, duration, figure, pairs, rows, section
from reports.plates import plates
from reports.safe import escape
from reports.tables import ByName, Line, difference, legend, length_label, lines

_MANY_VERDICTS = 8
"""Beyond so many verdicts, each shows its outcome and figures, and the rest when it is opened: the tables are to be in sight."""
_CLASSES = {1: "better", 0: "", -1: "worse"}
_ANCHORED = (
    "The {model} was asked the same questions with their gold passages alone (ceiling: what it could score if context were no obstacle) "
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
        return "\n".join(figure(drawn[name]) for name in names if name in drawn)

    sections = [
        ("Scores", _scores(chosen, data.contrasts) if chosen else _own_scores(data.scores)),
        ("Differences", shown("forest", "contrasts")),
        ("By option", shown(*(name for name in drawn if name.startswith("study-")))),
        ("Difficulty of questions", "\n".join(f"<p>{escape(each)}</p>" for each in data.adjusted)),
        ("Score by length", shown("curves")),
        ("Ceiling and floor", _anchors(data.anchors, "baseline" if chosen else "model") if data.anchors else ""),
        ("Elsewhere", _elsewhere(data.extra) if chosen else _extra_rows(data.extra_rows)),
        ("Success by depth", data.depths and caption(_DEPTHS) + data.depths),
        ("Examples", _browser(data.examples) if data.examples else ""),
        ("Heads", (_unmapped(data.unmapped) if data.head_scores is not None else "") + shown("heads", "ranks", "distribution")),
        ("Instructions", _instructions(data)),
        ("Training", shown("training")),
        ("Methods", _facts(data)),
        ("Cost", _costs(data.steps)),
        ("Settings", pairs(data.settings)),
        ("Words", listed(_named(data))),
    ]
    filled = [(title, content) for title, content in sections if content]
    notes = [*data.notes, *(f"{name}: {said}" for name in data.methods if (said := data.facts.get(name, {}).get("warnings")))]
    body = [contents([title for title, _ in filled]), *(section(title, content) for title, content in filled)]
    page = Template(_resource("page.html")).substitute(
        title=escape(data.title),
        css=_resource("page.css"),
        verdict="\n".join(_verdict(said, folded=len(data.verdict) > _MANY_VERDICTS) for said in data.verdict),
        notes="\n".join(f'<p class="note">{escape(note)}</p>' for note in notes),
        body="\n".join(body),
    )
    return safe.xml(page)


def _resource(name: str) -> str:
    return files("reports").joinpath(name).read_text(encoding="utf-8")


def _verdict(said: Sequence[str], *, folded: bool) -> str:
    """A paragraph in which the outcome stands out, with the figures; then what else there is to know, a line each, ``folded`` or not."""
    outcome, *rest = said
    first = f"<p><strong>{escape(outcome)}</strong> {escape(rest[0]) if rest else ''}</p>"
    items = "".join(f"<li>{escape(each)}</li>" for each in rest[1:])
    if not items:
        return first
    return first + (details("What else there is to know", f"<ul>{items}</ul>") if folded else f"<ul>{items}</ul>")


def _scores(comparisons: ByName, contrasts: ByName) -> str:
    parts = [caption(legend(comparisons)), _table(comparisons, ("overall", "category"))]
    if contrasts:
        parts += ["<h3>Between methods</h3>", _table(contrasts, ("overall", "category"), contrast=True)]
    parts.append(details("Every dataset and metric", _table(comparisons, ("task",))))
    parts.append(details("p-values, detectable effects and sample sizes", _evidence({**comparisons, **contrasts})))
    return "\n".join(parts)


def _own_scores(scores: Sequence[Score]) -> str:
    """The scores of one evaluation, with nothing to compare them with."""
    confidence = percent(next((each.confidence for each in scores), 0.95))
    said = (
        f"Points out of 100. In brackets: where the true score may lie ({confidence} interval). Whether two evaluations differ is not "
        "to be read off two such intervals; a comparison pairs their questions (harness compare)."
    )
    return "\n".join(
        [
            caption(said),
            _score_table(estimates.lines(scores)),
            details("Every dataset and metric", _score_table(estimates.lines(scores, ("task",)))),
        ]
    )


def _score_table(lines_: Sequence[Score]) -> str:
    cells: list[list[str]] = []
    firsts: list[int] = []
    for at, each in enumerate(lines_):
        first = at == 0 or lines_[at - 1].label != each.label
        firsts += [at] if first else []
        sizes = (f"{each.n_examples:,}", f"{each.n_questions:,}")
        cells.append([term(each.label) if first else "", length_label(each.length), points(each.score), each.interval, *sizes])
    return rows(["", "length", "score", "interval", "examples", "questions"], cells, firsts, numbers=(1, 2, 4, 5))


def _named(data: ReportData) -> list[str]:
    """Categories and metrics of the tables."""
    found: list[Comparison | Score] = [*(each for column in data.comparisons.values() for each in column), *data.scores]
    return ["overall", *(each.category for each in found if each.category), *(each.metric for each in found if each.metric)]


def _anchors(anchored: Anchors, model: str) -> str:
    cells: list[list[str]] = []
    firsts: list[int] = []
    previous = ""
    for name, *values in anchors.rows(anchored):
        firsts += [len(cells)] if name != previous else []
        cells.append([term(name.strip()) if name != previous else "", *map(escape, values)])
        previous = name
    said = map(caption, (_ANCHORED.format(model=model), *anchored.sentences()))
    return "\n".join([*said, rows(anchors.HEAD, cells, firsts, numbers=(1, 2, 3, 4))])


def _elsewhere(changes: extra_tasks.ByName) -> str:
    if not changes:
        return ""
    sentences = [text for name, column in changes.items() if (text := extra_tables.sentence(column, name))]
    top, whole = (extra_tables.cells(changes, top=only) for only in (True, False))
    parts = [*map(caption, (*sentences, extra_tables.LEGEND)), _changes(changes, top)]
    if len(whole) > len(top):
        parts.append(details("Every task of the groups", _changes(changes, whole)))
    return "\n".join(parts)


def _extra_rows(found: Sequence[Sequence[str]]) -> str:
    cells = [list(map(escape, row)) for row in found]
    return rows(["task", "metric", "documents", "value"], cells, numbers=(2,)) if cells else ""


def _changes(changes: extra_tasks.ByName, found: Sequence[tuple[Sequence[str], Sequence[tuple[str, int]]]]) -> str:
    head = ["task", "metric", "baseline", *map(escape, changes), "documents", "shots", "version"]
    cells = []
    for left, right in found:
        task, metric, version, shots, documents, baseline = map(escape, left)
        values = (f'<span class="{_CLASSES[sign]}">{escape(text).replace("  ", "&emsp;")}</span>' for text, sign in right)
        cells.append([task, metric, baseline, *values, documents, shots, version])
    return rows(head, cells, numbers=(len(head) - 3, len(head) - 2))


def _facts(data: ReportData) -> str:
    return "\n".join(f"<h3>{escape(name)}</h3>\n{pairs(data.facts[name])}" for name in data.methods if data.facts.get(name))


def _unmapped(methods: Sequence[str]) -> str:
    if not methods:
        return ""
    return caption(f"Not on these maps, because they mask by other scores, or no heads: {', '.join(methods)}.")


def _instructions(data: ReportData) -> str:
    if not data.instructions:
        return ""
    apart = f" but {', '.join(data.other_instructions)}" if data.other_instructions else ""
    parts = [_listed_instructions(f"The first of those that the models{apart} were trained on.", data.instructions)]
    parts += [_listed_instructions(f"Of {name}:", texts) for name, texts in data.other_instructions.items()]
    return "\n".join(parts)


def _listed_instructions(said: str, texts: Sequence[str]) -> str:
    items = "\n".join(f"<li><div>{escape(text)}</div></li>" for text in texts)
    return f'{caption(said)}\n<ol class="instructions">\n{items}\n</ol>'


def _browser(examples: Packed) -> str:
    return Template(_resource("browser.html")).substitute(data=examples.embedded, script=_resource("page.js"))


def _costs(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    spent = sum(step.seconds for step in steps if not step.reused)
    cells = [[escape(step.name), duration(step.seconds), "reused" if step.reused else ""] for step in steps]
    cells.append(["<strong>this command</strong>", f"<strong>{duration(spent)}</strong>", ""])
    return rows(["step", "time", ""], cells)


def _table(comparisons: ByName, scopes: Sequence[Scope], *, contrast: bool = False) -> str:
    head = ["", "length", *([] if contrast else ["baseline"]), *(escape(name) for name in comparisons)]
    cells: list[list[str]] = []
    firsts: set[int] = set()
    previous: Line | None = None
    for line in lines(comparisons, scopes):
        if previous is None or previous.label != line.label:
            firsts.add(len(cells))
        baseline = [] if contrast else [points(line.comparisons[0].baseline)]
        values = [_cell(each, contrast) for each in line.comparisons]
        cells.append([term(line.label) if len(cells) in firsts else "", length_label(line.length), *baseline, *values])
        previous = line
    return rows(head, cells, firsts, numbers=(1,) if contrast else (1, 2))


def _cell(comparison: Comparison, contrast: bool) -> str:
    score = "" if contrast else f'<span class="score">{points(comparison.candidate)}</span>'
    return f'{score}<span class="{_CLASSES[comparison.claim]}">{difference(comparison)}</span>'


def _evidence(comparisons: ByName) -> str:
    head = ["", "scope", "length", "p", "corrected", "detectable", "examples", "questions", "better", "worse", "same"]
    cells: list[list[str]] = []
    firsts = []
    for name, column in comparisons.items():
        firsts.append(len(cells))
        for at, line in enumerate(lines({name: column})):
            (each,) = line.comparisons
            counts = ("", "", "") if each.always_valid else (f"{each.wins:,}", f"{each.losses:,}", f"{each.ties:,}")
            sizes = (points(each.mde), f"{each.n_examples:,}", f"{each.n_clusters:,}")
            values = (p_value(each.p), p_value(min(1.0, each.p_page)), *sizes, *counts)
            cells.append(["" if at else escape(name), term(line.label), length_label(line.length), *values])
    said = caption(
        "p: how often equal models would differ so much by luck (two-sided sign-flip permutation test over questions). Corrected: the "
        "same for everything that this page says; marks go by it. Detectable: the smallest true difference, in points, that would be found "
        f"in {POWER:.0%} of such experiments. Better, worse, same: questions."
    )
    return said + rows(head, cells, firsts, numbers=tuple(range(2, len(head))))
