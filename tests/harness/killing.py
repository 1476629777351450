"""Commands that are killed at random moments, and what has to hold after each kill.

The command runs in a process forked from one that has torch and trl loaded already, and so does its training, so that most of its time is
work and not imports. It is killed with SIGKILL, every other time together with the training that it started.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from harness.store.journal import read_lines

#: Loaded before the fork.
_PRELOAD = ["torch", "transformers", "lm_eval", "lm_eval.models.huggingface", "harness.evaluation.evaluate", "harness.publishing.results"]
_PRELOAD += [
    "pandas",
    "reports.compare",
    "reports.page",
    "reports.tables",
    "retmask.methods.retmask",
    "retmask.pairs.hf_sampler",
    "retmask.training.train",
]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(_PRELOAD)


def command(arguments: list[str], log: Path) -> None:
    """A harness command in a process group of its own, its output added to ``log``."""
    os.setsid()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch

    from harness.commands.root import main
    from retmask.training import launch

    torch.set_num_threads(1)  # a fork of a process whose threads have worked would wait for them for ever
    launch._start = Forked  # type: ignore[assignment]
    sys.argv = ["harness", *arguments]
    sys.exit(main(arguments))


def run(arguments: list[str], log: Path, seconds: float | None = None, group: bool = False) -> int | None:
    """The command's exit code; None if it was killed after ``seconds``, with its children if ``group``."""
    process = CONTEXT.Process(target=command, args=(arguments, log))
    process.start()
    process.join(seconds)
    if process.exitcode is not None:
        return process.exitcode
    assert process.pid is not None
    if group:
        with suppress(ProcessLookupError):  # killed before it had a group
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    return None


class Forked:
    """The training as :class:`subprocess.Popen` would start it, without loading everything again."""

    def __init__(self, command: Sequence[str], errors: IO[bytes], environment: Mapping[str, str]) -> None:
        theirs, self._stdin = os.pipe()
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._stdin)
            for number, handle in enumerate((theirs, writing, errors.fileno())):
                os.dup2(handle, number)
            os.environ |= environment
            sys.argv = ["retmask.training.train", *command[-2:]]
            from retmask.training.train import main

            sys.stdout = os.fdopen(1, "w")
            sys.stderr = os.fdopen(2, "w")
            os._exit(main())
        os.close(theirs)
        os.close(writing)
        self.stdout = os.fdopen(reading)

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stdin)
        self.stdout.close()

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)


@dataclass
class Watch:
    """What was finished in a run directory, remembered from kill to kill. Nothing of it may be done again or be lost."""

    root: Path
    manifests: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, Counter[str]] = field(default_factory=dict)
    """Step -> whole lines of its journal, by the digest of what they hold."""

    def look(self) -> int:
        """Compare with what was there before; how many journalled generations there are now."""
        for manifest in self.root.glob("steps/*/manifest.json"):
            if manifest.parent.suffix:
                continue
            before = self.manifests.setdefault(manifest.parent.name, manifest.read_bytes())
            assert manifest.read_bytes() == before, f"{manifest.parent.name} was finished and was made again"
        assert all((self.root / "steps" / name / "manifest.json").exists() for name in self.manifests), "a finished step is gone"
        assert not list(self.root.glob("steps/*.damaged")), "something finished was found damaged"
        total = 0
        for journal in self.root.glob("steps/*/*.journal"):
            found = read_lines(journal)
            assert not found.damaged
            slots = [(record.get("id"), record.get("prompt"), record.get("number")) for record in found.records]
            assert len(set(slots)) == len(slots), f"{journal}: a finished generation was made again"
            step = journal.parent.name.removesuffix(".work")
            now = Counter(map(repr, found.records))
            assert self.records.get(step, Counter()) <= now, f"{journal}: a finished generation is gone"
            self.records[step] = now
            total += len(slots)
        return total


@dataclass
class Tally:
    """What happened in all rounds."""

    kills: int = 0
    finished: int = 0
    """Runs that came to their end."""
    generations: int = 0
    """Journalled over all runs."""
    kept: int = 0
    """Journalled before a kill, summed over the kills."""


def rounds(arguments: list[str], folder: Path, samples: dict[str, bytes], kills: int, seed: int, longest: float) -> Tally:
    """Kill and resume ``kills`` times, over as many runs as it takes; each has to end with ``samples``.

    Most rounds are short and some as long as an undisturbed run, which takes ``longest`` seconds.
    """
    chance, tally = random.Random(seed), Tally()
    number = 0
    while tally.kills < kills:
        number += 1
        root, log = folder / f"run{number}", folder / f"run{number}.log"
        watch = Watch(root)
        while (
            code := run([*arguments, "--output", str(root)], log, _moment(chance, tally, kills, longest), chance.random() < 0.5)
        ) is None:
            tally.kills += 1
            tally.kept += watch.look()
        assert code == 0, log.read_text()[-3000:]
        tally.generations += watch.look()
        assert sampled(root) == samples, f"{root}: other samples than an undisturbed run's"
        tally.finished += 1
    return tally


def _moment(chance: random.Random, tally: Tally, kills: int, longest: float) -> float | None:
    """Seconds until the next kill; None once there were enough."""
    return None if tally.kills >= kills else longest * chance.random() ** 3


def sampled(root: Path) -> dict[str, bytes]:
    """Step -> bytes of its samples table."""
    return {path.parent.name: path.read_bytes() for path in root.glob("steps/eval-*/samples.parquet") if not path.parent.suffix}


def undisturbed(arguments: list[str], folder: Path) -> tuple[dict[str, bytes], float]:
    """The samples of a run that nobody disturbs, and its seconds."""
    run(["--version"], folder / "warm.log")  # the loading before the fork is not a run's
    begun = time.monotonic()
    code = run([*arguments, "--output", str(folder / "calm")], folder / "calm.log")
    assert code == 0, (folder / "calm.log").read_text()[-3000:]
    return sampled(folder / "calm"), time.monotonic() - begun
