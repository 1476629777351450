"""`harness relate` over run directories: gains, sparsity with its errors, what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.root import HarnessGroup
from harness.store.steps import seal
from retmask.commands.relate import relate_command
from retmask.heads.scores import HeadScores, TrialFacts

MakeSamples = Callable[..., pd.DataFrame]
MakeRun = Callable[..., Path]


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(HarnessGroup(commands={"relate": relate_command}), ["relate", *map(str, arguments)])


def with_heads(root: Path, high: int, audit: int | None = None) -> Path:
    """Let a run say that ``high`` of 20 heads copied, in 12 trials; its trained model's heads are measured, too."""
    manifest = json.loads((root / "manifest.json").read_text())
    steps = []
    for key, model, heads in (("a" * 64, "trained", 20), ("b" * 64, "intact", high)):
        folder = root / "steps" / f"heads-{key[:12]}"
        values = np.zeros((12, 2, 10), np.float32)
        values.reshape(12, -1)[:, :heads] = np.random.default_rng(high).uniform(0.2, 0.9, (12, heads))
        folder.mkdir()
        HeadScores(model, values, (TrialFacts(True),) * 12).save(folder / "heads.safetensors")
        seal(folder, {"step": "heads", "key": key, "inputs": {"model": model}})
        steps.append({"name": "heads", "key": key, "seconds": 1.0, "reused": False})
    if audit is not None:
        folder = root / "steps" / f"audit-{'c' * 12}"
        folder.mkdir()
        (folder / "audit.json").write_text(json.dumps({"k": audit}))
        seal(folder, {"step": "audit", "key": "c" * 64})
        steps.append({"name": "audit", "key": "c" * 64, "seconds": 1.0, "reused": False})
    table = {**manifest, "model": {"name": root.name, "digest": "intact"}, "steps": steps}
    (root / "manifest.json").write_text(json.dumps(table))
    return root


@pytest.fixture
def runs(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> list[Path]:
    """Six models; the fewer heads copy, the more is gained."""
    found = []
    for number, high in enumerate((2, 4, 6, 8, 10, 12)):
        base = make_samples(seed=number, questions=20)
        better = base.assign(score=(base["score"] + 0.02 * (6 - number)).clip(0, 1))
        root = make_run(tmp_path / f"model{number}", base, retmask=better, randmask=base.assign(output="other"))
        found.append(with_heads(root, high, audit=high))
    return found


def test_gain_is_related_to_the_untrained_models_sparsity(runs: list[Path], tmp_path: Path) -> None:
    done = harness(*runs, "--format", "json", "--resamples", "200", "--out", tmp_path / "related")
    assert done.exit_code == 0, done.output
    table = json.loads(done.stdout)
    assert table == json.loads((tmp_path / "related/relate.json").read_text())
    assert [run["sparsity"]["share"] for run in table["runs"]] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert all(run["errors"]["gini"] > 0 for run in table["runs"])
    assert table["runs"][0]["gain"] == pytest.approx(12, abs=1)
    fits = table["fits"]
    assert list(fits) == ["gini", "hoyer", "share", "depth"]
    assert fits["gini"]["spearman"][0] == pytest.approx(1)
    assert (fits["gini"]["claim"], fits["share"]["claim"], fits["depth"]["claim"]) == (1, -1, -1)
    assert fits["share"]["slope"][0] == pytest.approx(-20, abs=3)
    assert [each["gain"] for each in table["published_not_run_again"]] == [2.28, 0.89, 0.47, 0.59]
    assert {path.name for path in (tmp_path / "related").glob("*.svg")} == {f"gain_{name}.svg" for name in fits}


def test_a_terminal_shows_runs_fits_and_what_was_not_run_again(runs: list[Path]) -> None:
    done = harness(*runs, "--resamples", "200")
    assert done.exit_code == 0, done.output
    assert "gini: rank correlation +1.00" in done.stdout
    assert "gain grows with it" in done.stdout
    assert "published, not run again: Qwen3-8B" in done.stdout
    assert "published" not in harness(*runs, "--resamples", "200", "--no-published").stdout


def test_a_control_can_be_what_the_gain_is_counted_from(runs: list[Path]) -> None:
    named = [f"{run}:randmask" for run in runs]
    table = json.loads(harness(*named, "--against", "retmask", "--format", "json", "--resamples", "200").stdout)
    assert table["runs"][0]["gain"] == pytest.approx(-12, abs=1)


def test_methods_of_one_run_share_their_baseline_and_it_is_said(runs: list[Path]) -> None:
    done = harness(*runs, f"{runs[0]}:randmask", "--resamples", "200")
    assert "some runs share the evaluation that their gains are counted from" in done.stdout


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda runs: [*runs, runs[0]], "a run is named twice"),
        (lambda runs: [f"{runs[0]}:kopy"], "has no evaluation 'kopy'; it has baseline, retmask, randmask"),
        (lambda runs: [f"{runs[0]}:baseline"], "would be held against itself"),
        (lambda runs: [runs[0] / "nothing"], "give a run directory"),
        (lambda runs: [f"{runs[0]}:"], "names no method behind its colon"),
    ],
)
def test_what_is_refused(runs: list[Path], change: Callable[[list[Path]], list[Path]], why: str) -> None:
    done = harness(*change(runs), "--resamples", "200")
    assert done.exit_code == 2
    assert why in done.stderr


