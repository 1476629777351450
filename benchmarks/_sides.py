"""What the benchmarks of evaluation share: the demo's suite, an engine whose calls are recorded, and clocks."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.api import Artifact, Model
from harness.config import RunConfig, load_preset, override
from harness.context import Run
from harness.engines.options import EngineConfig
from harness.evaluation import asking
from harness.evaluation import evaluate as evaluation
from harness.evaluation.suite import asked_suite, prepare, source_of, suite_config
from harness.screen.quiet import hush
from harness.store.journal import Journal

if TYPE_CHECKING:
    from harness.engines.lm import Batch, Completion, Failed, HarnessLM, Prompt

hush()  # before lm-eval is imported


class Clock(NamedTuple):
    """Seconds on the wall, and of computing by this process and its children, which other work on the machine hardly lengthens."""

    wall: float
    own: float


def timed(call: Callable[[], object]) -> Clock:
    """How long the call takes."""
    wall, own = time.perf_counter(), sum(os.times()[:4])
    call()
    return Clock(time.perf_counter() - wall, sum(os.times()[:4]) - own)


class Recorder:
    """An engine's backend that remembers what it was asked, so that the same can be asked of it directly."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.calls: list[Sequence[Prompt]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def generate(self, prompts: "Sequence[Prompt]", batch: "Batch") -> "Iterator[dict[str, Completion | Failed]]":
        """As the backend does."""
        self.calls.append(prompts)
        yield from self.backend.generate(prompts, batch)


def batch_of(tokens: int) -> "Batch":
    """Room for so many tokens; a batch that does not fit in memory would spoil the timing, and is told."""
    from harness.engines.lm import Batch

    return Batch(tokens, print)


def config_for(name: str, settings: dict[str, Any]) -> RunConfig:
    """The settings on a CPU, over the demo's for the shipped model and the usual ones for any other."""
    return override(load_preset("builtin" if name == "builtin" else "default"), {"device": "cpu", "dtype": "float32", **settings}, {})


def build_suite(root: Path, model: Model, config: RunConfig) -> Artifact:
    """The suite of ``config``."""
    return prepare(Run(root, model, config, asked_suite), suite_config(config), model)


def evaluate_all(lm: "HarnessLM", suite: Artifact, journal: Path, batch_tokens: int) -> Journal:
    """Have ``lm`` answer the suite through lm-eval into a new journal, as the harness's step does."""
    journal.unlink(missing_ok=True)
    lm.journal, lm.batch = Journal(journal), batch_of(batch_tokens)
    source, framing = source_of(suite), evaluation._framing(suite)
    for (task, length), examples in evaluation.groups(suite):
        asking.ask(lm, source.tasks((task,))[0], length, examples, framing, EngineConfig())
    return lm.journal
