"""A run directory of before the modules had rooms: everything that reads one still does, and nothing finished is done again.

``tests/old_run`` is one: a random model of some 30,000 parameters, and ``sft`` on four pairs. Its steps have to be found as long as no
``VERSION`` is raised; where one is, make the directory again with the command in its manifest, and say so in the changelog.
"""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.root import main

OLD = Path(__file__).parents[1] / "old_run"
COMMAND = (
    "run --model tests/old_run/model --method sft --set pairs_from=tests/old_run/pairs.jsonl --set batch_size=2 --lengths 512 "
    "--examples 8 --tasks niah_mv --output tests/old_run/run --yes"
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(OLD, tmp_path / "tests" / "old_run")
    monkeypatch.chdir(tmp_path)
    return Path("tests/old_run/run")


def harness(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_the_same_command_does_nothing_again(run: Path) -> None:
    before = {path.name for path in (run / "steps").iterdir() if not path.name.startswith("report-")}
    result = harness(*COMMAND.split())
    assert result.exit_code == 0, result.output
    for step in ("suite", "generate", "eval", "pairs", "sft"):
        assert f"{step} ..." not in result.output, result.output
    assert {path.name for path in (run / "steps").iterdir() if not path.name.startswith("report-")} == before
    assert json.loads((run / "manifest.json").read_text())["manifest"] == 1


def test_it_is_listed_verified_compared_and_reported(run: Path, tmp_path: Path) -> None:
    listed = harness("runs", "list", ".")
    assert listed.exit_code == 0, listed.output
    assert "finished" in listed.output
    assert harness("runs", "verify", run).exit_code == 0
    compared = harness("compare", f"{run}:baseline", f"{run}:sft", "--tasks")
    assert compared.exit_code == 0, compared.output
    assert "niah_mv" in compared.output
    reported = harness("report", run, "--output", tmp_path / "page.html")
    assert reported.exit_code == 0, reported.output
    assert "sft" in (tmp_path / "page.html").read_text()


def test_it_is_made_again(run: Path) -> None:
    """Another machine may write another answer, which is exit code 1; anything else is a fault."""
    result = harness("reproduce", run, "--output", "again")
    assert result.exit_code in (0, 1), result.output
    assert "sft: samples" in result.output
