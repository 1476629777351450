"""Steps: built once, resumed, never half-believed."""

import contextlib
import errno
import fcntl
import itertools
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from harness import files
from harness.api import HarnessError
from harness.files import DamagedError, digest, file_digest, read_sealed, write_sealed
from harness.store import journal
from harness.store import steps as artifacts
from harness.store.journal import Records, read_lines
from harness.store.locks import if_free, locked
from harness.store.steps import Store, check
from tasks import files as writing


def write(text: str):
    def build(work: Path) -> dict[str, int]:
        (work / "file.txt").write_text(text)
        return {"letters": len(text)}

    return build


def never(work: Path) -> None:
    raise AssertionError("built again")


def test_a_step_is_built_once_and_then_reused(tmp_path: Path) -> None:
    first = Store(tmp_path).step("greet", {"to": "you"}, write("hello"))
    again = Store(tmp_path).step("greet", {"to": "you"}, never)
    assert (first.reused, again.reused) == (False, True)
    assert again.path == first.path
    assert again.manifest["facts"] == {"letters": 5}
    assert again.manifest["inputs"] == {"to": "you"}


def test_other_inputs_and_other_versions_are_other_steps(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = {
        store.step("greet", {"to": "you"}, write("a")).key,
        store.step("greet", {"to": "me"}, write("b")).key,
        store.step("meet", {"to": "you"}, write("c")).key,
        store.step("greet", {"to": "you"}, write("d"), version=2).key,
    }
    assert len(keys) == 4


def test_a_failed_build_publishes_nothing_and_the_next_goes_on_from_its_work(tmp_path: Path) -> None:
    def fail(work: Path) -> None:
        (work / "half.txt").write_text("half")
        raise RuntimeError("killed")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        store.step("long", {}, fail)
    assert not list(tmp_path.glob("steps/long-*/manifest.json"))
    seen: list[str] = []
    artifact = store.step("long", {}, lambda work: seen.append((work / "half.txt").read_text()))
    assert seen == ["half"]
    assert (artifact.path / "half.txt").exists()


def _journalled(root: Path, made: Path) -> None:
    """A step with a journal of two records, and a manifest of the whole that is written twice. ``made`` gets each record's name."""

    def build(work: Path) -> None:
        records = Records(work / "lines.journal")
        for name in "ab":
            if name not in records.finished:
                records.append({name: {"text": "x"}})
                with made.open("a") as file:
                    file.write(name)
        (work / "data.bin").write_text("data")

    Store(root).step("greet", {}, build)
    for number in (1, 2):
        write_sealed(root / "manifest.json", {"number": number})


#: The code that writes files: the store, the journal, and what both of them write with.
TRACED = (artifacts.__file__, journal.__file__, files.__file__, writing.__file__)


def _killed_at(line: int, root: Path, made: Path) -> bool:
    """:func:`_journalled` in a process that gets SIGKILL before the ``line``-th line it comes to of the code that writes files.

    Whether it came to it.
    """
    process = os.fork()
    if process == 0:
        left = itertools.count(line, -1)

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            code = frame.f_code
            writes = code.co_filename == pathlib.__file__ and code.co_name in ("write_text", "write_bytes")
            if not writes and code.co_filename not in TRACED:
                return None
            if event == "line" and next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            sys.settrace(trace)
            _journalled(root, made)
        finally:
            os._exit(0)
    return os.waitpid(process, 0)[1] == signal.SIGKILL


def test_killed_before_any_line_a_step_goes_on_and_nothing_is_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "fsync", lambda handle: None
    )  # a killed process loses nothing that it wrote, and syncing takes most of the time
    for line in itertools.count():
        root, made = tmp_path / str(line), tmp_path / f"{line}.made"
        killed = _killed_at(line, root, made)
        if (root / "manifest.json").exists():
            assert read_sealed(root / "manifest.json")["number"] in (1, 2), "the old one or the new one"
        finished = {step: check(step) for step in root.glob("steps/greet-*") if not step.suffix}
        before = {str(record["id"]) for path in root.glob("steps/*/lines.journal") for record in read_lines(path).records}
        assert set(made.read_text() if made.exists() else "") <= before, "a finished record is gone"
        _journalled(root, made)
        (step,) = (path for path in root.glob("steps/*") if path.is_dir())
        assert check(step) == finished.get(step, check(step)), "a finished step was made again"
        assert sorted(path.name for path in step.iterdir()) == ["data.bin", "lines.journal", "manifest.json"]
        assert [record["id"] for record in read_lines(step / "lines.journal").records] == ["a", "b"]
        assert len(set(made.read_text())) == len(made.read_text()), "a finished record was made again"
        assert read_sealed(root / "manifest.json")["number"] == 2
        if not killed:
            break
    assert line > 100, "lines were counted"


