"""Every `harness` and `make` command that the README, the docs and the model card show is one that exists, with the options that it has."""

import re
import shlex
from pathlib import Path

import click
import pytest

from harness.commands.root import main

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "harness" / "builtin" / "CARD.md", *(ROOT / "docs").glob("*.md")])


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks and its indented ones, without comments and continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"^ {4}((?:harness|make) .*)$", text, re.MULTILINE)
    return [line.strip() for line in lines if re.match(r"(harness|make) ", line.strip())]


SHOWN = [(page.relative_to(ROOT).as_posix(), command) for page in PAGES for command in commands(page)]


def test_the_pages_show_commands() -> None:
    assert {"README.md", "docs/checking.md", "docs/statistics.md"} <= {page for page, _ in SHOWN}


@pytest.mark.parametrize(("page", "command"), SHOWN, ids=[f"{page}: {command[:60]}" for page, command in SHOWN])
def test_a_command_can_be_typed_as_it_is_shown(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)  # its files need not exist
    program, *arguments = shlex.split(command, comments=True)
    if program == "make":
        targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in arguments if "=" not in word} <= set(targets)
        return
    found: click.Command = main
    context = click.Context(main, info_name="harness")
    while isinstance(found, click.Group) and arguments:
        name, arguments = arguments[0], arguments[1:]
        inner = found.get_command(context, name)
        assert inner is not None, f"{page}: no command {name}"
        found = inner
    found.make_context(found.name, arguments, parent=context)
