"""A run with training seeds: compare, check, leaderboard and report mean all of them, and agree."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.baseline import baseline
from harness.commands.check import check
from harness.commands.compare import compare
from harness.commands.leaderboard import leaderboard
from harness.commands.report import report
from harness.commands.root import HarnessGroup
from harness.store.steps import seal
from reports.samples import write

MakeSamples = Callable[..., pd.DataFrame]


def harness(*arguments: str | Path) -> Result:
    commands = {"compare": compare, "check": check, "leaderboard": leaderboard, "report": report, "baseline": baseline}
    return CliRunner().invoke(HarnessGroup(commands=commands), list(map(str, arguments)), env={"GITHUB_STEP_SUMMARY": ""})


@pytest.fixture
def run(tmp_path: Path, make_samples: MakeSamples) -> Path:
    """As `harness run --method retmask --seeds 7,8` leaves it."""
    root = tmp_path / "run"
    base = make_samples(questions=12)
    moved = [base.assign(score=(base["score"] + shift).clip(0, 1), model_digest=f"seed{shift}") for shift in (0.1, 0.12)]
    keys = [f"{number}" * 64 for number in range(3)]
    for key, frame in zip(keys, [base, *moved], strict=True):
        write(frame, root / "steps" / f"eval-{key[:12]}" / "samples.parquet")
        seal(root / "steps" / f"eval-{key[:12]}", {"step": "eval", "key": key})
    config = {"seeds": [7, 8], "resamples": 200}
    manifest = {"model": {"name": "tiny"}, "methods": ["retmask", "retmask"], "evaluations": keys, "config": config}
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def figures(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)["comparisons"][0]
    return found


def test_a_method_is_all_its_seeds_and_at_sign_one(run: Path) -> None:
    fast = ("--resamples", "200", "--format", "json")
    whole = figures(harness("compare", run, *fast))
    named = figures(harness("compare", f"{run}:baseline", f"x={run}:retmask", *fast))
    assert whole["n_seeds"] == named["n_seeds"] == 2
    assert whole["candidate"] == named["candidate"]
    one, other = (figures(harness("compare", f"{run}:baseline", f"{run}:retmask@{seed}", *fast)) for seed in (7, 8))
    assert one["n_seeds"] == 1
    assert np.mean([one["candidate"], other["candidate"]]) == pytest.approx(whole["candidate"])
    refused = harness("compare", f"{run}:baseline", f"{run}:retmask@1")
    assert refused.exit_code == 2
    assert "no training seed 1; it has 7, 8" in refused.output


def test_a_baseline_may_have_seeds(run: Path) -> None:
    found = figures(harness("compare", f"{run}:retmask", f"base={run}:baseline", "--resamples", "200", "--format", "json"))
    assert (found["n_seeds"], found["n_seeds_baseline"]) == (1, 2)


def test_check_leaderboard_and_report_agree_with_compare(run: Path, tmp_path: Path) -> None:
    score = figures(harness("compare", run, "--resamples", "200", "--format", "json"))["candidate"]
    assert isinstance(score, float)
    checked = harness("check", "--baseline", f"{run}:baseline", "--candidate", f"{run}:retmask", "--resamples", "200")
    assert "retmask against" in checked.output.strip().splitlines()[-1]
    board = tmp_path / "board.csv"
    assert harness("leaderboard", run, "--resamples", "200", "--output", board).exit_code == 0
    rows = [row for row in csv.DictReader(io.StringIO(board.read_text())) if row["length"] == "mean"]
    assert {row["model"]: row["seeds"] for row in rows} == {"tiny": "1", "tiny + retmask": "2"}
    assert float(next(row["overall"] for row in rows if row["seeds"] == "2")) == pytest.approx(score)
    written = harness("report", run)
    assert written.exit_code == 0, written.output
    page = (run / "report.html").read_text()
    assert "2 training seeds" in page
    assert f"→ {100 * score:.1f}" in page


def test_what_needs_one_model_says_how_to_name_it(run: Path, tmp_path: Path) -> None:
    refused = harness("baseline", "save", f"{run}:retmask", "--output", tmp_path / "b.parquet")
    assert refused.exit_code == 2
    assert "retmask@7" in refused.output
    assert harness("baseline", "save", f"{run}:retmask@7", "--output", tmp_path / "b.parquet").exit_code == 0


def test_one_table_under_two_names_is_shown_once_and_said(run: Path, tmp_path: Path, make_samples: MakeSamples) -> None:
    first, again = make_samples(questions=12, seed=5), make_samples(questions=12, seed=6)
    for name, frame in (("a", first), ("b", again), ("c", first)):
        write(frame, tmp_path / f"{name}.parquet")
    named = [f"{name}={tmp_path / name}.parquet" for name in "abc"]
    result = harness("leaderboard", *named, "--resamples", "200", "--output", tmp_path / "o.csv")
    assert "c of c.parquet is the same table as a, which is shown once." in " ".join(result.output.split())
    rows = {row["model"] for row in csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text()))}
    assert rows == {"a", "b"}, "one model digest, two tables that the user named"