def test_everything_is_on_the_disk_before_a_step_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not synced, file or folder, may be gone after a power failure."""
    events: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def synced(handle: int) -> None:
        events.append("sync " + os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), tmp_path / "steps"))
        fsync(handle)

    def renamed(move: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def spy(source: Path, target: Path) -> None:
            events.append(f"name {os.path.relpath(target, tmp_path / 'steps')}")
            move(source, target)

        return spy

    def build(work: Path) -> None:
        (work / "model").mkdir()
        (work / "model" / "weights").write_text("0")
        Records(work / "lines.journal").append({"a": {}})
        events.append("answered")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed(rename))
    monkeypatch.setattr(os, "replace", renamed(replace))
    step = Store(tmp_path).step("both", {}, build).path.name
    work, temporary = f"{step}.work", f".manifest.json.{os.getpid()}"
    answered = events.index("answered")
    begun = [f"sync {work}/..begun.json.{os.getpid()}", f"name {work}/.begun.json", f"sync {work}"]
    assert events[:answered] == ["sync .", *begun, f"sync {work}/lines.journal", f"sync {work}"], "found again, with all that was answered"
    contents = [f"sync {work}/lines.journal", f"sync {work}/model/weights", f"sync {work}/model"]
    manifest = [f"sync {work}/{temporary}", f"name {work}/manifest.json", f"sync {work}"]
    assert events[answered + 1 :] == [*contents, *manifest, f"name {step}", "sync ."]


def flip(path: Path, position: int = 3) -> None:
    """One bit, so that neither size nor, as on a disk that rots, time stamp tells."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:3]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": Path.unlink,
    "one bit flipped": flip,
}


