"""The table of protections fits the code and the documentation. Taking them out, one by one, is `make test-unprotected`."""

import ast
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that tests.protections is found however pytest was started

from tests.protections import PROTECTIONS, Protection
from tests.unprotected import Outcome, TableError, chosen, run_tests, verdict, without

ROOT = Path(__file__).parents[1]


def rows(file: str) -> list[tuple[str, str]]:
    """Promise and backing tests, of each row of the table that has tests."""
    text = (ROOT / "docs" / file).read_text()
    table = text[re.search(r"^\|.* test.*\|$", text, re.MULTILINE).end() :].split("\n\n", 1)[0]  # type: ignore[union-attr]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.strip().splitlines()[1:]]
    return [(cells[0], cells[-1]) for cells in found]


ROWS = [*rows("reliability.md"), *rows("security.md")]


@pytest.mark.parametrize("entry", PROTECTIONS, ids=lambda each: f"{each.promise.split()[-1]}: {each.what}")
def test_every_protection_can_be_taken_out(entry: Protection) -> None:
    text = (ROOT / entry.file).read_text()
    assert without(entry, text) != text
    if entry.file.endswith(".py"):
        ast.parse(without(entry, text), entry.file)
    file, _, test = entry.test.partition("::")
    assert f"\ndef {test.partition('[')[0]}(" in (ROOT / file).read_text(), f"{file} has no such test"


def test_every_promise_of_the_documentation_has_protections_and_the_other_way_round() -> None:
    promises = {each.promise for each in PROTECTIONS}
    assert len(ROWS) == len(promises)
    for row, _ in ROWS:
        assert [each for each in promises if row.startswith(each)], row


def found(name: str) -> list[Path]:
    """The test files of that name: anywhere below tests/harness, in another folder that the name begins with, or all of a folder."""
    if name.endswith("/"):
        return list((ROOT / name).glob("test_*.py"))
    paths = [ROOT / name] if "/" in name else [path for path in ROOT.glob("tests/**/*.py") if path.name == name]
    assert all(path.is_file() for path in paths), name
    assert len(paths) == 1, name
    return paths


@pytest.mark.parametrize(("row", "backing"), ROWS)
def test_the_tests_that_the_documentation_names_are_there(row: str, backing: str) -> None:
    named = re.findall(r"`([^`]+)`", backing)
    files = [path for name in named if "." in name or name.endswith("/") for path in found(name)]
    tests = "\n".join(re.findall(r"^def (test_\w+)", "\n".join(path.read_text() for path in files), re.MULTILINE))
    assert files, row
    for word in (name for name in named if not name.endswith(".py") and not name.startswith("make ")):
        assert word.endswith("/") or word in tests, f"no test called ...{word}..."


def test_what_the_runner_concludes(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest, time\n"
        "@pytest.fixture\ndef broken(): raise OSError\n"
        "def test_good(): pass\ndef test_bad(): assert False, 'as\\nasked'\ndef test_worse(broken): pass\n"
        "def test_long(): time.sleep(60)\n"
        "@pytest.mark.skip\ndef test_skipped(): pass\n"
    )
    found = {
        name: run_tests(tmp_path, [f"test_it.py::test_{name}"], 300.0 if name != "long" else 3.0)
        for name in ("good", "bad", "worse", "long", "skipped")
    }
    assert {name: verdict(outcome) for name, outcome in found.items()} == {
        "good": "NOT MISSED",
        "bad": "missed",
        "worse": "BREAKS",
        "long": "HANGS",
        "skipped": "BREAKS",
    }
    assert [name for name, outcome in found.items() if outcome.all_passed] == ["good"]
    assert "as asked" in found["bad"].reason
    assert verdict(run_tests(tmp_path, ["test_it.py::test_gone"], 300.0)) == "BREAKS"
    assert not Outcome(0, 0, 0, 0, "").all_passed


@pytest.mark.parametrize("text", ["", "old old"])
def test_an_entry_that_does_not_fit_is_an_error(text: str) -> None:
    with pytest.raises(TableError, match="should be once"):
        without(Protection("p", "w", "f.py", "old", "new", "t.py::test_x"), text)


def test_words_choose() -> None:
    assert chosen([]) == list(PROTECTIONS)
    files = {"harness/engines/served.py", "harness/engines/exchange.py", "harness/engines/servers/client.py"}
    assert {each.file for each in chosen(["served.py"])} == files
    assert chosen(["no such word"]) == []
