"""Text that others wrote, wherever it ends: nothing in it acts."""

import csv
import io
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reports import boardfiles, checkfiles, export, safe
from reports.check import check
from reports.compare import MethodComparisons, compare_methods
from reports.contents import ReportData
from reports.leaderboard import Entry, board
from reports.page import render
from reports.policy import Policy

Make = Callable[..., pd.DataFrame]
ANY = st.text(st.characters(exclude_categories=()))
#: Clears the screen, sets the title, links, turns the direction, breaks lines, closes elements, runs as a formula, ends a row.
HOSTILE = (
    "=1+1|</script><script>window.hacked=1</script>\x1b[2J\x1b]0;t\x07\x9b31m\u202e\r\n| a | b |\n[x] & \\input{y} $z$ # ]]>\x00\ud800`*_"
)
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff\ud800-\udfff]")


@given(ANY)
def test_nothing_in_visible_text_acts_and_it_can_be_written(text: str) -> None:
    shown = safe.visible(text)
    assert not ACTS.search(shown)
    shown.encode()
    assert safe.visible(shown) == shown
    assert len(shown) >= len(text)


@given(ANY)
def test_one_line_is_one_line(text: str) -> None:
    line = safe.one_line(text)
    assert len(line.splitlines()) <= 1
    assert len(line) <= 1003


def test_control_characters_have_pictures_and_the_rest_stays() -> None:
    assert safe.visible("a\x1b[31mb\r\x00\x7f\x9b\u202e\ud800\n\té漢🙂") == "a␛[31mb␍␀␡[U+009B][U+202E]�\n\té漢🙂"
    assert safe.one_line("a\n\n  b\tc\x0b") == "a   b c␋"
    assert safe.one_line("x" * 5000).startswith("x" * 500 + " … ")


#: Zero width, a soft hyphen, an invisible sign, a filler, an override, a tag, hidden bytes in selectors.
UNSEEN = ["\u200b", "\u200d", "\u00ad", "\u2062", "\u3164", "\u202e", "\U000e0041", "\ufe01", "\U000e0110", "\u2066", "\ufeff"]


@pytest.mark.parametrize("hidden", UNSEEN)
def test_what_cannot_be_seen_is_shown_everywhere(hidden: str) -> None:
    number = f"U+{ord(hidden):04X}"
    text = f"good{hidden}bye"
    assert safe.visible(text) == safe.one_line(text) == f"good[{number}]bye"
    assert safe.markdown(text) == f"good\\[{number}\\]bye"
    assert safe.tex(text) == f"good{{[}}{number}{{]}}bye"
    assert safe.escape(text) == f"good[{number}]bye"


def test_pictures_stay_pictures_and_selectors_hide_nothing() -> None:
    assert safe.visible("❤\ufe0f and ☎\ufe0e") == "❤\ufe0f and ☎\ufe0e"
    assert safe.visible("❤\ufe0f\ufe0e\ufe0f") == "❤\ufe0f[U+FE0E][U+FE0F]"
    assert safe.visible("a \ufe0f") == "a [U+FE0F]"


@given(ANY)
def test_no_html_hides_or_acts(text: str) -> None:
    shown = safe.escape(text)
    assert not ACTS.search(shown)
    assert "<" not in shown


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", " =1", "\u00a0+1", "＝1", "＋1", "－1", "＠x"])
def test_no_cell_starts_like_a_formula(text: str) -> None:
    assert safe.cell(text) == "'" + text


@pytest.mark.parametrize("text", ["a=1", "recall", "", "1+1", "é"])
def test_other_cells_stay(text: str) -> None:
    assert safe.cell(text) == text


@given(ANY)
@example("a|b\\|<c>\n")
def test_markdown_stays_in_its_cell(text: str) -> None:
    escaped = safe.markdown(text)
    assert "\n" not in escaped
    assert not re.search(r"(?<!\\)(\\\\)*\|", escaped)
    assert "<" not in escaped


@given(ANY)
@example("..")
@example("../../etc/passwd")
@example("/etc/passwd")
@example("a\x00b")
@example("")
def test_a_file_name_stays_in_its_folder(text: str) -> None:
    name = safe.file_name(text)
    assert Path(name).name == name
    assert not name.startswith(".")
    assert len(name.encode()) < 500
    assert (Path("/folder") / name).resolve().parent == Path("/folder")


@given(ANY)
def test_xml_takes_it(text: str) -> None:
    element = ET.Element("a", {"name": safe.xml(text)})
    element.text = safe.xml(text)
    ET.fromstring(ET.tostring(element, encoding="unicode"))


