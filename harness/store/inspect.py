"""The run directories below a folder: what they hold, and whether it is whole.

runs/builtin/command.json     the command that was begun here last
runs/builtin/manifest.json    the command that was finished here last, with the keys of its steps
runs/builtin/steps/           the steps of all commands
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from harness.access import AccessError, denied
from harness.api import HarnessError, Json
from harness.files import DamagedError, file_digest, read_sealed
from harness.store.begun import COMMAND
from harness.store.checkpoints import Checkpoint, listed
from harness.store.locks import is_held
from harness.store.manifest import RunManifest
from harness.store.reading import reading
from harness.store.steps import DAMAGED, LOCK, MANIFEST, WORK, begun, check, step_folder

State = Literal["finished", "unfinished", "under way", "damaged", "unreadable"]
StepState = Literal["finished", "unfinished", "under way", "damaged", "unreadable", "put aside"]
#: Seconds from 1970 to the last year that a date has room for.
_LATEST: Final = 253_402_214_400
#: What a run shows of its report's step; whoever reads a run reads these. The page may have been written again since.
_SHOWN: Final = ("comparison.json", "comparison.csv", "comparison.md", "table.txt")


@dataclass(frozen=True)
class StepOnDisk:
    """One directory below ``steps``."""

    name: str
    key: str
    path: Path
    state: StepState
    seconds: float | None
    bytes: int
    used: bool
    """Whether the run's manifest refers to it."""
    problem: str = ""
    """What is wrong with a damaged one, or whose an unreadable one is."""


@dataclass(frozen=True)
class RunOnDisk:
    """One run directory."""

    path: Path
    state: State
    model: str
    methods: tuple[str, ...]
    command: str
    started: float | None
    """Seconds since 1970."""
    seconds: float | None
    steps: tuple[StepOnDisk, ...]
    problems: tuple[str, ...]
    """What is wrong besides its steps."""
    models: tuple[Checkpoint, ...] = ()
    """What it has trained."""

    @property
    def bytes(self) -> int:
        """Of everything in the directory."""
        return size(self.path)

    def as_json(self) -> dict[str, Json]:
        """Give everything, paths as texts."""
        steps: list[Json] = [{**asdict(step), "path": str(step.path)} for step in self.steps]
        return {
            "path": str(self.path),
            "state": self.state,
            "model": self.model,
            "methods": list(self.methods),
            "command": self.command,
            "started": self.started,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "problems": list(self.problems),
            "steps": steps,
            "models": [{"name": each.label, "path": str(each.path), "digest": each.digest} for each in self.models],
        }


