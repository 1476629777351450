"""Bad input: one clear line on standard error, exit code 2, nothing half-written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.root import main


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def complains(result: Result, *words: str) -> None:
    """Exit code 2 and a last line with these words; no traceback."""
    assert result.exit_code == 2, result.output
    line = result.output.strip().splitlines()[-1]
    for word in words:
        assert word in line
    assert "Traceback" not in result.output


SMALL = ("--preset", "builtin", "--lengths", "256", "--examples", "2", "--tasks", "niah_mk")


def test_unknown_model(tmp_path: Path) -> None:
    complains(harness("eval", "--model", "no such model", "--output", tmp_path / "run"), "no such model", "harness models")
    assert not (tmp_path / "run").exists()


def test_unknown_method(tmp_path: Path) -> None:
    complains(harness("run", "--model", "builtin", "--method", "magic", "--output", tmp_path / "run"), "magic", "installed: ", "retmask")
    assert not (tmp_path / "run").exists()


def test_unknown_task(tmp_path: Path) -> None:
    complains(harness("eval", "--model", "builtin", "--tasks", "recal", "--output", tmp_path / "run"), "'recal'", "recall")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lengths", ["1m", "-4", "4k,"])
def test_a_length_that_is_none(lengths: str) -> None:
    result = harness("eval", "--model", "builtin", "--lengths", lengths)
    assert result.exit_code == 2
    assert "not a length" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "--model", "builtin", "--tasks", ""),
        ("eval", "--model", "builtin", "--lengths", ""),
        ("eval", "--model", "builtin", "--tasks="),
        ("run", "--model", "builtin", "--method", ""),
        ("eval", "--model", "builtin", "--preset", ""),
        ("eval", "--model", "builtin", "--output", ""),
        ("report", ""),
    ],
)
def test_an_empty_value_means_nothing_and_is_refused(arguments: tuple[str, ...]) -> None:
    """As of an unset variable of a shell's: an empty --tasks ran everything."""
    result = harness(*arguments)
    assert result.exit_code == 2
    assert "is empty; leave it out, or " in result.output


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (("eval", "--model", "builtin", "--tasks", ""), "--tasks is empty"),
        (("eval", "--tasks=", "--model", "builtin"), "--tasks is empty"),
        (("report", ""), "the argument after 'report' is empty"),
        (("compare", "runs/a", ""), "the argument after 'runs/a' is empty"),
        (("heads", "compare", "a.json", ""), "the argument after 'a.json' is empty"),
        (("heads", "detect", "--model", ""), "--model is empty"),
        (("plan", "--json", ""), "the argument after '--json' is empty"),
        (("",), "the first argument is empty"),
        (("nothing", ""), "the argument after 'nothing' is empty"),
    ],
)
def test_what_is_empty_is_called_by_its_name(words: tuple[str, ...], called: str) -> None:
    complains(harness(*words), called)
    complains(harness("eval", "--model", "builtin", "--tasks", " , "), "names nothing")


def test_a_length_the_model_cannot_take(tmp_path: Path) -> None:
    complains(harness("eval", "--model", "builtin", "--lengths", "512k", "--output", tmp_path), "131072", "--lengths")


def test_a_length_too_short_for_the_question(tmp_path: Path) -> None:
    complains(harness("eval", "--model", "builtin", "--lengths", "128", "--tasks", "rerank", "--output", tmp_path), "ask for a longer one")
    assert not list(tmp_path.glob("steps/*/manifest.json"))


def test_an_option_that_no_method_has_is_found_before_any_work(tmp_path: Path) -> None:
    result = harness("run", "--model", "builtin", "--method", "retmask", "--set", "treshold=0.1", "--output", tmp_path / "run")
    complains(result, "treshold", "did you mean 'threshold'")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_without_weights(tmp_path: Path, weightless: Path) -> None:
    complains(harness("eval", "--model", weightless, "--output", tmp_path / "run"), str(weightless), "safetensors")


def test_a_model_that_is_no_decoder(tmp_path: Path, encoder_decoder: Path) -> None:
    complains(harness("eval", "--model", encoder_decoder, "--output", tmp_path / "run"), "decoder-only", "T5ForConditionalGeneration")


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    complains(harness("eval", "--model", tmp_path), "config.json")


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    complains(harness("eval", "--model", "builtin", *SMALL, "--output", tmp_path / "file" / "run"), "cannot write", "--output")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    complains(harness("eval", "--model", "builtin", *SMALL, "--output", tmp_path / "run"), "cannot write", "--output")


def test_a_model_that_never_finds_the_needle(tmp_path: Path, untrained: Path) -> None:
    sizes = ("--set", "detection_trials=2", "--set", "detection_lengths=[256]", "--set", "detection_max_new_tokens=8")
    result = harness("run", "--model", untrained, *SMALL, "--method", "retmask", *sizes, "--output", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert "needle" in result.output
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("threshold", ["1.5", "-1"])
def test_a_threshold_that_selects_no_head_or_all(tmp_path: Path, threshold: str) -> None:
    sizes = ("--set", "detection_trials=3", "--set", "detection_lengths=[256]")
    chosen = ("--method", "retmask", "--set", f"threshold={threshold}")
    result = harness("run", "--model", "builtin", *SMALL, *chosen, *sizes, "--output", tmp_path)
    complains(result, "threshold")
    assert not (tmp_path / "report.html").exists()


def test_the_interpreter_runs_the_command_line_too() -> None:
    said = subprocess.run([sys.executable, "-m", "harness", "eval", "--tasks", "nonesuch"], capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert said.stderr.startswith("Usage: harness eval")


def test_the_help_explains_the_exit_codes() -> None:
    codes = harness("--help").output.split("Exit codes:", 1)[1]
    assert [line.split()[0] for line in codes.splitlines() if line.strip()] == ["0", "1", "2", "3", "4", "70", "130,"]


@pytest.mark.parametrize("group", ["", "models", "runs", "heads", "tasks"])
def test_a_list_of_commands_says_what_each_is_for_to_its_end(group: str) -> None:
    said = harness(*group.split(), "--help").output.split("Commands:", 1)[1]
    assert not re.search(r"\.\.\.$", said, re.MULTILINE)
    assert len(said.splitlines()) > 3


@pytest.mark.parametrize("command", ["run", "eval", "heads detect", "heads show", "heads ablate"])
def test_every_help_shows_an_example(command: str) -> None:
    result = harness(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"harness {command}" in result.output.split("Example", 1)[1]