@pytest.mark.parametrize("name", ["file.txt", "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_artifact_is_named_put_aside_and_built_again(tmp_path: Path, damage: str, name: str) -> None:
    artifact = Store(tmp_path).step("greet", {}, write("hello"))
    DAMAGE[damage](artifact.path / name)
    assert Store(tmp_path, read_only=True).find("greet", {}) is None
    said: list[str] = []
    again = Store(tmp_path, say=said.append).step("greet", {}, write("hello"))
    assert not again.reused
    assert (again.path / "file.txt").read_text() == "hello"
    (line,) = said
    assert str(artifact.path / name) in line
    assert artifact.path.with_name(f"{artifact.path.name}.damaged").is_dir(), "what was found is kept to be looked at"


def test_every_bit_of_a_manifest_is_vouched_for(tmp_path: Path) -> None:
    manifest = Store(tmp_path).step("greet", {"to": "you"}, write("hello")).path / "manifest.json"
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        if whole[position : position + 1].isspace():
            continue  # white space outside of texts means nothing; there is none inside
        flip(manifest, position)
        with pytest.raises(DamagedError):
            check(manifest.parent)
        manifest.write_bytes(whole)
    check(manifest.parent)


def test_what_an_earlier_version_finished_is_still_used(tmp_path: Path) -> None:
    artifact = Store(tmp_path).step("greet", {}, write("hello"))
    manifest = {name: value for name, value in artifact.manifest.items() if name not in ("format", "checksum")}
    (artifact.path / "manifest.json").write_text(json.dumps({**manifest, "files": {"file.txt": 5}}))
    assert Store(tmp_path).step("greet", {}, never).reused
    (artifact.path / "file.txt").write_text("hell")
    assert not Store(tmp_path).step("greet", {}, write("hello")).reused, "its size is known"


def test_large_files_are_hashed_when_touched_and_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "ALWAYS_HASHED", 2)
    monkeypatch.setattr(files, "ALWAYS_HASHED", 2)
    file = Store(tmp_path).step("greet", {}, write("hello")).path / "file.txt"
    hashed: list[Path] = []

    def spy(path: Path) -> str:
        hashed.append(path)
        return file_digest(path)

    monkeypatch.setattr(artifacts, "file_digest", spy)
    check(file.parent)
    assert hashed == []
    check(file.parent, thorough=True)
    assert hashed == [file]
    os.utime(file)
    check(file.parent)
    assert hashed == [file, file]
    flip(file)
    files._remembered.cache_clear()  # as in another process
    with pytest.raises(DamagedError, match="checksum"):
        check(file.parent, thorough=True)


def test_rotten_weights_are_found_before_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large to be hashed at every use, and with the time stamp they had."""

    def train(work: Path) -> None:
        (work / "model").mkdir()
        (work / "model" / "model.safetensors").write_bytes(bytes(100))

    monkeypatch.setattr(artifacts, "ALWAYS_HASHED", 10)
    monkeypatch.setattr(files, "ALWAYS_HASHED", 10)
    store = Store(tmp_path)
    checkpoint = store.step("dpo", {}, train).path / "model"
    store.distrust(checkpoint)
    flip(checkpoint / "model.safetensors", 50)
    files._remembered.cache_clear()  # as in the next command
    assert store.step("dpo", {}, never).reused
    with pytest.raises(DamagedError, match=r"model\.safetensors does not match its checksum.*same command again"):
        store.distrust(checkpoint)
    assert not store.step("dpo", {}, train).reused
    store.distrust(checkpoint)
    store.distrust(tmp_path.parent)  # no step's: not ours to judge


def test_a_rebuilt_step_starts_from_nothing_but_its_journals(tmp_path: Path) -> None:
    def build(work: Path) -> None:
        seen.append(sorted(path.name for path in work.iterdir() if not path.name.startswith(".")))
        (work / "data.bin").write_text("data")
        (work / "lines.journal").write_text("lines")

    seen: list[list[str]] = []
    artifact = Store(tmp_path).step("both", {}, build)
    flip(artifact.path / "data.bin")
    Store(tmp_path).step("both", {}, build)
    assert seen == [[], ["lines.journal"]]


@pytest.mark.parametrize("name", ["/dev/zero", "../../elsewhere", "a/../../b", "zero", "pipe"])
def test_a_step_lists_files_of_its_own(tmp_path: Path, name: str) -> None:
    """A device has no end, a pipe may never have a beginning, and what is elsewhere is nobody's business."""
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "step" / "pipe")
    write_sealed(tmp_path / "step" / "manifest.json", {"files": {name: {"bytes": 0, "sha256": "0", "modified": 1}}})
    with pytest.raises(DamagedError, match="outside of its step" if "/" in name else "pipe or a device"):
        check(tmp_path / "step", thorough=True)


def test_a_pipe_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(DamagedError, match="pipe or a device"):
        read_sealed(tmp_path / "manifest.json")


def test_an_artifact_under_another_key_is_refused(tmp_path: Path) -> None:
    artifact = Store(tmp_path).step("greet", {}, write("hello"))
    write_sealed(artifact.path / "manifest.json", {**check(artifact.path), "key": "0" * 64})
    with pytest.raises(HarnessError, match="another step"):
        Store(tmp_path).step("greet", {}, never)


def _contend(root: Path, log: Path) -> None:
    def build(work: Path) -> None:
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(0.2)  # until all of them want it
        (work / "file.txt").write_text("x")

    Store(root).step("shared", {}, build)


def test_processes_that_want_one_step_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_contend, args=(tmp_path, tmp_path / "log")) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert (tmp_path / "log").read_text() == "built\n"


def _hold(path: Path, ready: Path) -> None:
    with locked(path):
        ready.touch()
        time.sleep(600)


