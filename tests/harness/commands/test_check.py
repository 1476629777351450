"""`harness check` and `harness baseline save`: exit codes, files, bad input."""

import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from junitparser import JUnitXml

from harness.commands.baseline import baseline
from harness.commands.check import check
from harness.commands.eval_ import eval_command
from harness.commands.options import run_config
from harness.commands.root import HarnessGroup
from harness.evaluation.evaluate import SCORING_VERSION
from harness.evaluation.suite import SuiteConfig, build_examples, write_examples
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from reports.samples import read, write
from reports.stopping import Stopping, plan_order

MakeSamples = Callable[..., pd.DataFrame]
ROOT = Path(__file__).parents[3]


def harness(*arguments: str | Path, environment: dict[str, str] | None = None) -> Result:
    group = HarnessGroup(commands={"check": check, "baseline": baseline})
    return CliRunner().invoke(group, list(map(str, arguments)), env={"GITHUB_STEP_SUMMARY": "", **(environment or {})})


def jittered(frame: pd.DataFrame, shift: float, noise: float = 0.02) -> pd.DataFrame:
    moved = frame["score"] + shift + np.random.default_rng(7).normal(0, noise, len(frame))
    return frame.assign(score=moved.clip(0, 1), model_digest="candidate")


@pytest.fixture
def large(make_samples: MakeSamples) -> pd.DataFrame:
    return make_samples(questions=40)


def checked(tmp_path: Path, base: pd.DataFrame, candidate: pd.DataFrame, *arguments: str | Path, **environment: str) -> Result:
    write(base, tmp_path / "base.parquet")
    write(candidate, tmp_path / "new.parquet")
    files = ("--baseline", tmp_path / "base.parquet", "--candidate", tmp_path / "new.parquet", "--junit", tmp_path / "check.xml")
    return harness("check", *files, "--resamples", "500", *arguments, environment=environment)


@pytest.mark.parametrize(
    ("shift", "code", "word"),
    [(0.1, 0, "no regression"), (0.0, 0, "no regression"), (-0.1, 1, "regression:")],
    ids=["better", "same", "worse"],
)
def test_better_same_and_worse(tmp_path: Path, large: pd.DataFrame, shift: float, code: int, word: str) -> None:
    result = checked(tmp_path, large, jittered(large, shift))
    assert result.exit_code == code, result.output
    assert word in result.output.strip().splitlines()[-1]
    suite = ET.parse(tmp_path / "check.xml").getroot().find("testsuite")
    assert suite is not None
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert suite.get("failures") == str(len(failed))
    assert ("overall" in failed) == (code == 1)
    assert suite.get("tests") == str(len(list(suite.iter("testcase"))))


def test_too_little_data_says_how_much_would_do(tmp_path: Path, make_samples: MakeSamples) -> None:
    base, candidate = (make_samples(questions=4, seed=seed) for seed in (0, 1))
    result = checked(tmp_path, base, candidate)
    assert result.exit_code == 4
    assert "could not decide" in result.output
    assert "questions would show no loss" in result.output.replace("\n", " ")
    suite = ET.parse(tmp_path / "check.xml").getroot().find("testsuite")
    assert suite is not None
    assert {each.get("name"): each.get("value") for each in suite.iter("property")} == {"status": "undecided", "exit code": "4"}
    assert suite.get("errors") != "0"


@pytest.mark.parametrize("situation", ["better", "same", "worse", "too little data"])
def test_a_build_server_sees_every_situation(tmp_path: Path, make_samples: MakeSamples, situation: str) -> None:
    """A process of its own: its exit code, the last line of its log and the JUnit file, read by a parser that is not ours, agree."""
    few = situation == "too little data"
    base = make_samples(questions=4 if few else 40)
    shift = {"better": 0.1, "worse": -0.1}.get(situation, 0.0)
    write(base, tmp_path / "base.parquet")
    write(make_samples(questions=4, seed=1) if few else jittered(base, shift), tmp_path / "new.parquet")
    command = [sys.executable, "-m", "harness.commands.root", "check", "--baseline", "base.parquet", "--candidate", "new.parquet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GITHUB_STEP_SUMMARY": ""}
    arguments = [*command, "--junit", "check.xml", "--resamples", "500"]
    result = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True)
    code, words, overall = {
        "better": (0, "no regression: new against base", []),
        "same": (0, "no regression: new against base", []),
        "worse": (1, "regression: new against base", ["Failure"]),
        "too little data": (4, "could not decide: new against base", ["Error"]),
    }[situation]
    assert result.returncode == code, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].startswith(words)
    report = JUnitXml.fromfile(str(tmp_path / "check.xml"))
    (suite,) = list(report)
    cases = {case.name: [type(each).__name__ for each in case.result] for case in suite}
    assert (report.tests, report.failures, report.errors) == (
        len(cases),
        sum(kinds == ["Failure"] for kinds in cases.values()),
        sum(kinds == ["Error"] for kinds in cases.values()),
    )
    assert cases["overall"] == overall
    assert all(case.classname.startswith("harness.check.") for case in suite)
    assert all(each.message for case in suite for each in case.result)


