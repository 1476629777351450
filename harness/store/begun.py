"""Which commands began in a run directory and have not finished.

    runs/builtin/command.json                   the command that was begun here last
    runs/builtin/.harness/begun-3f9c01aa.json   one that has not finished (yet); gone when it has

Until it has, or is old, everything that is there is kept: no manifest says yet what it needs.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.access import AccessError
from harness.api import Json
from harness.files import DamagedError, digest, read_sealed, write_sealed
from harness.store.mark import FOLDER, is_marked
from harness.store.steps import MANIFEST, WORK

COMMAND: Final = "command.json"
_BEGUN: Final = "begun-"
_DAY: Final = 86_400.0


def identity(about: Mapping[str, Json]) -> str:
    """Say what makes two commands the same: model, methods and settings."""
    model = about.get("model")
    name = model.get("digest") if isinstance(model, dict) else None
    return digest({"model": name, "methods": about.get("methods"), "config": about.get("config")})[:12]


def begin(root: Path, about: Mapping[str, Json]) -> None:
    """Record a command: it has begun, and until :func:`finish` everything that it may want is kept."""
    write_sealed(root / FOLDER / f"{_BEGUN}{identity(about)}.json", about)
    write_sealed(root / COMMAND, about)


def finish(root: Path, about: Mapping[str, Json]) -> None:
    """Record that a command has finished: its run's manifest says now what it needs."""
    (root / FOLDER / f"{_BEGUN}{identity(about)}.json").unlink(missing_ok=True)


def unfinished(root: Path, days: float) -> str:
    """Say which command, begun in the last ``days``, has not finished and may want what is there; "" if there is none.

    A clock that was set back makes a command younger, never older.
    """
    oldest = time.time() - days * _DAY
    for path in sorted((root / FOLDER).glob(f"{_BEGUN}*.json")):
        if path.lstat().st_mtime > oldest:
            return _named(path)
    if not is_marked(root) and (about := _read(root / COMMAND)):  # of an earlier version, which kept no such list
        started = about.get("started")
        if isinstance(started, int | float) and started > oldest and started != _read(root / MANIFEST).get("started"):
            return _named(root / COMMAND)
    for work in sorted((root / "steps").glob(f"*{WORK}")):
        if max((path.lstat().st_mtime for path in (work, *work.glob("*"))), default=0.0) > oldest:
            return f"unfinished work in {work.name}"
    return ""


def _named(path: Path) -> str:
    return str(_read(path).get("command") or "an unfinished command")


def _read(path: Path) -> dict[str, Json]:
    try:
        return read_sealed(path)
    except (DamagedError, AccessError):
        return {}
