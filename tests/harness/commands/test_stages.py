"""``harness pairs`` and ``harness train`` over one run directory, on the shipped model's architecture with random weights."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.commands import root as cli
from harness.commands import stages as stages_cli
from harness.commands.root import main

ROOT = Path(__file__).parents[3]
SMALL = {"prompts": 8, "max_new_tokens": 6, "temperature": 1.0, "batch_size": 4, "micro_batch_size": 4, "detection_lengths": "[256]"}


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the entry points of an installed project add them."""
    monkeypatch.setitem(main.commands, "pairs", stages_cli.pairs)
    monkeypatch.setitem(main.commands, "train", stages_cli.train)


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """One example of one task, so that there is a suite to keep clear of."""
    path = tmp_path / "small.toml"
    options = "".join(f"{key} = {value}\n" for key, value in SMALL.items())
    path.write_text(f'[run]\ntasks = ["json_kv"]\nlengths = [256]\nexamples = 1\n\n[method]\n{options}')
    return path


def harness(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def steps(root: Path) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[0] for path in (root / "steps").iterdir() if path.suffix not in (".work", ".lock"))


def test_pairs_then_training_in_one_run_directory(untrained: Path, preset: Path, tmp_path: Path) -> None:
    shared = ("--model", untrained, "--preset", preset, "--output", tmp_path / "run", "--method", "sft", "--device", "cpu")
    done = harness("pairs", *shared)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.partition("\n\n")[0])["pairs"] > 0
    assert steps(tmp_path / "run") == ["chosen", "pairs", "prompts", "suite"]
    done = harness("train", *shared, "--learning-rate", "1e-3", "--epochs", "1")
    assert done.exit_code == 0, done.output
    assert steps(tmp_path / "run") == ["chosen", "pairs", "prompts", "sft", "suite"]
    place = Path(done.stdout.rsplit("model: ", 1)[1].strip())
    assert (place / "model.safetensors").exists()
    assert place == tmp_path / "run/models/sft"
    assert "Not evaluated yet." in (place / "README.md").read_text()
    (log,) = tmp_path.glob("run/steps/sft-*/train.log")
    assert " step 1 of " in log.read_text()
    assert "loss " in log.read_text()


def test_instructions_alone_are_read_edited_and_passed_back(untrained: Path, preset: Path, tmp_path: Path) -> None:
    shared = ("pairs", "--model", untrained, "--preset", preset, "--output", tmp_path / "run", "--method", "sft", "--device", "cpu")
    mine = tmp_path / "mine.jsonl"
    done = harness(*shared, "--prompts-only", "--out", mine)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.partition("\n\n")[0])["kept"] == 8
    assert done.stdout.rstrip().endswith(f"prompts: {mine}")
    assert steps(tmp_path / "run") == ["prompts", "suite"]
    lines = mine.read_text().splitlines()
    assert len(lines) == 8
    mine.write_text("\n".join([json.dumps({"prompt": "Count to three."}), *lines[:3]]))
    done = harness(*shared, "--prompts-only", "--prompts-from", mine)
    assert json.loads(done.stdout.partition("\n\n")[0])["kept"] == 4
    (path,) = (line.removeprefix("prompts: ") for line in done.stdout.splitlines() if line.startswith("prompts: "))
    assert json.loads(Path(path).read_text().splitlines()[0]) == {"prompt": "Count to three."}
    done = harness(*shared, "--out", mine)
    assert done.exit_code == 2
    assert "--prompts-to is for --prompts-only" in done.stderr


def test_another_models_answers_are_rejected(untrained: Path, preset: Path, tmp_path: Path) -> None:
    shared = ("pairs", "--model", untrained, "--preset", preset, "--output", tmp_path / "run", "--device", "cpu")
    done = harness(*shared, "--rejected-from", "model builtin")
    assert done.exit_code == 0, done.output
    assert "rejected-smaller-model" in steps(tmp_path / "run")
    done = harness(*shared, "--rejected-from", "model builtin", "--method", "randmask")
    assert done.exit_code == 2
    assert "is for --method smaller-model; randmask masks heads" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--pairs-from", "missing.jsonl"), "cannot read preference pairs"),
        (("train", "--loss", "sigmiod"), "unknown loss 'sigmiod'; choose from sigmoid"),
        (("pairs", "--prompts-from", "missing.jsonl", "--method", "sft"), "prompts_from = 'missing.jsonl': no such file"),
        (("pairs", "--set", "treshold=0.2"), "unknown key 'treshold'; did you mean 'threshold'?"),
        (("pairs", "--method", "nothing"), "unknown method 'nothing'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    untrained: Path, preset: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = harness(*arguments, "--model", untrained, "--preset", preset, "--output", tmp_path / "run", "--device", "cpu")
    assert done.exit_code == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("harness: ")
    assert message in last


@pytest.mark.parametrize("stage", ["pairs", "train"])
def test_a_stage_is_one_methods(stage: str) -> None:
    done = harness(stage, "--model", "builtin", "--method", "retmask", "--method", "randmask")
    assert done.exit_code == 2
    assert "retmask, randmask: a stage is one method's; give one, or take them all with `harness run`" in done.stderr


def test_a_full_disk_is_one_line_and_what_is_finished_stays(untrained: Path, preset: Path, tmp_path: Path) -> None:
    arguments = ["pairs", "--model", untrained, "--preset", preset, "--output", tmp_path / "run", "--method", "sft", "--device", "cpu"]
    code = (
        "import resource, sys\nfrom harness.commands.root import main\nfrom harness.commands.stages import pairs\n"
        "main.add_command(pairs)\nresource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))\nmain()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("harness: File too large")
    assert "start the same command again" in done.stderr
    assert steps(tmp_path / "run") == []
    assert harness(*arguments).exit_code == 0


def test_seeds_that_are_none() -> None:
    done = harness("run", "--model", "builtin", "--method", "retmask", "--seeds", "1,x")
    assert done.exit_code == 2
    assert "write whole numbers joined by commas, such as 1,2,3" in done.stderr
    done = harness("run", "--model", "builtin", "--method", "retmask", "--seeds", "1,1")
    assert done.exit_code == 2
    assert "give different whole numbers" in done.stderr


def test_only_a_full_disk_is_a_users_mistake() -> None:
    assert 2 not in cli._FULL  # a missing file is not
