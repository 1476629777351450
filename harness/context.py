"""One command's work in one run directory, as its steps and its methods see it."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from harness.api import Artifact, EvaluationSuite, Json, Model
from harness.config import RunConfig
from harness.engines.options import EngineConfig
from harness.models.footprint import device_of, number_format
from harness.screen import progress
from harness.store.manifest import StepRecord
from harness.store.steps import Store

T = TypeVar("T")
Engine = TypeVar("Engine", bound=EngineConfig)


class Run:
    """One command's work in one run directory. Implements :class:`harness.api.RunContext`.

    ``suite`` gives the evaluation's suite, for methods that keep clear of it; it is asked only if one does.
    """

    def __init__(
        self, root: Path, model: Model, config: RunConfig, suite: "Callable[[Run], EvaluationSuite]", *, read_only: bool = False
    ) -> None:
        self.root = root
        self.model = model
        self.config = settled(config, model)
        self.steps: list[StepRecord] = []
        self.training_seed = config.seed
        self.begun = time.time(), time.monotonic()
        """For the date, and for the seconds that it took: a clock may be set back meanwhile."""
        self._suite = suite
        self._servers: dict[tuple[str, str], dict[str, Json]] = {}
        self._store = Store(root, read_only=read_only, say=self.say)

    def repeated(self, seed: int) -> "Run":
        """Give this run another training seed; steps and evaluation stay the same."""
        again = copy.copy(self)
        again.training_seed = seed
        return again

    def varied(self, options: Mapping[str, Json]) -> "Run":
        """Give this run a variant's options; everything else stays the same."""
        again = copy.copy(self)
        again.config = replace(self.config, options=options)
        return again

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def device(self) -> str:
        return self.config.device

    @property
    def options(self) -> Mapping[str, Json]:
        return self.config.options

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        """Find a finished step, or build it, and list it. As :meth:`harness.store.steps.Store.step`."""
        artifact = self._store.step(name, inputs, build, version=version, started=lambda: self.say(f"{name} ..."))
        if all(record.key != artifact.key for record in self.steps):
            seconds = artifact.seconds
            self.steps.append(StepRecord(name, artifact.key, seconds, artifact.reused))
            self.say(f"{name} {artifact.key[:12]}: {'reused' if artifact.reused else f'done in {seconds:.1f} s'}")
        return artifact

    def relatives(self, name: str, inputs: Mapping[str, Json], *, apart_from: str, version: int = 1) -> list[Path]:
        """Find steps that differ in one input. As :meth:`harness.store.steps.Store.relatives`."""
        return self._store.relatives(name, inputs, apart_from=apart_from, version=version)

    def distrust(self, path: Path) -> None:
        """Hash all of a step. As :meth:`harness.store.steps.Store.distrust`."""
        self._store.distrust(path)

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes off the run's own files. As :meth:`harness.store.steps.Store.alone`."""
        return self._store.alone()

    def is_finished(self, name: str, inputs: Mapping[str, Json], *, version: int) -> bool:
        """Say whether an earlier command finished this step."""
        return self._store.find(name, inputs, version=version) is not None

    def suite(self) -> EvaluationSuite:
        """Give what a method has to keep clear of."""
        return self._suite(self)

    def server(self, engine: EngineConfig) -> dict[str, Json]:
        """Ask once what a server says of its model; a line where that is its name alone. HarnessError if no server answers."""
        from harness.engines.servers.identity import identity, is_name_alone

        asked = engine.url, engine.served_model
        if asked not in self._servers:
            known = self._servers[asked] = identity(engine)
            if is_name_alone(known):
                self.say(f"{engine.url} says of its model {known['id']} no more than this name: another one under it is not noticed")
        return self._servers[asked]

    def say(self, message: str) -> None:
        """Tell the person watching."""
        progress.say(message)

    def bar(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show a progress bar; yields ``advance(n)``."""
        return progress.bar(title, total)

    def track(self, title: str, items: Iterable[T], total: int) -> Iterator[T]:
        """Give the items, with a progress bar."""
        return progress.track(title, items, total)


def settled(config: Engine, model: Model) -> Engine:
    """Settle on the device that there is, and on float32 on a CPU for a checkpoint in a format that a CPU is slow with."""
    placed = replace(config, device=device_of(config.device))
    if config.dtype != "auto" or config.backend == "served" or not placed.device.startswith("cpu"):
        return placed
    own = number_format("auto", "", model.path)
    return placed if own == "float32" else replace(placed, dtype="float32")
