"""Files of another user: said in one line, never called damaged, never put aside."""

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.commands.root import HarnessGroup
from harness.commands.runs import runs
from harness.store.journal import append_lines
from harness.store.locks import locked
from harness.store.steps import Store
from reports.samples import SamplesError, read

HARNESS = HarnessGroup(commands={"runs": runs})


def data(work: Path) -> None:
    (work / "data.bin").write_bytes(bytes(3000))
    append_lines(work / "lines.journal", [{"id": "a"}])


@HARNESS.command("build")
def build() -> None:
    Store(Path(os.environ["ROOT"])).step("generate", {}, data)


@pytest.fixture
def run() -> Iterator[Path]:
    """A run directory that everybody may write to, where everybody may go."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "run"
        Store(root).step("generate", {}, data)
        for path in (root, *root.rglob("*")):
            path.chmod(0o777)
        yield root
        for path in (root, *root.rglob("*")):
            path.chmod(0o777)


def _invoke(root: Path, command: list[str], answer: Any) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:  # loads what it needs while that may be read
        os.environ["ROOT"] = elsewhere
        CliRunner().invoke(HARNESS, ["build"])
        CliRunner().invoke(HARNESS, [each.replace(str(root), elsewhere) for each in command])
    os.environ["ROOT"] = str(root)
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)  # root may read anything
    result = CliRunner().invoke(HARNESS, command)
    answer.put((result.exit_code, result.output))


def as_another(root: Path, *command: str) -> tuple[int, str]:
    """Exit code and output of a command by a user whom the files do not belong to."""
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=_invoke, args=(root, list(command), answer))
    child.start()
    found: tuple[int, str] = answer.get(timeout=60)
    child.join()
    return found


@pytest.mark.parametrize("file", ["data.bin", "manifest.json", ".", "lines.journal"])
def test_what_may_not_be_read_is_not_damaged(run: Path, file: str) -> None:
    (step,) = run.glob("steps/generate-*")
    (step / file).chmod(0)
    for command in (["runs", "verify", str(run)], ["runs", "show", str(run)], ["runs", "list", str(run)]):
        code, said = as_another(run, *command)
        assert code == (2 if "verify" in command else 0), said
        assert "unreadable" in said
        assert "damaged" not in said
        assert "Traceback" not in said
    assert "Permission denied" in as_another(run, "runs", "show", str(run))[1]


@pytest.mark.parametrize("file", ["data.bin", "manifest.json", "."])
def test_a_command_neither_uses_nor_replaces_it(run: Path, file: str) -> None:
    (step,) = run.glob("steps/generate-*")
    (step / file).chmod(0)
    code, said = as_another(run, "build")
    assert code == 2
    assert "Permission denied" in said.splitlines()[-1]
    assert "belongs to" in said.splitlines()[-1]
    assert "nothing is wrong with it" in said.splitlines()[-1]
    assert [path.name for path in (run / "steps").iterdir()] == [step.name]


def test_an_unreadable_run_s_manifest_keeps_all_of_its_steps(run: Path) -> None:
    (run / "manifest.json").write_text("{}")
    (run / "manifest.json").chmod(0)
    code, said = as_another(run, "runs", "gc", str(run), "--yes", "--older-than", "0")
    assert code == 0, said
    assert len(list(run.glob("steps/generate-*"))) == 1


def test_another_user_s_lock_is_one_line(run: Path) -> None:
    (step,) = run.glob("steps/generate-*")
    lock = step.with_name(step.name + ".lock")
    lock.touch()
    lock.chmod(0)
    (step / "data.bin").unlink()
    code, said = as_another(run, "build")
    assert code == 2
    assert said.splitlines()[-1].startswith(f"harness: {lock} cannot be read or written (Permission denied): it belongs to ")


def test_another_user_s_journal_is_one_line(run: Path) -> None:
    (step,) = run.glob("steps/generate-*")
    work = step.with_name(step.name + ".work")
    step.rename(work)
    (work / "manifest.json").unlink()
    (work / "lines.journal").chmod(0)
    code, said = as_another(run, "build")
    assert code == 2
    where = work / "lines.journal"
    assert said.splitlines()[-1].startswith(f"harness: {where} cannot be read or written (Permission denied): it belongs to ")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_none_is_neither_followed_nor_waited_for(tmp_path: Path, kind: str) -> None:
    lock = tmp_path / "a.lock"
    match kind:
        case "link":
            lock.symlink_to(tmp_path / "made")
        case "pipe":
            os.mkfifo(lock)
        case _:
            lock.mkdir()
    with pytest.raises(Exception, match="should be a lock; delete it"), locked(lock):
        pass
    assert not (tmp_path / "made").exists()


def _read(path: Path, answer: Any) -> None:
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    try:
        read(path)
    except SamplesError as error:
        answer.put(str(error))


def test_a_samples_table_that_may_not_be_read_is_not_to_be_deleted(run: Path) -> None:
    import pyarrow.parquet  # noqa: F401  # before the child may not read it

    table = run / "samples.parquet"
    table.write_bytes(b"PAR1")
    table.chmod(0)
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=_read, args=(table, answer))
    child.start()
    said = answer.get(timeout=60)
    child.join()
    assert "nothing is wrong with it: ask whoever owns it for access" in said
    assert "delete" not in said
