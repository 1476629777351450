"""What goes wrong on the way from instructions to a trained model: one line, exit code 2, and what was finished is found again.

A dead server is in ``test_served.py``; a full disk within the training itself in ``tests/retmask/training/test_train.py``.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands import stages as stages_cli
from harness.commands.root import main

ROOT = Path(__file__).parents[3]
RUN = {"tasks": '["json_kv"]', "lengths": "[256]", "examples": "1"}
METHOD = {"prompts": "6", "max_new_tokens": "6", "temperature": "1.0", "batch_size": "4", "micro_batch_size": "4", "learning_rate": "1e-3"}


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the entry points of an installed project add them."""
    monkeypatch.setitem(main.commands, "pairs", stages_cli.pairs)
    monkeypatch.setitem(main.commands, "train", stages_cli.train)


def preset(folder: Path, run: dict[str, str] = RUN, method: dict[str, str] = METHOD) -> Path:
    path = folder / "mine.toml"
    tables = {"run": run, "method": method}
    path.write_text(
        "".join(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items()) for name, table in tables.items())
    )
    return path


def stage(name: str, model: Path, folder: Path) -> tuple[str | Path, ...]:
    """The command of one stage, on a run in ``folder``."""
    return (name, "--model", model, "--preset", preset(folder), "--output", folder / "run")


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def one_line(result: Result) -> str:
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("harness: ")]
    assert result.stderr.strip().splitlines()[-1] == line, "nothing after it"
    assert "Traceback" not in result.output
    return line


def finished(root: Path) -> dict[str, int]:
    """Finished steps by their folder, and when each was made: what is reused keeps its time."""
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("steps/*/manifest.json")}


def names(steps: dict[str, int]) -> list[str]:
    return sorted(name.rpartition("-")[0] for name in steps)


@pytest.mark.parametrize(
    ("run", "method", "words"),
    [
        (RUN | {"lenghts": "[256]"}, METHOD, "unknown key 'lenghts'; did you mean 'lengths'?"),
        (RUN, METHOD | {"bacth_size": "4"}, "unknown key 'bacth_size'; did you mean 'batch_size'?"),
        (RUN, METHOD | {"batch_size": '"four"'}, "batch_size"),
    ],
)
def test_a_wrong_preset_key(untrained: Path, tmp_path: Path, run: dict[str, str], method: dict[str, str], words: str) -> None:
    path = preset(tmp_path, run, method)
    for command in (("run", "--method", "sft"), ("train", "--method", "sft"), ("plan", "--method", "sft", "--no-probe")):
        line = one_line(harness(*command, "--model", untrained, "--preset", path, "--output", tmp_path / "run"))
        assert words in line
        assert not finished(tmp_path / "run"), "said before anything is computed"


def test_a_prompt_file_with_bad_lines(untrained: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    good = [json.dumps({"prompt": f"Say the number {number}."}) for number in range(6)]
    prompts.write_text("\n".join([*good[:2], '{"prompt": "torn', *good[2:]]) + "\n")
    shared = (*stage("pairs", untrained, tmp_path), "--method", "sft", "--device", "cpu")
    line = one_line(harness(*shared, "--prompts-from", prompts))
    assert f"{prompts}, line 3" in line
    before = finished(tmp_path / "run")
    assert names(before) == ["suite"]
    prompts.write_text("\n".join(good) + "\n")
    assert harness(*shared, "--prompts-from", prompts).exit_code == 0
    assert finished(tmp_path / "run").items() > before.items()


def test_pairs_that_are_all_identical(untrained: Path, tmp_path: Path) -> None:
    shared = stage("pairs", untrained, tmp_path)
    same = ("--rejected-from", f"model {untrained}")
    line = one_line(harness(*shared, *same, "--temperature", "0"))
    assert "6 identical" in line
    assert "raise temperature" in line
    before = finished(tmp_path / "run")
    assert names(before) == ["chosen", "prompts", "rejected-smaller-model", "suite"]
    assert harness(*shared, *same, "--temperature", "1").exit_code == 0
    assert finished(tmp_path / "run").items() > before.items()


def test_sequences_that_are_too_long(untrained: Path, tmp_path: Path) -> None:
    shared = (*stage("train", untrained, tmp_path), "--method", "sft", "--device", "cpu")
    line = one_line(harness(*shared, "--max-length", "8"))
    assert "more than max_length = 8 tokens" in line
    assert "raise max_length" in line
    before = finished(tmp_path / "run")
    assert names(before) == ["chosen", "pairs", "prompts", "suite"]
    assert harness(*shared).exit_code == 0
    after = finished(tmp_path / "run")
    assert after.items() > before.items()
    assert names(dict.fromkeys(after.keys() - before.keys(), 0)) == ["sft"]


def test_a_disk_that_fills_up_while_answers_come(untrained: Path, tmp_path: Path) -> None:
    """Answers that were written stay; the same command again asks for the others alone."""
    arguments = [
        "eval",
        "--model",
        untrained,
        "--preset",
        preset(tmp_path, RUN | {"examples": "40"}),
        "--batch-tokens",
        "1",
        "--device",
        "cpu",
    ]
    assert harness(*arguments, "--output", tmp_path / "whole").exit_code == 0
    (whole,) = tmp_path.glob("whole/steps/generate-*/generations.journal")
    (suite,) = tmp_path.glob("whole/steps/suite-*")
    root = tmp_path / "run"
    (root / "steps").mkdir(parents=True)
    suite.rename(root / "steps" / suite.name)  # the suite is larger than the journal, which alone is to hit the limit, not the manifests
    limit = whole.stat().st_size // 2
    code = "import resource, sys\nfrom harness.commands.root import main\n"
    code += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\nmain()"
    command = [sys.executable, "-c", code, *map(str, arguments), "--output", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("harness: File too large")
    assert "what is finished is kept" in last
    (journal,) = root.glob("steps/generate-*.work/generations.journal")
    kept = [line for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert 0 < len(kept) < 40
    assert harness(*arguments, "--output", root).exit_code == 0
    (journal,) = root.glob("steps/generate-*/generations.journal")
    assert journal.read_bytes().startswith(b"".join(kept))
    assert sorted(journal.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())
