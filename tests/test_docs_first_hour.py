"""docs/first-hour.md as a newcomer types it: every command, top to bottom, in an empty folder, on the shipped model."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.root import main

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder in which the whole page was typed, and what each command printed."""
    folder, printed = tmp_path_factory.mktemp("hour"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        for kind, block in BLOCKS:
            if kind == "toml":
                Path("policy.toml").write_text(block, encoding="utf-8")
            elif kind == "python":
                script = Path("hour.py")
                script.write_text(block, encoding="utf-8")
                done_there = subprocess.run(
                    [sys.executable, script], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
                )
                assert done_there.returncode == 0, done_there.stderr
                printed["python"] = done_there.stdout
            for line in block.splitlines() if kind == "sh" else ():
                command, _, comment = line.partition("#")
                program, *arguments = shlex.split(command)
                assert program == "harness"
                done = CliRunner().invoke(main, arguments)
                expected = re.search(r"exit code (\d)", comment)
                assert done.exit_code == (int(expected[1]) if expected else 0), f"{line}\n{done.output}"
                printed[command.strip()] = done.output
    return folder, printed


def said(printed: dict[str, str], words: str) -> str:
    return next(output for command, output in printed.items() if words in command)


def test_the_page_goes_from_a_name_to_a_gate(typed: tuple[Path, dict[str, str]]) -> None:
    verbs = [command.split()[1] for command in typed[1] if command != "python"]
    assert verbs == ["models", "eval", "plan", "run", "compare", "runs", "eval", "models", "models", "baseline", "check", "check"]


def test_what_the_page_promises_is_there(typed: tuple[Path, dict[str, str]]) -> None:
    folder, printed = typed
    for path in ("runs/builtin/report.html", "runs/builtin/models/retmask/README.md", "my-model/README.md", "check.md", "check.xml"):
        assert (folder / path).is_file(), path
    assert "builtin" in said(printed, "harness models")
    assert "runs/builtin/report.html" in said(printed, "harness eval")
    assert "finished" in said(printed, "harness plan")
    assert "runs/builtin/models/retmask" in said(printed, "harness run ")
    assert "between retmask and randmask" in printed["python"]
    assert "between retmask and randmask" in " ".join(said(printed, "harness compare").split())


def test_nothing_is_uploaded(typed: tuple[Path, dict[str, str]]) -> None:
    assert "nothing was uploaded" in said(typed[1], "--push-to-hub")


def test_the_trained_model_answers_as_in_its_run(typed: tuple[Path, dict[str, str]]) -> None:
    from harness import load

    inside, alone = (load(name) for name in (f"{typed[0]}/runs/builtin:retmask", typed[0] / "runs/trained"))
    assert list(inside.frame["output"]) == list(alone.frame["output"])