def test_a_lock_survives_neither_its_holder_nor_its_file(tmp_path: Path) -> None:
    """A killed holder frees it; and who waited on the file that the holder deleted shares it with nobody."""
    path, ready = tmp_path / "lock", tmp_path / "ready"
    holder = multiprocessing.get_context("fork").Process(target=_hold, args=(path, ready))
    holder.start()
    while not ready.exists():
        time.sleep(0.01)
    with if_free(path) as free:
        assert not free
    holder.kill()
    holder.join()
    with if_free(path) as free:
        assert free
    assert not path.exists()


def _fail_alone(root: Path, log: Path) -> None:
    def build(work: Path) -> None:
        with log.open("a") as file:
            file.write("in\n")
        time.sleep(0.05)
        with log.open("a") as file:
            file.write("out\n")
        raise RuntimeError("as asked")

    with contextlib.suppress(RuntimeError):
        for _ in range(5):
            with contextlib.suppress(RuntimeError):
                Store(root).step("failing", {}, build)


def test_one_at_a_time_even_when_builds_fail(tmp_path: Path) -> None:
    """Each failed build deletes the lock that others wait on."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fail_alone, args=(tmp_path, tmp_path / "log")) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "log").read_text().split() == ["in", "out"] * 20


def test_whoever_waits_is_told(tmp_path: Path) -> None:
    log, said = tmp_path / "log", list[str]()
    worker = multiprocessing.get_context("fork").Process(target=_fail_alone, args=(tmp_path, log))
    worker.start()
    while not log.exists():
        time.sleep(0.005)
    Store(tmp_path, say=said.append).step("failing", {}, write("done at last"))
    worker.join()
    assert any("another process" in line for line in said)


def test_a_file_system_without_locks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    store = Store(tmp_path)
    monkeypatch.setattr(fcntl, "flock", none)
    for use in (lambda: store.step("greet", {}, never), lambda: Store(tmp_path)):
        with pytest.raises(HarnessError, match=r"has no locks \(No locks available\); choose a folder on another"):
            use()


def test_one_command_at_a_time_writes_a_runs_own_files(tmp_path: Path) -> None:
    # before the lock is taken: a process forked by its holder would hold it too
    writer = multiprocessing.get_context("fork").Process(target=_write_alone, args=(tmp_path,), daemon=True)
    writer.start()
    with Store(tmp_path).alone():
        (tmp_path / "go").touch()
        while not (tmp_path / "waits").exists() and not (tmp_path / "written").exists():
            time.sleep(0.01)
        assert not (tmp_path / "written").exists()
    writer.join(60)
    assert (tmp_path / "written").exists()


def _write_alone(root: Path) -> None:
    while not (root / "go").exists():
        time.sleep(0.01)
    with Store(root, say=lambda _: (root / "waits").touch()).alone():
        (root / "written").touch()


def test_names_with_dots_do_not_share_a_work_directory(tmp_path: Path) -> None:
    def fail(work: Path) -> None:
        (work / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        Store(tmp_path).step("rejected-v1.5", {"a": 1}, fail)
    other = Store(tmp_path).step("rejected-v1.5", {"a": 2}, write("hello"))
    assert [path.name for path in other.path.iterdir() if path.name != "manifest.json"] == ["file.txt"]


def test_relatives_differ_in_one_input(tmp_path: Path) -> None:
    def fail(work: Path) -> None:
        raise RuntimeError("killed")

    store = Store(tmp_path)
    done = store.step("answer", {"model": "m", "suite": "a"}, write("x")).path
    store.step("answer", {"model": "other", "suite": "a"}, write("y"))
    store.step("answer", {"model": "m", "suite": "a"}, write("z"), version=2)
    with pytest.raises(RuntimeError):
        store.step("answer", {"model": "m", "suite": "b"}, fail)
    found = store.relatives("answer", {"model": "m", "suite": "c"}, apart_from="suite")
    assert [path.name.endswith(".work") for path in found] == [path != done for path in found]
    assert len(found) == 2


def test_seconds_are_never_negative_whatever_the_clock_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    seconds = Store(tmp_path).step("greet", {}, write("hello")).manifest["seconds"]
    assert isinstance(seconds, float)
    assert 0 <= seconds < 60


def test_an_output_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HarnessError, match="--output"):
        Store(tmp_path / "file" / "runs")


def test_digest_ignores_key_order() -> None:
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
