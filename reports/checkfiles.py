"""A check's findings for people and build servers: terminal, Markdown, JUnit XML."""

import xml.etree.ElementTree as ET
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports.check import Report, Status
from reports.safe import markdown as escaped
from reports.safe import xml

_MARKS: Final[dict[Status, str]] = {"pass": "✓", "fail": "✗", "undecided": "?"}
_STYLES: Final[dict[Status, str]] = {"pass": "green", "fail": "red", "undecided": "yellow"}


def terminal(report: Report) -> RenderableType:
    """Make a short table, reasons, and the headline last, where a log ends."""
    table = Table(show_edge=False)
    for column in ("", "statement", "on", "found"):
        table.add_column(column)
    for each in report.findings:
        table.add_row(Text(_MARKS[each.status], style=_STYLES[each.status]), each.kind, Text(each.name), Text(each.figures))
    reasons = [Text(f"{_MARKS[each.status]} {each.name}: {each.reason}") for each in report.findings if each.reason]
    notes = [Text(f"Note: {note}") for note in report.notes]
    return Group(table, *notes, *reasons, Text(report.headline, style=_STYLES[report.status]))


def markdown(report: Report) -> str:
    """Write it for a job's summary page."""
    rows = [f"| {_MARKS[each.status]} | {each.kind} | {escaped(each.name)} | {escaped(each.figures)} |" for each in report.findings]
    reasons = [f"- {_MARKS[each.status]} **{escaped(each.name)}**: {escaped(each.reason)}" for each in report.findings if each.reason]
    notes = [f"> {escaped(note)}" for note in report.notes]
    blocks = [
        f"### {_MARKS[report.status]} {escaped(report.headline)}",
        *notes,
        "\n".join(["| | statement | on | found |", "|-|-|-|-|", *rows]),
    ]
    return "\n\n".join([*blocks, *(["\n".join(reasons)] if reasons else [])]) + "\n"


def junit(report: Report) -> str:
    """Make JUnit XML: a regression is a failure, a statement that the data do not decide an error; the exit code is a property."""
    counts = {status: sum(each.status == status for each in report.findings) for status in _MARKS}
    totals = {"tests": str(len(report.findings)), "failures": str(counts["fail"]), "errors": str(counts["undecided"]), "skipped": "0"}
    root = ET.Element("testsuites", totals)
    suite = ET.SubElement(root, "testsuite", {"name": "harness check", **totals, "time": "0"})
    kept = ET.SubElement(suite, "properties")
    for name, value in (("status", report.status), ("exit code", str(report.exit_code))):
        ET.SubElement(kept, "property", {"name": name, "value": value})
    for each in report.findings:
        case = ET.SubElement(suite, "testcase", {"classname": f"harness.check.{each.kind}", "name": xml(each.name), "time": "0"})
        if each.status != "pass":
            tag = "failure" if each.status == "fail" else "error"
            ET.SubElement(case, tag, {"message": xml(each.reason), "type": each.status}).text = xml(each.figures)
        ET.SubElement(case, "system-out").text = xml(each.figures)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
