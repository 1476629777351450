"""``harness runs``: list, show, verify, gc, on run directories that no model had to make."""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.api import Artifact, HarnessError, Json
from harness.commands.root import HarnessGroup
from harness.commands.runs import runs
from harness.files import read_sealed, write_sealed
from harness.store.begun import begin, finish
from harness.store.locks import locked
from harness.store.mark import FOLDER, MARK, unused
from harness.store.steps import Store
from harness.store.sweep import sweeps


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


@pytest.mark.parametrize("value", [1e308, 10**400, float("nan"), -1e308, [], {}, "x"])
def test_an_odd_run_keeps_no_other_from_being_listed(run: Path, value: Json) -> None:
    odd = run.parent / "odd"
    (odd / "steps").mkdir(parents=True)
    (odd / "manifest.json").write_text(json.dumps({"started": value, "seconds": value, "steps": [{"key": value, "name": value}]}))
    for command in (["list", run.parent], ["list", run.parent, "--json"], ["show", odd]):
        result = harness(*command)
        assert result.exit_code == 0, result.output
    assert "tiny" in harness("list", run.parent).stdout


@pytest.mark.parametrize("value", [1e308, -1e308, 1e12])
def test_odd_times_are_none(run: Path, value: float) -> None:
    odd = run.parent / "odd"
    (odd / "steps").mkdir(parents=True)
    (odd / "manifest.json").write_text(json.dumps({"version": 1, "started": value, "seconds": value, "steps": []}))
    for command in (["list", run.parent], ["show", odd]):
        result = harness(*command)
        assert result.exit_code == 0, result.output
    listed = {Path(each["path"]).name: each for each in json.loads(harness("list", run.parent, "--json").stdout)}
    assert listed["odd"]["state"] == "finished"
    assert listed["odd"]["started"] is listed["odd"]["seconds"] is None


