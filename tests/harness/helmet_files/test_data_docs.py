"""Every `harness data` command in docs/data.md is one that the command line takes."""

import re
import shlex
from pathlib import Path

import click
import pytest

from harness.commands.data import data
from tasks.helmet import EVERY as DATASETS
from tasks.helmet import LENGTHS

PAGE = (Path(__file__).parents[3] / "docs/data.md").read_text()
COMMANDS = re.findall(r"^harness data (\w+) *(.*)$", "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)), re.MULTILINE)
TABLE = PAGE.partition("\n## Datasets\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_a_documented_command(name: str, arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.tar.gz").touch()
    command = data.commands[name]
    assert command.make_context(name, shlex.split(arguments, comments=True), parent=click.Context(data)).params is not None


def test_every_command_is_documented() -> None:
    assert {name for name, _ in COMMANDS} == set(data.commands)


@pytest.mark.parametrize("name", [name for name in DATASETS if not name.startswith("ruler")])
def test_the_table_says_what_the_catalog_says(name: str) -> None:
    (row,) = [line for line in TABLE.splitlines() if line.startswith("|") and f"`{name}`" in line]
    assert re.findall(r"\d+", row.split("|")[5]) == [str(DATASETS[name].size(length)) for length in LENGTHS]
    assert row.split("|")[3].strip() == str(DATASETS[name].max_new_tokens)