def test_the_projects_own_baseline_and_policy_can_be_used(tmp_path: Path) -> None:
    """What `make check` holds the shipped model against: texts left out, and a loss of every answer is found."""
    folder = ROOT / ".ci"
    own = read(folder / "baseline.parquet")
    assert (folder / "baseline.parquet").stat().st_size < 40_000
    assert (own[["output", "thinking"]] == "").all(axis=None)
    arguments = ("check", "--baseline", folder / "baseline.parquet", "--policy", folder / "policy.toml", "--resamples", "500")
    assert harness(*arguments, "--candidate", folder / "baseline.parquet").exit_code == 0
    write(own.assign(score=own["score"] * 0.7, model_digest="worse"), tmp_path / "worse.parquet")
    assert harness(*arguments, "--candidate", tmp_path / "worse.parquet").exit_code == 1


def test_the_projects_own_baseline_is_of_todays_suite_model_and_scorers(tmp_path: Path) -> None:
    """A changed task, model or scorer is noticed here, and not only a minute into `make check`."""
    (checked,) = re.findall(r"^CHECKED := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    settings = eval_command.make_context("eval", shlex.split(checked)).params
    given = {name: settings[name] for name in ("lengths", "examples", "tasks", "data", "seed", "think_tokens")}
    config = run_config(settings["model_name"], settings["preset"], given, {})
    model = resolve(settings["model_name"])
    how = {"framing": config.framing, "wording": config.wording}
    suite = SuiteConfig(config.tasks, config.lengths, config.examples, config.seed, config.data, **how)
    digest = write_examples(tmp_path / "examples.jsonl", build_examples(suite, load_tokenizer(model)))["digest"]
    own = read(ROOT / ".ci" / "baseline.parquet")
    stale = "after a change that is meant, `make baseline` writes .ci/baseline.parquet anew"
    assert set(own["suite_digest"]) == {digest}, f"the suite has changed; {stale}"
    assert set(own["model_digest"]) == {model.digest}, f"the shipped model has changed; {stale}"
    assert set(own["scorer"]) == {f"strict-{SCORING_VERSION}"}, f"the scorers have changed; {stale}"


def test_the_junit_file_has_what_its_readers_ask_for(tmp_path: Path, large: pd.DataFrame) -> None:
    """The attributes that every consumer of the format asks for (the JUnit schema of Jenkins)."""
    checked(tmp_path, large.assign(category="a<b>&\"'\x01é"), jittered(large.assign(category="a<b>&\"'\x01é"), -0.1))
    root = ET.parse(tmp_path / "check.xml").getroot()
    assert root.tag == "testsuites"
    for suite in root:
        assert {"name", "tests", "failures", "errors"} <= set(suite.keys())
        for case in suite.iter("testcase"):
            assert {"name", "classname"} <= set(case.keys())
    assert "a<b>&\"'�é" in {case.get("name") for case in root.iter("testcase")}


def test_the_summary_is_written_and_appended(tmp_path: Path, large: pd.DataFrame) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    result = checked(tmp_path, large, jittered(large, -0.1), "--summary", tmp_path / "own.md", GITHUB_STEP_SUMMARY=str(page))
    assert result.exit_code == 1
    assert page.read_text().startswith("before\n### ✗ regression")
    assert (tmp_path / "own.md").read_text() in page.read_text()


def policy(tmp_path: Path, text: str) -> tuple[str, Path]:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return "--policy", path


def test_a_floor_fails_whatever_the_baseline(tmp_path: Path, large: pd.DataFrame) -> None:
    result = checked(tmp_path, large, jittered(large, 0.0), *policy(tmp_path, "[floor]\ncategories = { rag = 99 }"))
    assert result.exit_code == 1
    assert "below the floor" in result.output


def test_a_wider_margin_lets_a_small_loss_pass(tmp_path: Path, large: pd.DataFrame) -> None:
    assert checked(tmp_path, large, jittered(large, -0.05)).exit_code == 1
    wide = policy(tmp_path, "[margin]\noverall = 10\ncategory = 10")
    assert checked(tmp_path, large, jittered(large, -0.05), *wide).exit_code == 0


def test_missing_examples_count_as_0_and_are_limited(tmp_path: Path, large: pd.DataFrame) -> None:
    """Leaving out what a model gets wrong must not help it."""
    best = large.sort_values("score", ascending=False).iloc[: len(large) // 2]
    refused = checked(tmp_path, large, jittered(best, 0.0))
    assert refused.exit_code == 1
    assert "missing examples" in refused.output
    allowed = checked(tmp_path, large, jittered(best, 0.0), *policy(tmp_path, "[limit]\nmissing = 100"))
    assert allowed.exit_code == 1, "the missing ones are scored 0"


def test_truncation_is_limited(tmp_path: Path, large: pd.DataFrame) -> None:
    result = checked(tmp_path, large, jittered(large, 0.0).assign(truncated_tokens=3))
    assert result.exit_code == 1
    assert "truncated prompts" in result.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[margin]\noveral = 1", "did you mean overall?"),
        ("[margin]\noverall = -1", "[margin] overall is -1"),
        ("[margin]\noverall = '1'", "give a number"),
        ("confidence = 95", "confidence"),
        ("margin = 2", "[margin]"),
        ("[floor", "is not TOML"),
        ("[floor]\ncategories = { magic = 3 }", "category 'magic'"),
    ],
)
def test_a_bad_policy_is_one_line_and_code_2(tmp_path: Path, large: pd.DataFrame, text: str, words: str) -> None:
    result = checked(tmp_path, large, large, *policy(tmp_path, text))
    assert result.exit_code == 2
    assert words in result.output.strip().splitlines()[-1]
    assert not (tmp_path / "check.xml").exists()