def test_a_method_may_be_spelt_otherwise(runs: list[Path]) -> None:
    done = harness(*(f"{run}: retmask" for run in runs), "--against", " randmask", "--resamples", "200")
    assert done.exit_code == 0, done.output


def test_a_run_counts_once_under_whatever_path(runs: list[Path]) -> None:
    shutil.copytree(runs[0], runs[0].with_name("copied"))
    for other in (f"{runs[0]}/", runs[0] / ".." / runs[0].name, runs[0].with_name("copied")):
        done = harness(*runs, other, "--resamples", "200")
        assert (done.exit_code, "a run is named twice" in done.stderr) == (2, True), done.output


@pytest.mark.parametrize("tau", ["nan", "inf", "-1"])
def test_a_threshold_is_a_number_from_zero(runs: list[Path], tau: str) -> None:
    assert harness(*runs, "--tau", tau).exit_code == 2


def test_a_run_without_heads_is_refused(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> None:
    base = make_samples(questions=20)
    root = make_run(tmp_path / "sft", base, sft=base)
    done = harness(root, "--resamples", "200")
    assert done.exit_code == 2
    assert "measured no heads of its model" in done.stderr


def test_three_runs_are_shown_but_not_related(runs: list[Path]) -> None:
    done = harness(*runs[:3], "--resamples", "200")
    assert done.exit_code == 0
    assert "gini: 3 points are too few" in done.stdout


def scored_by(root: Path, detector: str, high: int) -> None:
    """Let a run have a variant of another detector, which found ``high`` of 20 heads, and a variant that masks MLPs."""
    manifest = json.loads((root / "manifest.json").read_text())
    key = detector[0] * 64
    folder = root / "steps" / f"heads-{key[:12]}"
    values = np.zeros((12, 2, 10), np.float32)
    values.reshape(12, -1)[:, :high] = np.random.default_rng(high).uniform(0.2, 0.9, (12, high))
    folder.mkdir()
    HeadScores("intact", values, (TrialFacts(True),) * 12, detector).save(folder / "heads.safetensors")
    seal(folder, {"step": "heads", "key": key, "inputs": {"model": "intact", "detector": detector}})
    manifest["steps"].append({"name": "heads", "key": key, "seconds": 1.0, "reused": False})
    manifest["config"] = {
        **manifest.get("config", {}),
        "options": {},
        "methods": [f"retmask(detector={detector})", "retmask(components=mlp)"],
    }
    (root / "manifest.json").write_text(json.dumps(manifest))


def test_a_variants_sparsity_is_that_of_the_detector_that_it_asked_for(
    tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun
) -> None:
    base = make_samples(questions=20)
    methods = {name: base.assign(output=name) for name in ("retmask", "retmask(detector=query)", "retmask(components=mlp)")}
    root = with_heads(make_run(tmp_path / "model", base, **methods), 4, audit=4)
    scored_by(root, "query", 10)
    done = harness(root, f"{root}:retmask(detector=query)", "--resamples", "200", "--format", "json")
    assert done.exit_code == 0, done.output
    copy, query = json.loads(done.stdout)["runs"]
    assert (copy["sparsity"]["share"], query["sparsity"]["share"]) == (0.2, 0.5)
    assert (copy["detector"], query["detector"]) == ("copy", "query")
    assert "heads were scored by copy, query" in harness(root, f"{root}:retmask(detector=query)", "--resamples", "200").stdout
    refused = harness(root, f"{root}:retmask(components=mlp)", "--resamples", "200")
    assert refused.exit_code == 2
    assert "masks mlp, and sparsity is that of heads" in refused.stderr
