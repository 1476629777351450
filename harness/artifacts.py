"""Finished steps on disk. A directory is complete only if its manifest exists, and the manifest is written last.

    runs/builtin/steps/heads-3f9c01aa27d4/manifest.json      a finished step
    runs/builtin/steps/heads-3f9c01aa27d4.work/              one under way; started again, it goes on from what is there

A step's key hashes its name, version and inputs: everything that can change the result and nothing that cannot.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.api import Artifact, HarnessError, Json

MANIFEST: Final = "manifest.json"
_KEY_LENGTH: Final = 12


def digest(value: Json | Mapping[str, Json]) -> str:
    """SHA-256 of a JSON value, independent of key order and white space."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Json | Mapping[str, Json]) -> None:
    """Write durably and atomically: a reader sees the old file or the new one, never half of either."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Json]:
    """A JSON object written by :func:`write_json`."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise HarnessError(f"{path} cannot be read ({error}); delete its directory to have it rebuilt") from None
    if not isinstance(value, dict):
        raise HarnessError(f"{path} does not hold a JSON object; delete its directory to have it rebuilt")
    return value


class Store:
    """The steps of one run directory. With ``read_only`` nothing is made or written: only :meth:`find` may be asked."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root
        if read_only:
            return
        try:
            self._steps.mkdir(parents=True, exist_ok=True)
            probe = self._steps / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise HarnessError(f"cannot write to {root} ({error.strerror}); choose another folder with --output") from None

    @property
    def _steps(self) -> Path:
        return self.root / "steps"

    def step(
        self,
        name: str,
        inputs: Mapping[str, Json],
        build: Callable[[Path], Mapping[str, Json] | None],
        *,
        version: int = 1,
        started: Callable[[], None] = lambda: None,
    ) -> Artifact:
        """The artifact for these inputs, built now unless it is there already; ``started`` is called only if it has to be built.

        Processes that want the same step wait for each other; the lock belongs to the process, so a crashed holder frees it.
        """
        key, final = self._address(name, inputs, version)
        if (found := self._finished(name, key, final, reused=True)) is not None:
            return found
        with _lock(final.with_suffix(".lock")):
            if (found := self._finished(name, key, final, reused=True)) is not None:
                return found
            started()
            work = final.with_suffix(".work")
            work.mkdir(exist_ok=True)
            begun = time.monotonic()
            facts = build(work)
            manifest: dict[str, Json] = {
                "step": name,
                "version": version,
                "key": key,
                "inputs": dict(inputs),
                "facts": dict(facts or {}),
                "seconds": round(time.monotonic() - begun, 3),
                "files": {path.relative_to(work).as_posix(): path.stat().st_size for path in sorted(work.rglob("*")) if path.is_file()},
            }
            write_json(work / MANIFEST, manifest)
            os.rename(work, final)
        artifact = self._finished(name, key, final, reused=False)
        assert artifact is not None
        return artifact

    def find(self, name: str, inputs: Mapping[str, Json], *, version: int = 1) -> Artifact | None:
        """The artifact for these inputs if it is finished."""
        key, final = self._address(name, inputs, version)
        return self._finished(name, key, final, reused=True)

    def is_started(self, name: str, inputs: Mapping[str, Json], *, version: int = 1) -> bool:
        """Whether an earlier command began this step and left something to go on from."""
        return self._address(name, inputs, version)[1].with_suffix(".work").exists()

    def _address(self, name: str, inputs: Mapping[str, Json], version: int) -> tuple[str, Path]:
        key = digest({"step": name, "version": version, "inputs": dict(inputs)})
        return key, self._steps / f"{name}-{key[:_KEY_LENGTH]}"

    def _finished(self, name: str, key: str, path: Path, *, reused: bool) -> Artifact | None:
        if not (path / MANIFEST).exists():
            return None
        manifest = read_json(path / MANIFEST)
        if manifest.get("key") != key:
            raise HarnessError(f"{path} holds another step than its name says; delete it to have it rebuilt")
        files = manifest.get("files")
        assert isinstance(files, dict)
        for file, size in files.items():
            if not (path / file).is_file() or (path / file).stat().st_size != size:
                raise HarnessError(f"{path / file} is missing or damaged; delete {path} to have it rebuilt")
        return Artifact(name, key, path, manifest, reused)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
