"""What a finished run says of itself: ``manifest.json`` in its directory, written when everything else is there.

    command, model, methods, config            what was asked for
    versions, environment, started, seconds    on what, and when
    suite, evaluations, samples, extra, references, steps    what came of it: keys of steps, and their digests

The first two lines are also ``command.json``, which is there from the beginning (:mod:`harness.store.begun`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from harness.api import Json, Model
from harness.files import DamagedError, read_sealed, write_sealed
from harness.store.steps import MANIFEST

#: Version of its form. What an earlier one lacks is empty; a later one is refused.
VERSION: Final = 1
_ASKED: Final = ("command", "model", "methods", "config", "versions", "environment", "started")


@dataclass(frozen=True)
class ModelRecord:
    """A model as a manifest names it."""

    name: str = ""
    path: str = ""
    digest: str = ""

    @classmethod
    def of(cls, model: Model) -> "ModelRecord":
        """Record a model."""
        return cls(model.name, str(model.path), model.digest)


@dataclass(frozen=True)
class StepRecord:
    """A step that a command asked for."""

    name: str
    key: str
    seconds: float
    reused: bool


@dataclass(frozen=True)
class RunManifest:
    """One finished command in a run directory."""

    command: str
    """As it was typed, without keys."""
    model: ModelRecord
    methods: tuple[str, ...]
    """Labels of the evaluations after the first: each method's name, once for each training seed."""
    config: Mapping[str, Json]
    versions: Mapping[str, Json] = field(default_factory=dict)
    environment: Mapping[str, Json] = field(default_factory=dict)
    started: float | None = None
    """Seconds since 1970."""
    seconds: float | None = None
    suite: Mapping[str, Json] = field(default_factory=dict)
    """Facts of the suite's step, its digest among them."""
    evaluations: tuple[str, ...] = ()
    """Keys of the steps ``eval``, the baseline's first."""
    samples: tuple[str | None, ...] = ()
    """Digests of their samples, where they were recorded."""
    extra: tuple[str, ...] = ()
    """Keys of the extra tasks' steps."""
    references: tuple[str, ...] = ()
    """Key of the reference points' step, if there is one."""
    steps: tuple[StepRecord, ...] = ()

    def asked(self) -> dict[str, Json]:
        """Give what is known when a command begins."""
        return {name: value for name, value in self.as_json().items() if name in _ASKED}

    def as_json(self) -> dict[str, Json]:
        """Give everything, as it is written."""
        steps: list[Json] = [{"name": each.name, "key": each.key, "seconds": each.seconds, "reused": each.reused} for each in self.steps]
        return {
            "manifest": VERSION,
            "command": self.command,
            "model": dict(asdict(self.model)),
            "methods": list(self.methods),
            "config": dict(self.config),
            "versions": dict(self.versions),
            "environment": dict(self.environment),
            "started": self.started,
            "seconds": self.seconds,
            "suite": dict(self.suite),
            "evaluations": list(self.evaluations),
            "samples": list(self.samples),
            "extra": list(self.extra),
            "references": list(self.references),
            "steps": steps,
        }

    def write(self, root: Path) -> None:
        """Write it into the run directory ``root``, whole or not at all."""
        write_sealed(root / MANIFEST, self.as_json())

    @classmethod
    def read(cls, root: Path) -> "RunManifest":
        """Read the run directory's. DamagedError if there is none or it is damaged, AccessError if it may not be read."""
        return cls.parse(read_sealed(root / MANIFEST), root / MANIFEST)

    @classmethod
    def parse(cls, table: Mapping[str, Json], path: Path) -> "RunManifest":
        """Take what ``path`` holds. DamagedError names the first field that holds something else than it should, or a later version."""
        fields = _Fields(table, path)
        if (version := fields.number("manifest") or 1) > VERSION:
            raise DamagedError(
                f"{path} is of version {version:g} and this harness knows {VERSION}: use the harness that made it, or a later one"
            )
        model = fields.table("model")
        return cls(
            command=fields.text("command"),
            model=ModelRecord(*(_Fields(model, path).text(name) for name in ("name", "path", "digest"))),
            methods=fields.texts("methods"),
            config=fields.table("config"),
            versions=fields.table("versions"),
            environment=fields.table("environment"),
            started=fields.number("started"),
            seconds=fields.number("seconds"),
            suite=fields.table("suite"),
            evaluations=fields.texts("evaluations"),
            samples=tuple(each if isinstance(each, str) else None for each in fields.items("samples")),
            extra=fields.texts("extra"),
            references=fields.texts("references"),
            steps=tuple(_step(each, path) for each in fields.items("steps")),
        )

    @property
    def suite_digest(self) -> str:
        """The suite's digest; empty if it was not recorded."""
        digest = self.suite.get("digest")
        return digest if isinstance(digest, str) else ""

    def config_seeds(self) -> tuple[int, ...]:
        """Give the training seeds that were asked for; empty where training was not repeated."""
        seeds = self.config.get("seeds")
        return tuple(each for each in seeds if isinstance(each, int)) if isinstance(seeds, list) else ()


def _step(value: Json, path: Path) -> StepRecord:
    if not isinstance(value, dict):
        raise DamagedError(f"{path}: steps holds something else than records of steps")
    fields = _Fields(value, path)
    return StepRecord(fields.text("name"), fields.text("key"), fields.number("seconds") or 0.0, value.get("reused") is True)


@dataclass(frozen=True)
class _Fields:
    """A JSON object, whose fields are missing or of one type."""

    values: Mapping[str, Json]
    path: Path

    def text(self, name: str) -> str:
        value = self.values.get(name, "")
        return value if isinstance(value, str) else self._refuse(name, "text")

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is None:
            return None
        return value if isinstance(value, int | float) and not isinstance(value, bool) else self._refuse(name, "a number")

    def table(self, name: str) -> dict[str, Json]:
        value = self.values.get(name, {})
        return value if isinstance(value, dict) else self._refuse(name, "a table")

    def items(self, name: str) -> list[Json]:
        value = self.values.get(name, [])
        return value if isinstance(value, list) else self._refuse(name, "a list")

    def texts(self, name: str) -> tuple[str, ...]:
        found = self.items(name)
        return tuple(each if isinstance(each, str) else self._refuse(name, "a list of texts") for each in found)

    def _refuse(self, name: str, kind: str) -> NoReturn:
        raise DamagedError(f"{self.path}: {name} is not {kind}")
