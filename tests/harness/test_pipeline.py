"""The main job for real, on the shipped model: run, reuse, kill, resume, and a plugin from another package."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent.parent
SMALL = (
    *("--model", "builtin", "--preset", "builtin", "--tasks", "recall,icl", "--lengths", "256,384", "--examples", "6"),
    *("--set", "prompts=32", "--set", "detection_trials=4", "--set", "detection_lengths=[256]", "--set", "max_new_tokens=24"),
)


def harness(*arguments: str | Path, path: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.commands.root", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, str(ROOT)])), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of retmask and randmask."""
    root = tmp_path_factory.mktemp("run")
    done = harness("run", *SMALL, "--method", "retmask", "--method", "randmask", "--output", root)
    assert done.returncode == 0, done.stderr
    return root


def test_the_run_leaves_table_page_json_and_manifest(finished: Path) -> None:
    records = json.loads((finished / "comparison.json").read_text())
    overall = [record for record in records if record["scope"] == "overall" and record["length"] is None]
    assert [record["name"] for record in overall] == ["retmask", "randmask", "retmask minus randmask"]
    for record in overall:
        assert record["low"] <= record["delta"] <= record["high"]
        assert record["delta"] == pytest.approx(record["candidate"] - record["baseline"])
    assert "<html" in (finished / "report.html").read_text()
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["methods"] == ["retmask", "randmask"]
    assert manifest["versions"]["torch"]
    assert "recall" in (finished / "table.txt").read_text()


def test_a_method_that_cannot_run_stops_the_command_before_the_first_evaluation(tmp_path: Path) -> None:
    done = harness("run", *SMALL, "--set", "top_k=30", "--method", "retmask", "--method", "layermatched", "--output", tmp_path)
    assert done.returncode == 2
    assert "layermatched: cannot draw" in done.stderr.splitlines()[-1]
    assert [path.parent.name.split("-")[0] for path in tmp_path.glob("steps/*/manifest.json")] == ["heads"]


def test_what_methods_share_is_done_once(finished: Path) -> None:
    steps = [path.name.rsplit("-", 1)[0] for path in (finished / "steps").iterdir()]
    assert sorted(steps) == sorted(
        ["suite", "prompts", "chosen", "rejected-retmask", "rejected-randmask", "report"]
        + ["heads"] * 3  # of the baseline and of both trained models
        + ["pairs", "dpo"] * 2
        + ["generate", "eval"] * 3
    )


