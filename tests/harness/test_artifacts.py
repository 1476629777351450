"""Steps: built once, resumed, never half-believed."""

import json
import multiprocessing
from pathlib import Path

import pytest

from harness.api import HarnessError
from harness.artifacts import Store, digest


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


@pytest.mark.parametrize("damage", ["truncate", "delete", "manifest"])
def test_a_damaged_artifact_is_named_and_not_used(tmp_path: Path, damage: str) -> None:
    artifact = Store(tmp_path).step("greet", {}, write("hello"))
    target = artifact.path / ("manifest.json" if damage == "manifest" else "file.txt")
    if damage == "delete":
        target.unlink()
    else:
        target.write_text(target.read_text()[:3])
    with pytest.raises(HarnessError, match=str(target.name)):
        Store(tmp_path).step("greet", {}, never)


def test_an_artifact_under_another_key_is_refused(tmp_path: Path) -> None:
    artifact = Store(tmp_path).step("greet", {}, write("hello"))
    manifest = json.loads((artifact.path / "manifest.json").read_text())
    (artifact.path / "manifest.json").write_text(json.dumps({**manifest, "key": "0" * 64}))
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


def test_an_output_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HarnessError, match="--output"):
        Store(tmp_path / "file" / "runs")


def test_digest_ignores_key_order() -> None:
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
