"""`harness compare` on run directories and files, in every format."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.compare import compare
from harness.commands.leaderboard import leaderboard
from harness.commands.report import report
from harness.commands.root import HarnessGroup
from reports.samples import write

MakeSamples = Callable[..., pd.DataFrame]
MakeRun = Callable[..., Path]
ROOT = Path(__file__).parents[3]
FAST = ("--resamples", "200")


def harness(*arguments: str | Path) -> Result:
    group = HarnessGroup(commands={"compare": compare})
    return CliRunner().invoke(group, ["compare", *map(str, arguments)])


@pytest.fixture
def run(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> Path:
    base = make_samples(questions=20)
    better = base.assign(score=(base["score"] + 0.2).clip(0, 1))
    return make_run(tmp_path / "run", base, retmask=better, randmask=make_samples(seed=1, questions=20))


def test_a_run_directory_alone_compares_its_methods_and_the_controls(run: Path) -> None:
    result = harness(run, *FAST)
    assert result.exit_code == 0, result.output
    assert "retmask improved on the baseline" in result.output
    assert "difference between methods" in result.output
    assert result.output.count("In brackets: where the true") == 1  # said once for both tables


def test_every_format_can_be_written_and_holds_the_same_difference(run: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"out/table.{suffix}" for suffix in ("txt", "md", "json", "csv", "tex", "parquet")]
    result = harness(run, *FAST, *(part for file in files for part in ("--output", file)))
    assert result.exit_code == 0, result.output
    record = json.loads(files[2].read_text())["comparisons"][0]
    assert next(csv.DictReader(io.StringIO(files[3].read_text())))["delta"] == str(record["delta"])
    frame = pd.read_parquet(files[5])
    assert frame["delta"].iloc[0] == record["delta"]
    assert pd.isna(frame["length"].iloc[0])
    shown = f"{100 * record['delta']:+.1f}"
    for file in (files[0], files[1], files[4]):
        assert shown in file.read_text(), file
    tex = files[4].read_text()
    assert tex.count("\\begin{tabular}") == tex.count("\\bottomrule") == 1
    columns = [line.count(" & ") for line in tex.splitlines() if line.endswith("\\\\")]
    assert columns[0] == 2 + 2
    assert set(columns[1:]) == {2 + 2 * 2}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(file.name for file in files), "no litter"


def test_the_output_can_be_a_program_s_input(run: Path) -> None:
    result = harness(f"{run}:baseline", f"{run}:retmask", *FAST, "--format", "json")
    found = json.loads(result.stdout)
    assert {record["name"] for record in found["comparisons"]} == {"retmask"}
    assert found["settings"]["resamples"] == 200


def test_the_same_name_again_is_another_training_seed(run: Path) -> None:
    result = harness(f"{run}:baseline", f"ours={run}:retmask", f"ours={run}:randmask", *FAST, "--format", "json")
    assert {record["n_seeds"] for record in json.loads(result.stdout)["comparisons"]} == {2}


def test_a_mismatch_is_refused_then_allowed_and_shown(tmp_path: Path, make_samples: MakeSamples) -> None:
    write(make_samples(), tmp_path / "hf.parquet")
    write(make_samples(seed=1).assign(backend="vllm"), tmp_path / "vllm.parquet")
    refused = harness(tmp_path / "hf.parquet", tmp_path / "vllm.parquet", *FAST)
    assert refused.exit_code == 2
    assert "--allow-mismatch backend" in refused.output.splitlines()[-1]
    allowed = harness(tmp_path / "hf.parquet", tmp_path / "vllm.parquet", *FAST, "--allow-mismatch", "backend")
    assert allowed.exit_code == 0
    assert "Note: vllm: compared across different backends (hf and vllm)" in allowed.output


def test_the_size_of_suite_that_an_effect_takes_is_said(run: Path) -> None:
    result = harness(f"{run}:baseline", f"{run}:randmask", *FAST, "--effect", "0.5", "--format", "md")
    assert "true overall difference of 0.5 points with 80% power takes about" in result.output


def test_earlier_evaluations_of_more_questions_are_used_or_it_is_said_why_not(run: Path, tmp_path: Path, make_samples: MakeSamples) -> None:
    result = harness(run, *FAST, "--history", f"{run}:baseline")
    assert result.exit_code == 0, result.output
    assert "retmask: the difficulty of questions is of no use here: the earlier evaluations know no more" in " ".join(result.output.split())
    write(make_samples(questions=5), tmp_path / "few.parquet")
    refused = harness(run, *FAST, "--history", tmp_path / "few.parquet")
    assert refused.exit_code == 2
    assert "questions that it does not know" in refused.output.splitlines()[-1]
    assert harness(run, *FAST, "--history", f"{run}:baseline", "--common").exit_code == 2
    shown = CliRunner().invoke(HarnessGroup(commands={"report": report}), ["report", str(run), "--history", f"{run}:baseline"])
    assert shown.exit_code == 0, shown.output
    assert "<h2>Difficulty of questions</h2>" in (run / "report.html").read_text()


def test_the_same_model_twice_shows_the_noise_floor(tmp_path: Path, make_samples: MakeSamples) -> None:
    first = make_samples()
    second = first.copy()
    second.loc[0, "output"], second.loc[0, "score"] = "other", 0.0
    write(first, tmp_path / "a.parquet")
    write(second, tmp_path / "b.parquet")
    result = harness("--aa", tmp_path / "a.parquet", tmp_path / "b.parquet", "--format", "json")
    found = json.loads(result.stdout)
    assert (found["outputs_changed"], found["scores_changed"]) == (1, 1)
    overall = found["floors"][0]
    assert overall["floor"] == pytest.approx(1.959964 * abs(overall["delta"]))
    assert "1 of 72 outputs differ" in harness("--aa", tmp_path / "a.parquet", tmp_path / "b.parquet").output.replace("\n", " ")
    same = harness("--aa", tmp_path / "a.parquet", tmp_path / "a.parquet")
    assert "outputs are the same" in same.output


def test_the_noise_floor_of_two_models_is_refused(tmp_path: Path, make_samples: MakeSamples) -> None:
    write(make_samples(), tmp_path / "a.parquet")
    write(make_samples(seed=1).assign(model_digest="other"), tmp_path / "b.parquet")
    result = harness("--aa", tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert result.exit_code == 2
    assert "two models" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing/here",), "no evaluation at nothing/here"),
        (("{run}:magic",), "it has baseline, retmask, randmask"),
        (("{run}:retmask",), "name at least two"),
        (("{run}", "{run}:retmask"), "{run}:baseline"),
        (("{run}", "--output", "table.pdf"), ".parquet"),
        (("x={run}", "{run}:retmask"), "choose one, such as x="),
        (("{run}:baseline", "{run}:retmask", "{run}:retmask"), "two evaluations are called retmask"),
    ],
)
def test_bad_input_is_one_line(run: Path, arguments: tuple[str, ...], words: str) -> None:
    result = harness(*(argument.format(run=run) for argument in arguments))
    assert result.exit_code == 2
    assert words.format(run=run) in result.output.strip().splitlines()[-1]
    assert "Traceback" not in result.output


@pytest.mark.parametrize("key", ["../../../etc/passwd", "z" * 64, ""])
def test_a_manifest_cannot_point_outside_its_run(run: Path, key: str) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["evaluations"][0] = key
    (run / "manifest.json").write_text(json.dumps(manifest))
    result = harness(run)
    assert result.exit_code == 2
    assert "does not list the run's evaluations" in result.output


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    result = harness(tmp_path)
    assert result.exit_code == 2
    assert "has not finished" in result.output


@pytest.mark.parametrize("module", ["compare", "check", "baseline", "leaderboard", "report"])
def test_a_command_s_help_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "transformers", "pandas", "scipy", "matplotlib")
    code = f"import sys, harness.commands.{module}\nprint([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [compare, leaderboard, report])
def test_help_teaches_by_example(command: click.Command) -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    assert f"harness {command.name}" in text.split("Example", 1)[1]


def test_a_name_may_be_a_hub_id(tmp_path: Path, make_samples: MakeSamples) -> None:
    write(make_samples(questions=20), tmp_path / "a.parquet")
    result = harness(f"org/base={tmp_path / 'a.parquet'}", f"org/tuned={tmp_path / 'a.parquet'}", *FAST)
    assert result.exit_code == 0, result.output
    assert "org/tuned" in result.output
    assert harness(f"org/base={tmp_path / 'nowhere.parquet'}", f"org/tuned={tmp_path / 'a.parquet'}").exit_code == 2
