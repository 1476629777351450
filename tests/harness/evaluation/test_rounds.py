"""Stopping early for real, on the shipped model: killed, resumed, reused, and asked the rest afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from reports.samples import read
from reports.stopping import stopping_of

ROOT = Path(__file__).parents[3]
SUITE = ("--preset", "builtin", "--tasks", "recall,icl", "--lengths", "256", "--examples", "30")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "harness.commands.root", *map(str, arguments)]


def harness(*arguments: str | Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, str(ROOT)])), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=environment, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, asked everything."""
    root = tmp_path_factory.mktemp("base")
    done = harness("eval", "--model", "builtin", *SUITE, "--output", root)
    assert done.returncode == 0, done.stderr
    return root


def samples(root: Path) -> pd.DataFrame:
    key = json.loads((root / "manifest.json").read_text())["evaluations"][0]
    return read(root / "steps" / f"eval-{key[:12]}" / "samples.parquet")


@pytest.mark.slow
def test_an_evaluation_stops_is_killed_goes_on_and_can_be_finished(base: Path, tmp_path: Path, untrained: Path) -> None:
    root = tmp_path / "new"
    arguments = ("eval", "--model", untrained, *SUITE, "--output", root)
    rounds = ("--stop-early", "--against", base)
    process = subprocess.Popen(command(*arguments, *rounds), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=ROOT)
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        if any(path.stat().st_size for path in root.glob("steps/generate-*/generations.journal")):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    assert process.wait() == -signal.SIGKILL, "the evaluation ended before it could be killed"
    done = harness(*arguments, *rounds)
    assert done.returncode == 0, done.stderr
    assert "; worse" in done.stderr
    assert "stopped early (worse) after" in done.stdout.replace("\n", " ")
    table = samples(root)
    mark = stopping_of(table)
    assert mark is not None
    assert mark.examples == table["example_id"].nunique() < mark.order.examples == 150
    (suite,) = root.glob("steps/suite-*/examples.jsonl")
    assert sum(1 for _ in suite.open()) == 150

    again = harness(*arguments, *rounds)
    assert again.returncode == 0
    assert not [line for line in again.stderr.splitlines() if line.endswith("...")], "nothing is done anew"
    pd.testing.assert_frame_equal(samples(root), table)

    refused = harness("compare", base, f"new={root}")
    assert refused.returncode == 2
    assert "stopped early after" in refused.stderr
    told = harness("compare", base, f"new={root}", "--common", "--format", "json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert "stopped early (worse)" in found["notes"][0]
    assert all(each["always_valid"] for each in found["comparisons"])

    whole = harness(*arguments)
    assert whole.returncode == 0, whole.stderr
    steps = [json.loads(path.read_text()) for path in root.glob("steps/generate-*/manifest.json")]
    assert [step["facts"]["examples"] for step in steps if "part" not in step["inputs"]] == [150]
    assert stopping_of(samples(root)) is None
    merged = samples(root).merge(table, on=["task", "length", "example_id", "metric"])
    assert len(merged) == len(table)
    assert (merged["output_x"] == merged["output_y"]).all(), "what was asked before is not asked again"


@pytest.mark.slow
def test_a_run_stops_early_and_its_page_says_so(tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*pip, str(ROOT / "examples" / "shrink")], check=True, capture_output=True)
    arguments = ("--model", "builtin", *SUITE, "--method", "shrink", "--set", "factor=100.0", "--stop-early", "--output", tmp_path / "run")
    done = harness("run", *arguments, path=str(site))
    assert done.returncode == 0, done.stderr
    words = "shrink: stopped early (worse) after"
    for file in ("table.txt", "comparison.md", "report.html"):
        assert words in (tmp_path / "run" / file).read_text().replace("\\", "").replace("\n", " "), file
    assert "always-valid interval" in " ".join((tmp_path / "run" / "table.txt").read_text().split())
    records = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert all(record["always_valid"] for record in records)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    asked = [
        json.loads((tmp_path / "run" / "steps" / f"eval-{key[:12]}" / "manifest.json").read_text())["facts"]
        for key in manifest["evaluations"]
    ]
    assert asked[0]["examples"] == asked[1]["examples"] < manifest["suite"]["examples"]
    assert all(words in facts["stopping"] for facts, words in zip(asked, ("as many as its candidates took", "stopped early"), strict=True))
    before = (tmp_path / "run" / "report.html").read_bytes()
    assert harness("report", tmp_path / "run").returncode == 0
    assert len((tmp_path / "run" / "report.html").read_bytes()) == len(before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval", "--model", "builtin", "--stop-early"), "--stop-early and --against go together"),
        (("run", "--model", "builtin", "--method", "retmask", "--stop-early", "--seeds", "1,2"), "leave out --seeds"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = harness(*arguments, "--output", tmp_path / "run")
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_baseline_of_another_suite_is_refused_before_anything_is_generated(base: Path, tmp_path: Path, untrained: Path) -> None:
    other = ("eval", "--model", untrained, *SUITE[:-1], "24", "--output", tmp_path / "new", "--stop-early", "--against", base)
    done = harness(*other)
    assert done.returncode == 2
    assert "evaluated on another suite" in done.stderr
    assert not list((tmp_path / "new").glob("steps/generate-*"))


@pytest.mark.slow
def test_sampled_answers_stop_early_too_and_an_example_keeps_all_of_its_answers(tmp_path: Path, untrained: Path) -> None:
    sampled = (*SUITE[:-1], "40", "--generations", "2", "--temperature", "0.7")
    done = harness("eval", "--model", "builtin", *sampled, "--output", tmp_path / "base")
    assert done.returncode == 0, done.stderr
    arguments = ("eval", "--model", untrained, *sampled, "--output", tmp_path / "new", "--stop-early", "--against", tmp_path / "base")
    done = harness(*arguments)
    assert done.returncode == 0, done.stderr
    table = samples(tmp_path / "new")
    mark = stopping_of(table)
    assert mark is not None
    assert mark.examples == table["example_id"].nunique() < mark.order.examples
    assert (table.groupby(["task", "length", "metric", "example_id"])["generation"].agg(sorted).map(tuple) == (1, 2)).all()
    told = harness("compare", tmp_path / "base", f"new={tmp_path / 'new'}", "--common", "--format", "json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert any("stopped early (worse)" in note for note in found["notes"])
    assert any("2 answers to each prompt, sampled at temperature 0.7" in note for note in found["notes"])
    overall = next(each for each in found["comparisons"] if each["scope"] == "overall" and each["length"] is None)
    assert overall["n_examples"] <= mark.examples, "answers never count as questions"
    other = harness(*arguments, "--temperature", "0.2", "--output", tmp_path / "colder")
    assert other.returncode == 2
    assert "written at another temperature; give --temperature 0.7" in other.stderr
