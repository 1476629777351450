"""Which questions a run and its stages are about: what a model cannot take is refused at once, and stages take the run's own suite."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import record
from harness.builtin import MODEL_DIR
from harness.commands import stages as stages_cli
from harness.commands.root import main
from harness.config import load_preset, override
from harness.context import Run
from harness.evaluation.suite import asked_suite
from harness.models.lookup import resolve


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the entry points of an installed project add them."""
    monkeypatch.setitem(main.commands, "pairs", stages_cli.pairs)
    monkeypatch.setitem(main.commands, "train", stages_cli.train)


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """The shipped model, as one that takes 1,024 tokens."""
    path = tmp_path / "short"
    shutil.copytree(MODEL_DIR, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1024}))
    return path


def harness(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def steps(root: Path) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[0] for path in root.glob("steps/*") if path.suffix not in (".work", ".lock"))


@pytest.mark.parametrize("command", ["plan", "run", "pairs", "train"])
def test_what_a_plan_refuses_every_command_refuses_before_its_first_step(command: str, short: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    done = harness(command, "--model", short, "--preset", "default", "--method", "retmask", "--output", root)
    assert done.exit_code == 2
    assert "takes at most 1024 tokens and --lengths asks for 131072" in done.stderr
    assert steps(root) == []


def test_the_run_itself_refuses_before_its_methods_measure_anything(short: Path, tmp_path: Path) -> None:
    """For whoever calls it without a command, which looks first."""
    from harness.api import HarnessError
    from harness.pipeline import run_methods, run_stage

    config = override(load_preset("builtin"), {"lengths": (2048,)}, {})
    with pytest.raises(HarnessError, match="takes at most 1024 tokens"):
        run_methods(tmp_path, str(short), ("retmask",), config)
    with pytest.raises(HarnessError, match="takes at most 1024 tokens"):
        run_stage(tmp_path, str(short), "retmask", config, "pairs")
    assert steps(tmp_path) == []


def test_pairs_ask_for_lengths_tasks_and_examples_of_their_own(short: Path, tmp_path: Path) -> None:
    shared = ("--model", short, "--preset", "default", "--method", "sft", "--output", tmp_path / "run", "--prompts-only")
    done = harness("pairs", *shared, "--set", "prompts=4", "--tasks", "json_kv", "--lengths", "256,4k", "--clip", "--examples", "2")
    assert done.exit_code == 0, done.output
    assert "left out: 4096" in done.stderr
    assert steps(tmp_path / "run") == ["prompts", "suite"]
    (suite,) = (tmp_path / "run/steps").glob("suite-*/examples.jsonl")
    assert [json.loads(line)["task"] for line in suite.read_text().splitlines()] == ["json_kv"] * 2


def test_a_stage_takes_the_questions_of_the_run_that_was_there_before(tmp_path: Path) -> None:
    asked = override(load_preset("builtin"), {"lengths": (128,), "tasks": ("json_kv",), "examples": 2, "seed": 7}, {})
    run = Run(tmp_path, resolve("builtin"), asked, asked_suite)
    record.begin(run, ("retmask",))
    built = run.suite().digest
    shared = ("pairs", "--model", "builtin", "--method", "sft", "--output", tmp_path, "--prompts-only", "--set", "prompts=4")
    done = harness(*shared)
    assert done.exit_code == 0, done.output
    assert f"as the last command in {tmp_path}: tasks json_kv, lengths 128, examples 2, seed 7" in done.stderr
    assert steps(tmp_path) == ["prompts", "suite"]
    (prompts,) = tmp_path.glob("steps/prompts-*/manifest.json")
    assert json.loads(prompts.read_text())["inputs"]["suite"] == built
    done = harness(*shared, "--lengths", "256")
    assert done.exit_code == 0, done.output
    assert steps(tmp_path) == ["prompts", "prompts", "suite", "suite"]


def test_a_record_that_cannot_be_read_is_said_and_the_presets_questions_are_taken(tmp_path: Path) -> None:
    (tmp_path / "command.json").write_text("{}")
    config = load_preset("builtin")
    assert record.recorded_suite(tmp_path, config, {}) == config
    (tmp_path / "command.json").write_text("{")
    assert record.recorded_suite(tmp_path, config, {}) == config


def test_a_plan_says_what_clip_leaves_out(short: Path) -> None:
    done = harness("plan", "--model", short, "--preset", "default", "--lengths", "512,2k,4k", "--clip", "--no-probe")
    assert done.exit_code == 0, done.output
    assert "--clip leaves out lengths that the model cannot take: 2048, 4096" in done.stdout