def size(path: Path) -> int:
    """Count the bytes of a file, or of all files in a directory; those of one with several names once."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum({each[:2]: each[2] for folder, _, names in os.walk(path) for name in names if (each := _size(Path(folder) / name))}.values())


def _size(path: Path) -> tuple[int, int, int] | None:
    """Which file it is, whatever its name, and its bytes."""
    try:
        found = path.lstat()
    except (PermissionError, FileNotFoundError):  # in a folder that may be listed and not entered, or gone meanwhile
        return None
    return found.st_dev, found.st_ino, found.st_size


def find_runs(folder: Path) -> list[Path]:
    """Find the run directories at and below ``folder``. HarnessError if there is no such folder."""
    if not folder.is_dir():
        raise HarnessError(f"no folder {folder}; name one that holds runs, such as runs/")
    return sorted(_run_directories(folder))


def _run_directories(folder: Path) -> Iterator[Path]:
    for path, folders, _ in os.walk(folder):
        if "steps" in folders:
            yield Path(path)
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]


def survey(folder: Path, *, thorough: bool = False) -> list[RunOnDisk]:
    """Look at every run directory at and below ``folder``. One that cannot be read is so, and the others are shown all the same."""
    return [_surveyed(path, thorough) for path in find_runs(folder)]


def _surveyed(root: Path, thorough: bool) -> RunOnDisk:
    state: State
    try:
        return inspect(root, thorough=thorough)
    except AccessError as error:
        state, problem = "unreadable", str(error)
    except HarnessError as error:
        state, problem = "damaged", str(error)
    return RunOnDisk(root, state, "", (), "", None, None, (), (problem,))


def inspect(root: Path, *, thorough: bool = False) -> RunOnDisk:
    """Look at what is in a run directory; ``thorough`` hashes every file, however large. HarnessError if it is none, or cannot be read."""
    with reading(root):
        return _inspected(root, thorough)


def _inspected(root: Path, thorough: bool) -> RunOnDisk:
    try:
        if not (root / "steps").is_dir():
            raise HarnessError(f"{root} is no run directory: it has no steps/")
        folders = [path for path in sorted((root / "steps").iterdir()) if path.is_dir()]
    except PermissionError as error:
        raise denied(error) from None
    problems: list[str] = []
    unreadable: list[str] = []
    manifest = _read(root / MANIFEST, problems, unreadable)
    known = manifest or _read(root / COMMAND, problems, unreadable)
    used = {} if manifest is None else {step.key: step.name for step in manifest.steps}
    steps = tuple(_step(path, used, thorough) for path in folders)
    there = {step.key for step in steps if step.state in ("finished", "damaged", "unreadable")}
    problems += [f"{step_folder(root, name, key)} is missing" for key, name in used.items() if key not in there]
    problems += _shown(root, manifest, used)
    return RunOnDisk(
        path=root,
        state=_state(manifest, steps, problems, unreadable),
        model="" if known is None else known.model.name,
        methods=() if known is None else tuple(dict.fromkeys(known.methods)),
        command="" if known is None else known.command,
        started=None if known is None else _number(known.started),
        seconds=None if known is None else _number(known.seconds),
        steps=steps,
        problems=(*problems, *unreadable),
        models=tuple(listed(root)),
    )


def _read(path: Path, problems: list[str], unreadable: list[str]) -> RunManifest | None:
    """None if there is none; what is wrong with it goes to ``problems``, whose it is to ``unreadable``."""
    if not path.exists():
        return None
    try:
        return RunManifest.parse(read_sealed(path), path)
    except AccessError as error:
        unreadable.append(str(error))
    except DamagedError as error:
        problems.append(str(error))
    return None


def _shown(root: Path, manifest: RunManifest | None, used: Mapping[str, str]) -> list[str]:
    """Results in the run directory that are not those of its report's step."""
    reports = [step_folder(root, name, key) for key, name in used.items() if name == "report"]
    if manifest is None or not reports:
        return []
    files = begun(reports[-1]).get("files")
    recorded = files if isinstance(files, dict) else {}
    return [problem for name in _SHOWN if (problem := _unlike(root / name, recorded.get(name)))]


def _unlike(path: Path, recorded: Json) -> str:
    if not isinstance(recorded, dict):
        return ""
    if not path.is_file():
        return f"{path} is missing"
    return "" if file_digest(path) == recorded.get("sha256") else f"{path} is not what the run's report step wrote"


def _step(path: Path, used: Mapping[str, str], thorough: bool) -> StepOnDisk:
    try:
        manifest = begun(path)
    except AccessError as error:
        key = next((known for known, name in used.items() if path == step_folder(path.parents[1], name, known)), "")
        name = path.name.partition(".")[0].rpartition("-")[0]
        return StepOnDisk(name, key, path, "unreadable", None, size(path), key in used, str(error))
    key, problem = str(manifest.get("key", "")), ""
    state: StepState
    if path.suffix == DAMAGED:
        state = "put aside"
    elif path.suffix == WORK:
        state = "under way" if is_held(path.with_suffix(LOCK)) else "unfinished"
    else:
        state = "finished"
        try:
            check(path, thorough=thorough)
        except AccessError as error:
            state, problem = "unreadable", str(error)
        except DamagedError as error:
            state, problem = "damaged", str(error)
            key = key or next((known for known, name in used.items() if path == step_folder(path.parents[1], name, known)), "")
    finished = state in ("finished", "damaged", "unreadable")
    name = str(manifest.get("step") or path.name.partition(".")[0].rpartition("-")[0])
    return StepOnDisk(name, key, path, state, _number(manifest.get("seconds")), size(path), finished and key in used, problem)


def _state(manifest: RunManifest | None, steps: tuple[StepOnDisk, ...], problems: list[str], unreadable: list[str]) -> State:
    states = {step.state for step in steps}
    if "damaged" in states or problems:
        return "damaged"
    if "unreadable" in states or unreadable:
        return "unreadable"
    if "under way" in states:
        return "under way"
    return "finished" if manifest is not None else "unfinished"


def _number(value: Json) -> float | None:
    """A time, or a length of time; None for what is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST else None
