"""What can go wrong, done on purpose; after each, the resumed run's samples are those of a run that nothing disturbed.

`make test-unprotected` takes the protections out, and demands that tests fail (docs/reliability.md).
"""

import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that tests.harness.served is found however pytest was started

from harness.api import HarnessError
from harness.commands.root import main
from harness.engines.hf import HFBackend
from harness.engines.servers import client as served_module
from harness.evaluation import asking
from harness.store import steps as artifacts
from harness.store.journal import read_lines
from tests.disks import largest_file
from tests.harness.killing import sampled
from tests.harness.served import Server, serving

ROOT = Path(__file__).parents[3]
SMALL = ("--model", "builtin", "--preset", "builtin", "--tasks", "niah_mk,icl_coarse", "--lengths", "256", "--examples", "3")
TOTAL = 6
JOURNAL = "steps/generate-*/generations.journal"


def harness(output: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["eval", *SMALL, *more, "--output", str(output)])


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation that nothing disturbs."""
    output = tmp_path_factory.mktemp("calm") / "run"
    done(harness(output))
    return output


@pytest.fixture
def calm(undisturbed: Path) -> dict[str, bytes]:
    """Its samples."""
    return sampled(undisturbed)


@pytest.fixture
def finished(tmp_path: Path, undisturbed: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(undisturbed, tmp_path / "run"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each batch that the model is asked for."""
    sizes: list[int] = []
    original = HFBackend._model_generate

    def spy(self: Any, context: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        sizes.append(len(context))
        return original(self, context, *rest, **more)

    monkeypatch.setattr(HFBackend, "_model_generate", spy)
    return sizes


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, when: Callable[[torch.Tensor], bool]) -> Iterator[None]:
    """The model raises ``error`` for the batches that ``when`` picks."""
    original = HFBackend._model_generate

    def generate(self: Any, context: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        if when(context):
            raise error
        return original(self, context, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(HFBackend, "_model_generate", generate)
        yield


OUT_OF_MEMORY = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    "python": MemoryError(),
}


# Memory that runs out.


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_a_batch_that_does_not_fit_is_halved(
    tmp_path: Path, calm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, asked: list[int], kind: str
) -> None:
    with failing(monkeypatch, OUT_OF_MEMORY[kind], lambda context: len(context) > 1):
        result = done(harness(tmp_path))
    assert "did not fit in memory; going on with" in result.output
    assert asked == [1] * TOTAL
    (manifest,) = tmp_path.glob("steps/generate-*/manifest.json")
    facts = json.loads(manifest.read_text())["facts"]
    assert facts["batch_halved"] >= 1
    assert facts["batch_tokens"] < facts["batch_tokens_asked"]
    assert sampled(tmp_path) == calm, "how large a batch was has no part in the samples, and none in the key"


def test_an_example_that_does_not_fit_alone_is_named_and_all_others_are_kept(
    tmp_path: Path, calm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, asked: list[int]
) -> None:
    longest = 0

    def too_long(context: torch.Tensor) -> bool:
        nonlocal longest
        longest = max(longest, context.shape[1])  # the longest come first
        return context.shape[1] == longest

    with failing(monkeypatch, OUT_OF_MEMORY["cuda"], too_long):
        result = harness(tmp_path)
    assert result.exit_code == 3, result.output
    line = result.output.strip().splitlines()[-1]
    assert "examples were not answered" in line
    (journal,) = tmp_path.glob("steps/generate-*.work/generations.journal")
    kept = {record["id"] for record in read_lines(journal).records}
    named = line.partition("): ")[2].partition(".")[0].split(", ")
    assert 0 < len(kept) == TOTAL - len(named)
    assert not kept & set(named)
    assert not list(tmp_path.glob("steps/eval-*")), "no score with a smaller denominator"
    asked.clear()
    done(harness(tmp_path))
    assert sum(asked) == len(named), "what was finished is not generated again"
    assert sampled(tmp_path) == calm


def test_a_shorter_evaluation_goes_on_from_one_that_did_not_fit(
    tmp_path: Path, calm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, asked: list[int]
) -> None:
    with failing(monkeypatch, OUT_OF_MEMORY["cuda"], lambda context: context.shape[1] > 256):
        assert harness(tmp_path, "--lengths", "256,384").exit_code == 3
    asked.clear()
    done(harness(tmp_path))
    assert asked == []
    assert sampled(tmp_path) == calm


def test_another_model_or_wording_takes_nothing_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[int]) -> None:
    done(harness(tmp_path, "--lengths", "256,384"))
    asked.clear()
    with monkeypatch.context() as patch:
        original = asking.rendered_prompt
        patch.setattr(asking, "rendered_prompt", lambda *rest, **more: original(*rest, **more) + " Answer:")
        done(harness(tmp_path))
    assert sum(asked) == TOTAL, "the same examples, asked in other words"
    asked.clear()
    done(harness(tmp_path, "--examples", "4", "--dtype", "bfloat16"))
    assert sum(asked) == 8


