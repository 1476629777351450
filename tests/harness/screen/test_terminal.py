"""Nothing that a model, a file or a server wrote reaches the terminal as more than text."""

import sys

import click
import pytest
from click.testing import CliRunner
from rich.table import Table
from rich.text import Text

from harness.api import HarnessError
from harness.commands.root import HarnessGroup
from harness.screen import progress, terminal

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\ud800b"
SHOWN = "a␛]0;owned␇␛[2J[U+009B]31m[U+202E]�b"


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.echo(f"one\n{HOSTILE}")
    progress.say(HOSTILE)
    said = capsys.readouterr()
    assert said.out == f"one\n{SHOWN}\n"
    assert said.err == f"{SHOWN}\n"


def test_tables_keep_their_own_colours_and_no_others(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    table = Table(title=Text(HOSTILE))
    table.add_column(Text(HOSTILE, style="red"))
    table.add_row(Text("[bold]x" + HOSTILE, style="green"))
    terminal.show(table)
    said = capsys.readouterr().out
    assert "\x1b[32m" in said
    assert "[bold]x" in said
    for acting in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert acting not in said


def test_a_file_for_programs_is_exact_unless_a_person_looks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.data("a\x1b[2J\r\n")
    assert capsys.readouterr().out == "a\x1b[2J\r\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal.data("a\x1b[2J\n")
    assert capsys.readouterr().out == "a␛[2J\n"


def fail(error: BaseException) -> str:
    @click.command()
    def command() -> None:
        raise error

    result = CliRunner().invoke(HarnessGroup(commands={"x": command}), ["x"])
    assert result.exit_code == 2
    assert result.stdout == ""
    return result.stderr


def test_an_error_is_one_line_whatever_is_in_it() -> None:
    assert fail(HarnessError(f"no\nfile {HOSTILE}")) == f"harness: no file {SHOWN}\n"
    assert len(fail(HarnessError("x" * 100_000))) < 2000


def test_deep_nesting_is_one_line() -> None:
    assert fail(RecursionError("maximum recursion depth exceeded")).count("\n") == 1