def test_the_candidate_is_an_ordinary_checkpoint_that_differs_from_the_baseline(finished: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.builtin import MODEL_DIR

    (checkpoint, _) = sorted(finished.glob("steps/dpo-*/model"))
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert AutoTokenizer.from_pretrained(checkpoint).chat_template
    before = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
    assert any(not old.equal(new) for old, new in zip(before.parameters(), model.parameters(), strict=True))


def test_the_samples_have_every_example_of_the_suite(finished: Path) -> None:
    for path in finished.glob("steps/eval-*/samples.parquet"):
        frame = pd.read_parquet(path)
        assert frame.groupby(["task", "length"])["example_id"].nunique().eq(6).all()
        assert (frame["truncated_tokens"] == 0).all()
        assert (frame["prompt_tokens"] < frame["length"]).all()


def test_the_same_command_again_reuses_everything_in_seconds(finished: Path) -> None:
    before = (finished / "comparison.json").read_bytes()
    begun = time.monotonic()
    done = harness("run", *SMALL, "--method", "retmask", "--method", "randmask", "--output", finished)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 20, "a second run must not load a model"
    lines = [line for line in done.stderr.splitlines() if ": " in line]
    assert len(lines) >= 11
    said = ("reused", "heads masked", "warning: ", "prompts: ")
    assert all(any(words in line for words in said) for line in lines), done.stderr
    assert (finished / "comparison.json").read_bytes() == before


def test_training_seeds_are_an_outer_level_of_the_comparison(finished: Path) -> None:
    before = {path.name for path in (finished / "steps").iterdir()}
    done = harness("run", *SMALL, "--method", "retmask", "--seeds", "42,1", "--output", finished)
    assert done.returncode == 0, done.stderr
    fresh = sorted(path.name.rsplit("-", 1)[0] for path in (finished / "steps").iterdir() if path.name not in before)
    assert fresh == ["dpo", "eval", "generate", "heads", "report"], "only the second seed's training is new"
    records = json.loads((finished / "comparison.json").read_text())
    assert {record["n_seeds"] for record in records} == {2}
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["methods"] == ["retmask", "retmask"]
    assert len(set(manifest["evaluations"])) == 3
    assert manifest["config"]["seeds"] == [42, 1]


def test_the_commands_take_a_method_for_all_its_training_seeds(finished: Path) -> None:
    """After the test above: compare, check, leaderboard and report say the same of a run with two training seeds."""
    fast = ("--resamples", "200")
    told = []
    for arguments in ((finished,), (f"{finished}:baseline", f"retmask={finished}:retmask")):
        done = harness("compare", *arguments, *fast, "--format", "json")
        assert done.returncode == 0, done.stderr
        told.append([each for each in json.loads(done.stdout)["comparisons"] if each["scope"] == "overall" and each["length"] is None])
    (run,), (named,) = told
    assert run["n_seeds"] == named["n_seeds"] == 2
    assert run["candidate"] == named["candidate"]
    one = harness("compare", f"{finished}:baseline", f"{finished}:retmask@1", *fast, "--format", "json")
    assert json.loads(one.stdout)["comparisons"][0]["n_seeds"] == 1
    missing = harness("compare", f"{finished}:baseline", f"{finished}:retmask@7", *fast)
    assert missing.returncode == 2
    assert "it has 42, 1" in missing.stderr
    checked = harness("check", "--baseline", f"{finished}:baseline", "--candidate", f"{finished}:retmask", *fast)
    assert checked.returncode in (0, 1, 4)
    assert "against" in checked.stdout.strip().splitlines()[-1], checked.stderr
    ranked = harness("leaderboard", finished, *fast)
    assert "2 training seeds" in ranked.stdout, ranked.stdout + ranked.stderr
    board = finished / "board.csv"
    assert harness("leaderboard", finished, *fast, "--output", board).returncode == 0
    rows = pd.read_csv(board)
    (method,) = rows[rows["model"].str.contains("retmask") & (rows["length"] == "mean")].itertuples()
    assert method.seeds == 2
    assert method.overall == pytest.approx(run["candidate"])
    assert harness("report", finished).returncode == 0
    assert "2 training seeds" in (finished / "report.html").read_text()


def test_a_margin_is_said_in_table_and_page_and_changes_no_evaluation(finished: Path) -> None:
    before = {path.name for path in (finished / "steps").iterdir()}
    done = harness("run", *SMALL, "--method", "retmask", "--margin", "90", "--output", finished)
    assert done.returncode == 0, done.stderr
    fresh = {path.name.rsplit("-", 1)[0] for path in (finished / "steps").iterdir() if path.name not in before}
    assert fresh == {"report"}
    said = "retmask and the baseline are equal within 90 points."
    assert said in " ".join((finished / "table.txt").read_text().split())
    assert said in (finished / "report.html").read_text()
    (finished / "report.html").unlink()
    assert harness("report", finished).returncode == 0
    assert said in (finished / "report.html").read_text(), "the run remembers its margin"


def test_a_variant_is_a_column_of_its_own_and_shares_what_it_can(finished: Path) -> None:
    before = {path.name for path in (finished / "steps").iterdir()}
    study = ("--method", "retmask(top_k=2)", "--method", "retmask( top_k = 3 )")
    done = harness("run", *SMALL, *study, "--output", finished)
    assert done.returncode == 0, done.stderr
    fresh = sorted(path.name.rsplit("-", 1)[0] for path in (finished / "steps").iterdir() if path.name not in before)
    assert fresh == sorted(["rejected-retmask", "pairs", "dpo", "heads", "generate", "eval"] * 2 + ["report"]), "all else is shared"
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["methods"] == manifest["config"]["methods"] == ["retmask(top_k=2)", "retmask(top_k=3)"]
    description = json.loads((finished / "report.json").read_text())
    assert [description["facts"][label]["masked heads"] for label in manifest["methods"]] == [2, 3]
    assert [study["option"] for study in description["studies"]] == ["top_k"]
    assert "heads masked by top_k" in (finished / "report.html").read_text()
    fast = ("--resamples", "200")
    compared = harness("compare", f"{finished}:baseline", f"{finished}:retmask(top_k=3)", *fast)
    assert compared.returncode == 0, compared.stderr
    assert harness("report", finished).returncode == 0
    assert "heads masked by top_k" in (finished / "report.html").read_text(), "the run remembers its study"
    ranked = harness("leaderboard", finished, *fast)
    assert "retmask(top_k=2)" in " ".join(ranked.stdout.split()), ranked.stdout + ranked.stderr


def test_a_killed_evaluation_goes_on_and_ends_in_the_same_samples(tmp_path: Path) -> None:
    arguments = ("eval", *SMALL[:-8], "--batch-tokens", "256")
    undisturbed = harness(*arguments, "--output", tmp_path / "calm")
    assert undisturbed.returncode == 0, undisturbed.stderr
    journal = _kill_when_journalled(arguments, tmp_path / "killed")
    finished = journal.read_bytes()
    again = harness(*arguments, "--output", tmp_path / "killed")
    assert again.returncode == 0, again.stderr
    (generated,) = tmp_path.glob("killed/steps/generate-*")
    assert (generated / journal.name).read_bytes().startswith(finished), "finished generations were redone"
    (resumed,), (calm,) = (list(tmp_path.glob(f"{name}/steps/eval-*")) for name in ("killed", "calm"))
    pd.testing.assert_frame_equal(pd.read_parquet(resumed / "samples.parquet"), pd.read_parquet(calm / "samples.parquet"))


def _kill_when_journalled(arguments: tuple[str, ...], output: Path) -> Path:
    """Start the command, kill -9 it as soon as a generation is on disk; the journal."""
    command = [sys.executable, "-m", "harness.commands.root", *arguments, "--output", str(output)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=ROOT)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        for journal in output.glob("steps/generate-*.work/generations.journal"):
            if journal.stat().st_size:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return journal
        time.sleep(0.02)
    process.kill()
    raise AssertionError("the evaluation ended before it could be killed")


def test_a_plugin_in_a_package_of_its_own(tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*pip, str(ROOT / "examples" / "shrink")], check=True, capture_output=True)
    assert len((site / "harness_shrink.py").read_text().splitlines()) <= 30
    arguments = (*SMALL[:-8], "--method", "shrink", "--set", "factor=0.5", "--output", tmp_path / "run")
    done = harness("run", *arguments, path=str(site))
    assert done.returncode == 0, done.stderr
    assert "shrink" in (tmp_path / "run" / "table.txt").read_text()
