"""``harness reproduce``: the same run again is the same, and what is not is counted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.reproduce import reproduce
from harness.commands.root import HarnessGroup, main
from harness.files import read_sealed, write_sealed
from harness.reproduce import differences
from harness.store.steps import check, seal
from reports.samples import digest, read, write

SMALL = ("--model", "builtin", "--preset", "builtin", "--tasks", "niah_mk,icl_coarse", "--lengths", "256", "--examples", "2")


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(HarnessGroup(commands={"reproduce": reproduce}), ["reproduce", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "run"
    result = CliRunner().invoke(main, ["eval", *SMALL, "--output", str(root)])
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def change_samples(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """As if the run had come out like this: its step is whole, and says so."""
    (folder,) = root.glob("steps/eval-*")
    manifest = check(folder)
    write(change(read(folder / "samples.parquet")), folder / "samples.parquet")
    (folder / "manifest.json").unlink()
    seal(folder, {name: value for name, value in manifest.items() if name != "files"})


def test_the_same_settings_on_the_same_machine_give_the_same_samples(run: Path, tmp_path: Path) -> None:
    result = harness(run, "--output", tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "equal"
    then, now = (read_sealed(root / "manifest.json") for root in (run, tmp_path / "again"))
    assert then["samples"] == now["samples"]
    (digest_then,) = then["samples"]  # type: ignore[misc]
    assert isinstance(digest_then, str)
    assert len(digest_then) == 64
    (table,) = run.glob("steps/eval-*/samples.parquet")
    assert digest(read(table)) == digest_then


def test_what_differs_is_counted_by_task(run: Path, tmp_path: Path) -> None:
    def other(frame: pd.DataFrame) -> pd.DataFrame:
        chosen = frame["example_id"] == frame.loc[frame["task"] == "niah_mk", "example_id"].iloc[0]
        return frame.assign(output=frame["output"].mask(chosen, "something else"), score=frame["score"].mask(chosen, 0.25))

    change_samples(run, other)
    result = harness(run, "--output", tmp_path / "again", "--json")
    assert result.exit_code == 1, result.output
    found = json.loads(result.output[result.output.index("{\n") :])
    assert found["equal"] is False
    assert {(task["task"], task["outputs"], task["scores"]) for task in found["tasks"]} == {("niah_mk", 1, 1), ("icl_coarse", 0, 0)}
    again = harness(run, "--output", tmp_path / "again")
    assert again.exit_code == 1
    assert "niah_mk at 256: 1 of 2 outputs and 1 scores differ" in again.output
    assert "icl_coarse" not in again.output


def test_other_circumstances_are_named(run: Path, tmp_path: Path) -> None:
    manifest = read_sealed(run / "manifest.json")
    versions, environment = dict(manifest["versions"]), dict(manifest["environment"])  # type: ignore[arg-type]
    assert {"python", "torch", "transformers", "numpy"} <= set(versions)
    assert {"platform", "processor", "cpus", "threads", "device", "dtype", "batch_tokens"} <= set(environment)
    assert environment["dtype"] == "float32"
    write_sealed(
        run / "manifest.json", {**manifest, "versions": {**versions, "torch": "1.0"}, "environment": {**environment, "processor": "Z80"}}
    )
    result = harness(run, "--output", tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert "note: versions torch: 1.0 then" in result.output
    assert "note: environment processor: Z80 then" in result.output


def test_a_trained_model_is_made_again_too(tmp_path: Path) -> None:
    sizes = ("--set", "prompts=8", "--set", "detection_trials=4", "--set", "detection_lengths=[256]", "--set", "max_new_tokens=8")
    done = CliRunner().invoke(main, ["run", *SMALL, "--method", "retmask", *sizes, "--output", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    result = harness(tmp_path / "run")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.partition(":")[0] for line in lines if "samples equal" in line] == ["baseline", "retmask"]


@pytest.mark.parametrize("cause", ["nothing there", "imported", "another model", "unknown setting", "itself", "damaged"])
def test_what_cannot_be_made_again_is_one_line(run: Path, tmp_path: Path, cause: str) -> None:
    manifest = read_sealed(run / "manifest.json")
    model, config = dict(manifest["model"]), dict(manifest["config"])  # type: ignore[arg-type]
    where, output, words = run, tmp_path / "again", ""
    if cause == "nothing there":
        where, words = tmp_path, "neither a run directory"
    elif cause == "imported":
        write_sealed(run / "manifest.json", {**manifest, "config": {"imported from": "helmet"}})
        words = "nothing says how to make it again"
    elif cause == "another model":
        write_sealed(run / "manifest.json", {**manifest, "model": {**model, "digest": "0" * 64}})
        words = "another model than the run's"
    elif cause == "unknown setting":
        write_sealed(run / "manifest.json", {**manifest, "config": {**config, "lenghts": [256]}})
        words = "did you mean 'lengths'?"
    elif cause == "itself":
        output, words = run, "is the run itself"
    else:
        (table,) = run.glob("steps/eval-*/samples.parquet")
        table.write_bytes(table.read_bytes()[:-1])
        words = str(table)
    result = harness(where, "--output", output)
    assert result.exit_code == 2, result.output
    assert words in result.output.strip().splitlines()[-1]
    assert not (tmp_path / "again").exists()


def test_examples_of_one_run_only_are_counted(made: Path) -> None:
    (table,) = made.glob("steps/eval-*/samples.parquet")
    frame = read(table)
    gone = frame[frame["example_id"] != frame["example_id"].iloc[0]]
    assert sum(task.missing for task in differences("x", frame, gone)) == 1
    assert sum(task.examples for task in differences("x", frame, gone)) == 3


def test_the_digest_knows_rows_and_not_their_order_or_label(made: Path) -> None:
    (table,) = made.glob("steps/eval-*/samples.parquet")
    frame = read(table)
    assert digest(frame) == digest(frame.iloc[::-1].assign(run="other"))
    assert digest(frame) != digest(frame.assign(output="other"))
    assert digest(frame) != digest(frame.iloc[1:])


def test_help_shows_examples() -> None:
    assert "harness reproduce runs/builtin" in harness("--help").output.split("Examples:", 1)[1]


def test_a_manifest_cannot_ask_for_a_models_code_to_be_run(run: Path) -> None:
    manifest = read_sealed(run / "manifest.json")
    config = {**manifest["config"], "trust_remote_code": True}  # type: ignore[dict-item]
    write_sealed(run / "manifest.json", {**manifest, "config": config})
    result = harness(run)
    assert result.exit_code == 2
    assert "trust_remote_code is not for files" in result.stderr