def test_an_odd_run_is_one_line_whatever_it_is(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.store import inspect as module

    odd = run.parent / "odd"
    (odd / "steps").mkdir(parents=True)
    whole = module._shown
    monkeypatch.setattr(module, "_shown", lambda root, *more: {}["x"] if root == odd else whole(root, *more))
    result = harness("list", run.parent)
    assert result.exit_code == 0
    assert "damaged" in next(line for line in result.stdout.splitlines() if "odd" in line)
    assert "finished" in next(line for line in result.stdout.splitlines() if "tiny" in line)
    assert "holds what no run of the harness's does (KeyError: 'x')" in harness("verify", run.parent).output
    assert harness("show", odd).exit_code == 2


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
    harness("gc", run.parent, "--dry-run", "--older-than", "0")
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


OLD = ("--older-than", "0")


def test_gc_shows_asks_and_frees_what_nothing_needs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = steps(run)
    monkeypatch.chdir(run.parent)
    result = harness("gc", run.name, "--dry-run", *OLD)
    assert result.exit_code == 0
    assert "could be freed" in result.output
    assert sum(f"  {run}/steps/" in line for line in result.output.splitlines()) == 2, "full paths, however the folder was called"
    assert harness("gc", run, *OLD).exit_code == 2, "nobody answered"
    assert steps(run) == before
    result = harness("gc", run, "--yes", *OLD)
    assert "freed" in result.output
    assert steps(run) == ["eval", "generate"]
    assert harness("verify", run).exit_code == 0


def test_gc_keeps_the_finished_steps_of_a_run_that_has_not_finished(unfinished: Path) -> None:
    harness("gc", unfinished, "--yes", *OLD)
    assert steps(unfinished) == ["generate"]


def test_gc_keeps_everything_finished_if_the_manifest_cannot_be_read(run: Path) -> None:
    flip(run / "manifest.json")
    harness("gc", run, "--yes", *OLD)
    assert steps(run) == ["eval", "eval", "generate"]


def _hold(lock: Path, ready: Path) -> None:
    with locked(lock):
        ready.touch()
        time.sleep(600)


def _run(root: Path, ready: Path) -> None:
    store = Store(root)
    ready.touch()
    time.sleep(600)
    del store


@contextmanager
def another(target: Callable[..., None], *arguments: Path, ready: Path) -> Iterator[None]:
    holder = multiprocessing.get_context("fork").Process(target=target, args=(*arguments, ready))
    holder.start()
    try:
        while not ready.exists():
            time.sleep(0.01)
        yield
    finally:
        holder.kill()
        holder.join()


def test_gc_leaves_what_a_process_is_working_on(run: Path, tmp_path: Path) -> None:
    (work,) = run.glob("steps/*.work")
    with another(_hold, work.with_suffix(".lock"), ready=tmp_path / "ready"):
        assert "under way" in harness("show", run).output
        harness("gc", run, "--yes", *OLD)
        assert work.exists()
    harness("gc", run, "--yes", *OLD)
    assert not work.exists()


def test_gc_leaves_what_a_process_has_taken_up_since_it_looked(run: Path) -> None:
    (sweep,) = sweeps(run, 0)
    (step,) = (step for step in sweep.spare if step.state == "unfinished")
    with locked(step.path.with_suffix(".lock")):
        assert step not in sweep.remove()
    assert step.path.exists()


def test_gc_leaves_a_run_directory_that_a_command_uses(run: Path, tmp_path: Path) -> None:
    before = steps(run)
    (looked,) = sweeps(run, 0)
    with another(_run, run, ready=tmp_path / "ready"):
        result = harness("gc", run, "--yes", *OLD)
        assert f"left alone: {run} is in use by a running command" in result.output
        assert looked.remove() == [], "nor what was spare before it began"
        assert steps(run) == before
    harness("gc", run, "--yes", *OLD)
    assert steps(run) == ["eval", "generate"]


def test_a_command_that_begins_while_gc_deletes_waits(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    started = threading.Event()

    def begin_there() -> None:
        started.set()
        Store(run, say=said.append)

    with unused(run):
        thread = threading.Thread(target=begin_there)
        thread.start()
        started.wait()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    assert said == ["`harness runs gc` is deleting something here; waiting"]


def about(name: str) -> dict[str, Json]:
    return {"command": f"harness run {name}", "model": {"digest": "1"}, "methods": [name], "config": {}}


def test_gc_keeps_everything_for_a_command_that_has_not_finished(run: Path) -> None:
    before = steps(run)
    for work in run.glob("steps/*.work"):
        age(work, days=30)
    begin(run, about("interrupted"))
    begin(run, about("second"))
    finish(run, about("second"))
    result = harness("gc", run, "--yes")
    assert "is kept for a command that has not finished (harness run interrupted)" in result.output
    assert steps(run) == before
    age(run / FOLDER, days=8)
    harness("gc", run, "--yes")
    assert steps(run) == ["eval", "generate"], "after a week nobody goes on from it"


def test_gc_keeps_young_unfinished_work_of_commands_that_left_no_record(run: Path) -> None:
    before = steps(run)
    assert "is kept for a command that has not finished (unfinished work in dpo-" in harness("gc", run, "--yes").output
    assert steps(run) == before


def test_what_was_put_aside_goes_even_while_a_command_is_unfinished(run: Path) -> None:
    (run / "steps" / "eval-0123456789ab.damaged").mkdir()
    harness("gc", run, "--yes")
    assert "eval.damaged" not in steps(run)
    assert "dpo.work" in steps(run)


def age(path: Path, days: float) -> None:
    for each in (path, *path.rglob("*")):
        os.utime(each, (time.time() - 86_400 * days,) * 2)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Somebody's folders, called as a step is."""
    folder = tmp_path / "elsewhere"
    for name in ("thesis-0123456789ab.work", "thesis-0123456789ab.damaged", "thesis-0123456789ab", "thesis.work"):
        (folder / name).mkdir(parents=True)
        (folder / name / "thesis.tex").write_text("ten years")
    return folder


def test_gc_follows_no_link_called_steps(run: Path, elsewhere: Path) -> None:
    (run / "steps").rename(run / "moved")
    (run / "steps").symlink_to(elsewhere)
    result = harness("gc", run, "--yes", *OLD)
    assert f"left alone: {run}/steps is a link" in result.output
    assert len(list(elsewhere.rglob("thesis.tex"))) == 4


def test_gc_follows_no_link_that_takes_the_place_of_steps_after_it_looked(run: Path, elsewhere: Path) -> None:
    (sweep,) = sweeps(run, 0)
    (run / "steps").rename(run / "moved")
    for name in [step.path.name for step in sweep.spare]:
        (elsewhere / name).mkdir()
        (elsewhere / name / "thesis.tex").write_text("ten years")
    (run / "steps").symlink_to(elsewhere)
    with pytest.raises(HarnessError, match="is a link"):
        sweep.remove()
    assert len(list(elsewhere.rglob("thesis.tex"))) == 6


def test_gc_leaves_links_among_the_steps_and_what_they_lead_to(run: Path, elsewhere: Path) -> None:
    link = run / "steps" / "thesis-0123456789ab.work"
    link.symlink_to(elsewhere / link.name)
    inner = next(run.glob("steps/dpo-*.work")) / "linked"
    inner.symlink_to(elsewhere)
    result = harness("gc", run, "--yes", *OLD)
    assert f"left alone: {link} is a link" in result.output
    assert link.is_symlink()
    assert not inner.is_symlink()
    assert len(list(elsewhere.rglob("thesis.tex"))) == 4


def test_gc_names_runs_that_are_links(run: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "tiny").symlink_to(run)
    before = steps(run)
    assert f"left alone: {tmp_path}/links/tiny is a link" in harness("gc", tmp_path / "links", "--yes", *OLD).output
    assert steps(run) == before


def test_gc_deletes_nothing_in_folders_called_steps_that_are_not_the_harness_s(elsewhere: Path) -> None:
    elsewhere.rename(elsewhere.with_name("steps"))
    result = harness("gc", elsewhere.parent, "--yes", *OLD)
    assert "has a folder called steps and no mark of the harness" in result.output
    assert len(list(elsewhere.parent.rglob("thesis.tex"))) == 4


def test_gc_deletes_only_what_has_a_step_s_name(run: Path, elsewhere: Path) -> None:
    for name in ("thesis.work", "thesis-0123456789ab"):
        (elsewhere / name).rename(run / "steps" / name)
    result = harness("gc", run, "--yes", *OLD)
    assert f"{run}/steps/thesis.work was not made by the harness" in result.output
    assert len(list(run.rglob("thesis.tex"))) == 2


def unmark(run: Path) -> None:
    for path in (run / FOLDER / MARK, *run.glob(f"{FOLDER}/*")):
        path.unlink(missing_ok=True)
    (run / FOLDER).rmdir()


def test_a_run_of_an_earlier_version_is_known_by_its_sealed_manifest(run: Path) -> None:
    unmark(run)
    about: dict[str, Json] = {**read_sealed(run / "manifest.json"), "config": {"seed": 1}}
    (run / "manifest.json").unlink()
    assert "no mark of the harness" in harness("gc", run, "--yes", *OLD).output
    write_sealed(run / "manifest.json", about)
    before = steps(run)
    write_sealed(run / "command.json", {**about, "started": time.time()})
    assert "is kept for a command that has not finished (harness run ...)" in harness("gc", run, "--yes").output
    assert steps(run) == before
    harness("gc", run, "--yes", *OLD)
    assert steps(run) == ["eval", "generate"]


def test_a_mark_that_is_a_link_is_no_mark(run: Path, tmp_path: Path) -> None:
    (run / FOLDER / MARK).rename(tmp_path / "mark")
    (run / FOLDER / MARK).symlink_to(tmp_path / "mark")
    assert "no mark of the harness" in harness("gc", run, "--yes", *OLD).output
    with pytest.raises(HarnessError, match="is a link"):
        Store(run)


def test_gc_as_json_deletes_only_when_told(run: Path) -> None:
    listed = json.loads(harness("gc", run, "--json", *OLD).output)
    assert [each["removed"] for each in listed] == [False, False]
    listed = json.loads(harness("gc", run, "--json").output)
    assert [each["state"] for each in listed] == ["left alone"]
    listed = json.loads(harness("gc", run, "--json", "--yes", *OLD).output)
    assert [each["removed"] for each in listed] == [True, True]
    assert steps(run) == ["eval", "generate"]


@pytest.mark.parametrize("command", ["list", "show", "verify", "gc"])
def test_every_help_shows_an_example(command: str) -> None:
    assert f"harness runs {command}" in harness(command, "--help").output.split("Examples:", 1)[1]