def hostile(make: Make, seed: int) -> pd.DataFrame:
    """A samples table whose names and outputs are as hostile as a table can hold."""
    name = safe.encodable(HOSTILE)
    table = make(seed=seed, suite=((name, name, (name,)), ("niah", "recall", ("em",))))
    return table.assign(output=name, run=name, targets=f'["{name}"]')


@pytest.fixture
def found(make_samples: Make) -> MethodComparisons:
    return compare_methods(hostile(make_samples, 0), {HOSTILE: hostile(make_samples, 1)}, resamples=200, seed=0)


class Page(HTMLParser):
    """Collects the elements of a page, and the text of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def test_a_page(found: MethodComparisons, make_samples: Make) -> None:
    from reports import examples

    tables = {"baseline": hostile(make_samples, 0), HOSTILE: hostile(make_samples, 1)}
    packed = examples.pack(tables, {("niah", 512, "q0d0"): examples.Prompt(HOSTILE, HOSTILE, 5)})
    text = render(
        ReportData(
            title=HOSTILE, verdict=HOSTILE, methods=(HOSTILE,), comparisons=found.methods, settings={HOSTILE: HOSTILE},
            facts={HOSTILE: {HOSTILE: HOSTILE}}, notes=(HOSTILE,), examples=packed, head_scores=((0.1, 0.2),),
        )
    )  # fmt: skip
    plain = render(ReportData("t", "v", ("m",), {"m": next(iter(found.methods.values()))}, examples=packed, head_scores=((0.1, 0.2),)))
    assert text.encode()
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)
    assert "<script>window" not in text
    pages = [Page(), Page()]
    for page, source in zip(pages, (text, plain), strict=True):
        page.feed(source)
    assert pages[0].tags.count("script") == pages[1].tags.count("script")


def test_a_spreadsheet(found: MethodComparisons) -> None:
    rows = list(csv.reader(io.StringIO(export.as_csv(export.Exported(found)), newline="")))
    assert len(rows) > 5
    assert {len(row) for row in rows} == {len(rows[0])}
    for row in rows:
        for value in row:
            try:
                float(value)
            except ValueError:
                assert not re.match(r"\s*[=+\-@]", value)
    assert any(value.startswith("-0.") for row in rows for value in row), "numbers stay numbers"


def test_markdown(found: MethodComparisons) -> None:
    text = export.as_markdown(export.Exported(found, scopes=export.EVERYTHING))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert "<script" not in text
    assert not ACTS.search(text)


def test_text_and_json(found: MethodComparisons) -> None:
    exported = export.Exported(found, {"baseline": HOSTILE})
    assert not ACTS.search(export.as_text(exported))
    export.as_json(exported).encode()


def test_latex(found: MethodComparisons, tmp_path: Path) -> None:
    text = export.as_latex(export.Exported(found, {"baseline": HOSTILE}))
    assert not ACTS.search(text)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body[1:]} == {4}
    assert not any(re.match(r"\s*[\[*]", line) for line in text.splitlines()), "after a row's end these belong to the command"
    assert not any(r"\input" in line for line in text.splitlines() if not line.startswith("%"))
    if shutil.which("pdflatex"):
        (tmp_path / "t.tex").write_text("\\documentclass{article}\\usepackage{booktabs}\\begin{document}" + text + "\\end{document}")
        done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_a_check(make_samples: Make) -> None:
    report = check(hostile(make_samples, 0), hostile(make_samples, 1), Policy(), names=(HOSTILE, HOSTILE), resamples=200)
    ET.fromstring(checkfiles.junit(report))
    summary = checkfiles.markdown(report)
    assert not ACTS.search(summary)
    rows = [line for line in summary.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}


def test_a_leaderboard(make_samples: Make) -> None:
    entries = [Entry(f"{HOSTILE}{number}", hostile(make_samples, number)) for number in range(2)]
    odd = hostile(make_samples, 2).assign(suite_digest=safe.encodable(HOSTILE))
    made = board([*entries, Entry("odd", odd)], resamples=200)
    page = Page()
    page.feed(boardfiles.html(made))
    assert page.tags.count("script") == 1
    for row in csv.reader(io.StringIO(boardfiles.csv_text(made), newline="")):
        assert not any(value.startswith(("=", "+", "@")) for value in row)
    text = boardfiles.markdown(made)
    assert "<script" not in text
    assert not ACTS.search(text)
    text.encode(), boardfiles.html(made).encode(), boardfiles.csv_text(made).encode()