def test_another_suite_is_code_2(tmp_path: Path, large: pd.DataFrame) -> None:
    result = checked(tmp_path, large, large.assign(suite_digest="other"))
    assert result.exit_code == 2
    assert "--allow-mismatch suite" in result.output


def test_a_saved_baseline_is_small_and_serves(tmp_path: Path, large: pd.DataFrame) -> None:
    wordy = large.assign(output=[f"{n} " * 2000 for n in range(len(large))])
    write(wordy, tmp_path / "run.parquet")
    saved = harness("baseline", "save", tmp_path / "run.parquet", "--output", tmp_path / "small.parquet")
    assert saved.exit_code == 0, saved.output
    assert (tmp_path / "small.parquet").stat().st_size < 40_000
    write(jittered(wordy, 0.0), tmp_path / "new.parquet")
    result = harness("check", "--baseline", tmp_path / "small.parquet", "--candidate", tmp_path / "new.parquet", "--resamples", "500")
    assert result.exit_code == 0, result.output
    again = harness("baseline", "save", tmp_path / "run.parquet", "--output", tmp_path / "small.parquet")
    assert again.exit_code == 2
    assert "--force" in again.output


def test_an_evaluation_that_stopped_early_is_code_2(tmp_path: Path, large: pd.DataFrame) -> None:
    """Neither scored 0 where it was not asked nor compared as if it had been planned that small."""
    order = plan_order(large, 0)
    part = large[order.round_of(large) < 20].reset_index(drop=True)
    stopped = Stopping(order, 20, part["example_id"].nunique(), False, (20,), decision="worse").attach(part)
    for tables in ((large, stopped), (stopped, large)):
        result = checked(tmp_path, *tables)
        assert result.exit_code == 2
        assert "stopped early after" in result.output
        assert not (tmp_path / "check.xml").exists()


def test_a_text_file_is_no_baseline(tmp_path: Path, large: pd.DataFrame) -> None:
    (tmp_path / "base.parquet").write_text("not parquet")
    write(large, tmp_path / "new.parquet")
    result = harness("check", "--baseline", tmp_path / "base.parquet", "--candidate", tmp_path / "new.parquet")
    assert result.exit_code == 2
    assert "not a readable Parquet file" in result.output.replace("\n", " ")


@pytest.mark.parametrize("command", [["check"], ["baseline"], ["baseline", "save"]])
def test_help_teaches_by_example(command: list[str]) -> None:
    text = harness(*command, "--help").output
    assert "harness " + " ".join(command) in text.split("Example", 1)[1]
