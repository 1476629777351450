"""Steps: built once, resumed, never half-believed."""

import contextlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import artifacts
from harness.api import HarnessError
from harness.artifacts import DamagedError, Store, check, digest, file_digest, if_free, locked, write_sealed


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


def test_large_files_are_hashed_when_touched_and_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_ALWAYS_HASHED", 2)
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
    artifacts._remembered.cache_clear()  # as in another process
    with pytest.raises(DamagedError, match="checksum"):
        check(file.parent, thorough=True)


def test_rotten_weights_are_found_before_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large to be hashed at every use, and with the time stamp they had."""

    def train(work: Path) -> None:
        (work / "model").mkdir()
        (work / "model" / "model.safetensors").write_bytes(bytes(100))

    monkeypatch.setattr(artifacts, "_ALWAYS_HASHED", 10)
    store = Store(tmp_path)
    checkpoint = store.step("dpo", {}, train).path / "model"
    store.distrust(checkpoint)
    flip(checkpoint / "model.safetensors", 50)
    artifacts._remembered.cache_clear()  # as in the next command
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


def test_an_artifact_under_another_key_is_refused(tmp_path: Path) -> None:
    artifact = Store(tmp_path).step("greet", {}, write("hello"))
    write_sealed(artifact.path / "manifest.json", {**check(artifact.path), "key": "0" * 64})
    with pytest.raises(HarnessError, match="another step"):
        Store(tmp_path).step("greet", {}, never)


def _contend(root: Path, log: Path) -> None:
    def build(work: Path) -> None:
        with log.open("a") as file:
            file.write("built\n")
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
