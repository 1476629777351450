"""``harness runs``: list, show, verify, gc, on run directories that no model had to make."""

import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.api import Artifact, Json
from harness.artifacts import Store, locked, write_sealed
from harness.cli import HarnessGroup
from harness.runs import inspect, remove, unneeded
from harness.runs_cli import runs


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(HarnessGroup(commands={"runs": runs}), ["runs", *map(str, arguments)])


def write(work: Path) -> None:
    (work / "data.bin").write_bytes(bytes(3000))


def fail(work: Path) -> None:
    (work / "half.bin").write_bytes(bytes(2000))
    raise RuntimeError("killed")


def describe(root: Path, name: str, methods: list[str], steps: list[Artifact]) -> None:
    listed: list[Json] = [{"name": step.name, "key": step.key} for step in steps]
    about: dict[str, Json] = {
        "command": "harness run ...",
        "model": {"name": "tiny"},
        "methods": list(methods),
        "started": 1e9,
        "seconds": 7.5,
    }
    write_sealed(root / name, {**about, "steps": listed})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with two steps, one of an earlier command, and one that was interrupted."""
    root = tmp_path / "runs" / "tiny"
    store = Store(root)
    used = [store.step("generate", {"n": 1}, write), store.step("eval", {"n": 1}, write)]
    store.step("eval", {"n": 2}, write)
    with pytest.raises(RuntimeError):
        store.step("dpo", {}, fail)
    describe(root, "manifest.json", ["retmask", "retmask"], used)
    return root


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    root = tmp_path / "runs" / "deeper" / "other"
    Store(root).step("generate", {}, write)
    describe(root, "command.json", [], [])
    return root


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_list_shows_state_size_model_and_methods(run: Path, unfinished: Path) -> None:
    result = harness("list", run.parent)
    assert result.exit_code == 0
    first, second = sorted(result.output.splitlines())
    assert first.split()[0] == "finished"
    assert first.endswith("tiny: retmask")
    assert second.split()[0] == "unfinished"
    assert second.endswith("tiny: evaluation")
    assert "KiB" in first
    listed = json.loads(harness("list", run.parent, "--json").output)
    assert {each["path"]: each["state"] for each in listed} == {str(run): "finished", str(unfinished): "unfinished"}
    assert {each["bytes"] for each in listed if each["path"] == str(run)} == {
        sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    }


def test_looking_changes_nothing(run: Path, unfinished: Path) -> None:
    def state() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in run.parent.rglob("*")}

    before = state()
    for command in ("list", "verify"):
        harness(command, run.parent)
    harness("show", run)
    harness("gc", run.parent, "--dry-run")
    assert state() == before


def test_a_folder_without_runs(tmp_path: Path) -> None:
    assert "no runs below" in harness("list", tmp_path).output
    result = harness("list", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "no folder" in result.output


def test_show_lists_steps_with_key_and_state(run: Path) -> None:
    result = harness("show", run)
    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if "KiB" in line and "finished" in line and "tiny" not in line]
    assert len(lines) == 4
    assert sum(line.startswith("-") for line in lines) == 2, "the earlier command's step and the interrupted one"
    steps = json.loads(harness("show", run, "--json").output)["steps"]
    assert sorted((step["name"], step["state"], step["used"]) for step in steps) == [
        ("dpo", "unfinished", False),
        ("eval", "finished", False),
        ("eval", "finished", True),
        ("generate", "finished", True),
    ]
    assert harness("show", run.parent).exit_code == 2


def test_verify_finds_nothing_wrong_with_what_is_whole(run: Path, unfinished: Path) -> None:
    result = harness("verify", run.parent)
    assert result.exit_code == 0, result.output
    assert f"{run}: 3 finished steps are whole" in result.output


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a flipped bit": ("steps/generate-*/data.bin", flip),
    "a short file": ("steps/generate-*/data.bin", lambda path: path.write_bytes(b"1")),
    "a missing file": ("steps/generate-*/data.bin", Path.unlink),
    "a step's manifest": ("steps/eval-*/manifest.json", flip),
    "the run's manifest": ("manifest.json", flip),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_names_what_is_damaged(run: Path, damage: str) -> None:
    pattern, spoil = DAMAGE[damage]
    path = next(run.glob(pattern))
    spoil(path)
    result = harness("verify", run)
    assert result.exit_code == 2
    assert str(path) in result.output
    (found,) = json.loads(harness("verify", run, "--json").output)
    assert found["state"] == "damaged"


def test_verify_misses_a_step_that_the_manifest_names(run: Path) -> None:
    (step,) = run.glob("steps/generate-*")
    step.rename(run / "elsewhere")
    result = harness("verify", run)
    assert result.exit_code == 2
    assert f"{step} is missing" in result.output


def test_verify_compares_the_results_with_the_report_step(tmp_path: Path) -> None:
    def report(work: Path) -> None:
        for name in ("comparison.json", "comparison.csv", "comparison.md", "table.txt"):
            (work / name).write_text(name)

    step = Store(tmp_path).step("report", {}, report)
    for path in step.path.glob("[ct]*"):
        (tmp_path / path.name).write_text(path.read_text())
    describe(tmp_path, "manifest.json", ["retmask"], [step])
    assert harness("verify", tmp_path).exit_code == 0
    (tmp_path / "comparison.csv").write_text("better numbers")
    result = harness("verify", tmp_path)
    assert result.exit_code == 2
    assert "comparison.csv is not what the run's report step wrote" in result.output


def steps(root: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] + "".join(path.suffixes) for path in (root / "steps").iterdir())


def test_gc_shows_asks_and_frees_what_nothing_needs(run: Path) -> None:
    before = steps(run)
    result = harness("gc", run, "--dry-run")
    assert result.exit_code == 0
    assert "could be freed" in result.output
    assert sum("/steps/" in line for line in result.output.splitlines()) == 2
    assert harness("gc", run).exit_code == 1, "nobody answered"
    assert steps(run) == before
    result = harness("gc", run, "--yes")
    assert "freed" in result.output
    assert steps(run) == ["eval", "generate"]
    assert harness("verify", run).exit_code == 0


def test_gc_keeps_the_finished_steps_of_a_run_that_has_not_finished(unfinished: Path) -> None:
    harness("gc", unfinished, "--yes")
    assert steps(unfinished) == ["generate"]


def test_gc_keeps_everything_finished_if_the_manifest_cannot_be_read(run: Path) -> None:
    flip(run / "manifest.json")
    harness("gc", run, "--yes")
    assert steps(run) == ["eval", "eval", "generate"]


def _hold(lock: Path, ready: Path) -> None:
    with locked(lock):
        ready.touch()
        time.sleep(600)


def test_gc_leaves_what_a_process_is_working_on(run: Path, tmp_path: Path) -> None:
    (work,) = run.glob("steps/*.work")
    holder = multiprocessing.get_context("fork").Process(target=_hold, args=(work.with_suffix(".lock"), tmp_path / "ready"))
    holder.start()
    try:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        assert "under way" in harness("show", run).output
        harness("gc", run, "--yes")
        assert work.exists()
    finally:
        holder.kill()
        holder.join()
    harness("gc", run, "--yes")
    assert not work.exists()


def test_gc_leaves_what_a_process_has_taken_up_since_it_looked(run: Path) -> None:
    (step,) = (step for step in unneeded(inspect(run)) if step.state == "unfinished")
    with locked(step.path.with_suffix(".lock")):
        assert not remove(step)
    assert step.path.exists()
    assert remove(step)


def test_gc_as_json_deletes_only_when_told(run: Path) -> None:
    listed = json.loads(harness("gc", run, "--json").output)
    assert [each["removed"] for each in listed] == [False, False]
    listed = json.loads(harness("gc", run, "--json", "--yes").output)
    assert [each["removed"] for each in listed] == [True, True]
    assert steps(run) == ["eval", "generate"]


@pytest.mark.parametrize("command", ["list", "show", "verify", "gc"])
def test_every_help_shows_an_example(command: str) -> None:
    assert f"harness runs {command}" in harness(command, "--help").output.split("Examples:", 1)[1]