# Engines that die.


def test_an_engine_that_dies_leaves_what_was_finished(
    tmp_path: Path, calm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, asked: list[int]
) -> None:
    with failing(monkeypatch, RuntimeError("CUDA error: device-side assert triggered"), lambda context: len(asked) >= 2):
        result = harness(tmp_path, "--batch-tokens", "1")
    assert result.exit_code == 70, "no error of ours to hide, and no batch to halve"
    assert "RuntimeError: CUDA error: device-side assert triggered" in result.output
    (journal,) = tmp_path.glob("steps/generate-*.work/generations.journal")
    assert len(read_lines(journal).records) == 2
    done(harness(tmp_path, "--batch-tokens", "1"))
    assert asked == [1] * TOTAL
    assert sampled(tmp_path) == calm


def test_a_dead_vllm_engine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.engines.vllm import _stepped

    class EngineDeadError(Exception):
        """As vLLM's is called."""

    class Engine:
        def step(self) -> list[Any]:
            raise EngineDeadError

    with pytest.raises(HarnessError, match=r"engine died.*start the same command again"):
        _stepped(Engine())


# Servers that misbehave.


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.mark.parametrize("fault", ["503", "400", "drop", "stall", "garbage", "no choices", "cut"])
def test_a_server_that_fails_for_good_costs_nothing_that_was_finished(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(served_module, "_FIRST_PAUSE", 0.01)
    there = ("--backend", "served", "--url", server.url)
    impatient = ("--timeout", "2") if fault == "stall" else ()
    done(harness(tmp_path / "calm", *there))
    faults = itertools.chain([None] * 3, itertools.repeat(fault))
    with monkeypatch.context() as patch:
        patch.setattr(server, "fault", lambda: next(faults))
        result = harness(tmp_path / "run", *there, *impatient)
    assert result.exit_code == 2, result.output
    (journal,) = (tmp_path / "run").glob("steps/generate-*.work/generations.journal")
    kept = journal.read_bytes()
    assert len(read_lines(journal).records) == 3
    done(harness(tmp_path / "run", *there))
    (journal,) = (tmp_path / "run").glob(JOURNAL)
    assert journal.read_bytes().startswith(kept)
    assert len(read_lines(journal).records) == TOTAL
    assert sampled(tmp_path / "run") == sampled(tmp_path / "calm")


# Disks that are full, or may not be written to.


@pytest.mark.parametrize("room", [0, 100, 900, 1500, 2500, 6000])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path: Path, calm: dict[str, bytes], room: int) -> None:
    if room:
        with largest_file(room):
            result = harness(tmp_path, "--batch-tokens", "1")
    else:  # everything is there but the room for the samples
        done(harness(tmp_path, "--batch-tokens", "1"))
        (table,) = tmp_path.glob("steps/eval-*")
        table.rename(tmp_path / "gone")
        with largest_file(4000):
            result = harness(tmp_path, "--batch-tokens", "1")
    assert result.exit_code == 2, repr(result.exception)
    assert "make room" in result.output.splitlines()[-1]
    kept = {path.parent.name.removesuffix(".work"): read_lines(path).records for path in tmp_path.glob("steps/*/*.journal")}
    done(harness(tmp_path, "--batch-tokens", "1"))
    for name, records in kept.items():
        now = read_lines(tmp_path / "steps" / name / "generations.journal").records
        assert now[: len(records)] == records
        assert Counter(record["id"] for record in now).most_common(1)[0][1] == 1, "a finished generation was made again"
    assert sampled(tmp_path) == calm


