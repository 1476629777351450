"""What an answer does not need is not loaded for it: help, lists and typos (benchmarks/answers.py measures what they take)."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from harness.commands.root import main
from harness.commands.summaries import SUMMARIES

ROOT = Path(__file__).parents[3]
_HEAVY = {"pandas", "scipy", "matplotlib", "torch", "transformers", "lm_eval", "pytrec_eval", "numpy", "pyarrow", "huggingface_hub"}
_ASKING = """
import json, sys
sys.path.insert(0, "benchmarks")
from answers import ASKED
from click.testing import CliRunner
from harness.commands.root import main
for name, (arguments, _) in ASKED.items():
    code = CliRunner().invoke(main, list(arguments)).exit_code
    print(json.dumps([name, code, sorted(set(sys.modules) & set(json.loads(sys.argv[1])))]))
"""


def test_help_lists_and_typos_load_no_library_that_computes() -> None:
    done = subprocess.run([sys.executable, "-c", _ASKING, json.dumps(sorted(_HEAVY))], capture_output=True, text=True, check=True, cwd=ROOT)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) >= 12
    assert [(name, loaded) for name, _, loaded in found if loaded] == []
    assert {name: code for name, code, _ in found if "help" not in name and name != "runs list"} == {
        name: 2 for name, _, _ in found if "help" not in name and name != "runs list"
    }


def test_the_summaries_are_the_commands_own_words() -> None:
    own = {point.name: point for point in entry_points(group="harness.commands") if point.dist and point.dist.name == "retmask-harness"}
    assert set(SUMMARIES) >= set(own)
    for name, point in own.items():
        command = point.load()
        assert isinstance(command, click.Command)
        assert SUMMARIES[name] == " ".join((command.help or "").replace("\b", "").split("\n\n")[0].split()), name


def test_commands_of_other_packages_are_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    monkeypatch.setitem(main.commands, "theirs", click.Command("theirs", help="Do what another package does."))
    assert "theirs       Do what another package does." in CliRunner().invoke(main, ["--help"]).output