def test_a_device_without_space_is_a_full_disk(tmp_path: Path, calm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC at the moment a record is made durable, and half of it written."""
    original, calls = os.fsync, itertools.count()

    def fsync(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if name.endswith("generations.journal") and next(calls) == 3:
            os.truncate(name, os.path.getsize(name) - 7)
            raise OSError(28, "No space left on device", name)
        original(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        result = harness(tmp_path, "--batch-tokens", "1")
    assert result.exit_code == 2
    assert "No space left on device" in result.output
    done(harness(tmp_path, "--batch-tokens", "1"))
    (journal,) = tmp_path.glob(JOURNAL)
    found = read_lines(journal)
    assert (len(found.records), found.damaged) == (TOTAL, 0)
    assert sampled(tmp_path) == calm


def _try_to_write(root: Path, answer: Any) -> None:
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)  # root may write anywhere
    try:
        artifacts.Store(root)
    except HarnessError as error:
        answer.put(str(error))
    else:
        answer.put("written")


@pytest.mark.parametrize("part", [".", "steps"])
def test_a_read_only_directory_is_one_line(part: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "run"
        (root / "steps").mkdir(parents=True)
        for path in (Path(folder), root, root / "steps"):
            path.chmod(0o777)
        (root / part).chmod(0o555)
        if part == ".":
            (root / "steps").rmdir()
        context = multiprocessing.get_context("fork")
        answer = context.Queue()
        child = context.Process(target=_try_to_write, args=(root, answer))
        child.start()
        said = answer.get(timeout=60)
        child.join()
        (root / part).chmod(0o777)
    assert "cannot write" in said
    assert "--output" in said


# Files that are damaged later.


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """A bit in the middle; neither size nor time stamp tells."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGE = {"truncated": truncate, "flipped": flip, "emptied": lambda path: path.write_bytes(b""), "deleted": Path.unlink}
FILES = [
    "generate-*/generations.journal",
    "generate-*/manifest.json",
    "eval-*/samples.parquet",
    "eval-*/manifest.json",
    "suite-*/examples.jsonl",
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named_refused_and_made_again(
    finished: Path, calm: dict[str, bytes], asked: list[int], damage: str, file: str
) -> None:
    (path,) = finished.glob(f"steps/{file}")
    DAMAGE[damage](path)
    if file.startswith("eval-"):
        refused = CliRunner().invoke(main, ["baseline", "save", str(finished), "--output", str(finished / "b.parquet")])
        assert refused.exit_code == 2, "a comparison does not take it"
        assert str(path) in refused.output
    asked.clear()
    result = done(harness(finished))
    assert str(path) in result.output
    assert sampled(finished) == calm
    redone = sum(asked)
    if "journal" in file:
        assert redone == {"truncated": redone, "flipped": 1}.get(damage, TOTAL)
        assert 0 < redone <= TOTAL
        assert damage != "truncated" or redone < TOTAL
    elif file.startswith("generate"):
        assert redone == 0, "the journal vouches for itself"
    else:
        assert redone == 0


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_a_damaged_run_manifest_is_refused_and_written_again(finished: Path, calm: dict[str, bytes], damage: str) -> None:
    path = finished / "manifest.json"
    DAMAGE[damage](path)
    refused = CliRunner().invoke(main, ["baseline", "save", str(finished), "--output", str(finished / "b.parquet")])
    assert refused.exit_code == 2
    assert str(path) in refused.output
    done(harness(finished))
    done(CliRunner().invoke(main, ["baseline", "save", str(finished), "--output", str(finished / "b.parquet")]))
    assert sampled(finished) == calm


def test_a_damaged_record_of_an_unfinished_journal_costs_itself_alone(
    tmp_path: Path, calm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, asked: list[int]
) -> None:
    with failing(monkeypatch, RuntimeError("dead"), lambda context: len(asked) >= 4):
        harness(tmp_path, "--batch-tokens", "1")
    (journal,) = tmp_path.glob("steps/generate-*.work/generations.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    lines[1] = lines[1].replace(b'"output_tokens": ', b'"output_tokens": 1', 1)
    journal.write_bytes(b"".join(lines) + b"00000000\thalf a li")
    asked.clear()
    result = done(harness(tmp_path, "--batch-tokens", "1"))
    assert "1 damaged records are passed over" in result.output
    assert len(asked) == TOTAL - 3
    assert sampled(tmp_path) == calm


def test_damaged_weights_of_a_trained_model_are_never_evaluated(tmp_path: Path) -> None:
    """A method whose training copies the model: the copy rots, is found although it is large, and is made again."""

    def run() -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", "tests.harness.copying", *SMALL, "--output", str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)

    first = run()
    assert first.returncode == 0, first.stderr
    before = sampled(tmp_path)
    (weights,) = tmp_path.glob("steps/copy-*/model/model.safetensors")
    flip(weights)
    found = run()
    assert found.returncode == 2, found.stderr
    assert f"{weights} does not match its checksum" in found.stderr.splitlines()[-1]
    assert sampled(tmp_path) == before, "no evaluation of a damaged model"
    again = run()
    assert again.returncode == 0, again.stderr
    assert sampled(tmp_path) == before


# Clocks, and company.


def test_a_clock_that_goes_backwards(tmp_path: Path, calm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(2_000_000_000, -3600)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: float(next(clock)))
        done(harness(tmp_path))
    manifests = [tmp_path / "manifest.json", *tmp_path.glob("steps/*/manifest.json")]
    assert len(manifests) == 4
    assert all(0 <= json.loads(path.read_text())["seconds"] < 600 for path in manifests)
    assert sampled(tmp_path) == calm


def test_two_commands_on_one_directory_do_the_work_once(tmp_path: Path, calm: dict[str, bytes]) -> None:
    arguments = [sys.executable, "-m", "harness.commands.root", "eval", *SMALL, "--output", str(tmp_path), "--batch-tokens", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    both = [
        subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment) for _ in "ab"
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    built = [line.split()[0] for text in said for line in text.splitlines() if "done in" in line]
    assert sorted(built) == ["eval", "generate", "suite"], "every step was built by one of them"
    (journal,) = tmp_path.glob(JOURNAL)
    assert Counter(str(record["id"]) for record in read_lines(journal).records).most_common(1)[0][1] == 1
    assert sampled(tmp_path) == calm
