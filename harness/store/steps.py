"""Finished steps on disk. A directory is complete only if its manifest exists, and the manifest is written last.

    runs/builtin/steps/heads-3f9c01aa27d4/manifest.json      a finished step
    runs/builtin/steps/heads-3f9c01aa27d4.work/              one under way; started again, it goes on from what is there
    runs/builtin/steps/heads-3f9c01aa27d4.damaged/           one that was found damaged and has been built again

A step's key hashes its name, version and inputs: everything that can change the result and nothing that cannot. Its manifest holds the
SHA-256 of each of its files and a checksum of itself. A step is checked whenever it is used: files up to 64 MiB are hashed, larger ones
(weights) only if their time stamp is not the recorded one; ``harness runs verify`` hashes all.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.access import denied
from harness.api import Artifact, HarnessError, Json
from harness.files import ALWAYS_HASHED, DamagedError, digest, file_digest, read_sealed, write_sealed
from harness.store.journal import SUFFIX as JOURNAL_SUFFIX
from harness.store.locks import locked
from harness.store.mark import use
from tasks.files import open_bytes, open_mode, sync_folder

MANIFEST: Final = "manifest.json"
WORK: Final = ".work"
LOCK: Final = ".lock"
DAMAGED: Final = ".damaged"
#: What an unfinished step is: its manifest, as far as it is known before it is built.
_BEGUN: Final = ".begun.json"
_KEY_LENGTH: Final = 12


def step_folder(root: Path, name: str, key: str) -> Path:
    """Say where the run directory ``root`` has the finished step of this name and key."""
    return root / "steps" / f"{name}-{key[:_KEY_LENGTH]}"


def check(path: Path, *, thorough: bool = False) -> dict[str, Json]:
    """Check the finished step in ``path``, and give its manifest; DamagedError names the first file that is missing or not what it was.

    AccessError for a file that may not be read: nobody can say what it is.

    ``thorough`` hashes large files even if their time stamp is as it was.
    """
    manifest = read_sealed(path / MANIFEST)
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise DamagedError(f"{path / MANIFEST} does not list the step's files")
    for name, recorded in files.items():
        if name.startswith("/") or ".." in name.split("/"):
            raise DamagedError(f"{path / MANIFEST} lists a file outside of its step, {name}")
        problem = _problem(path / name, recorded, thorough)
        if problem:
            raise DamagedError(f"{path / name} {problem}")
    return manifest


def _problem(path: Path, recorded: Json, thorough: bool) -> str:
    """What is wrong with a file, "" if nothing is; ``recorded`` is its entry in the manifest, for an earlier version's its size alone."""
    entry = recorded if isinstance(recorded, dict) else {"bytes": recorded}
    try:
        found = path.stat()
    except PermissionError as error:
        raise denied(error, path) from None
    except (OSError, ValueError):  # ValueError for a name that no file can have
        return "is missing"
    if found.st_size != entry.get("bytes"):
        return f"has {found.st_size} bytes instead of {entry.get('bytes')}"
    if "sha256" not in entry or (not thorough and found.st_size > ALWAYS_HASHED and found.st_mtime_ns == entry.get("modified")):
        return ""
    try:
        return "" if file_digest(path) == entry["sha256"] else "does not match its checksum"
    except PermissionError as error:
        raise denied(error, path) from None
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def seal(folder: Path, manifest: Mapping[str, Json]) -> None:
    """Write the manifest of the step in ``folder``, with the digests of all that is there."""
    files = {path.relative_to(folder).as_posix(): _recorded(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            open_mode(path)
    for inner in (path for path in folder.rglob("*") if path.is_dir()):
        sync_folder(inner)
    write_sealed(folder / MANIFEST, {**manifest, "files": files})


def _recorded(path: Path) -> Json:
    """A file's entry in the manifest, once it is on the disk for good."""
    with open_bytes(path) as file:
        os.fsync(file.fileno())
    found = path.stat()
    return {"bytes": found.st_size, "sha256": file_digest(path), "modified": found.st_mtime_ns}


class Store:
    """The steps of one run directory. With ``read_only`` nothing is made or written: only :meth:`find` may be asked.

    ``say`` tells the person watching about waiting for another process, and about damage; ``remedy`` ends the error where ``root`` cannot
    be written to.
    """

    def __init__(
        self,
        root: Path,
        *,
        read_only: bool = False,
        say: Callable[[str], None] = lambda _: None,
        remedy: str = "choose another folder with --output",
    ) -> None:
        self.root = root
        self._say = say
        if read_only:
            return
        try:
            self._steps.mkdir(parents=True, exist_ok=True)
            probe = self._steps / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise HarnessError(f"cannot write to {root} ({error.strerror}); {remedy}") from None
        use(root, self, lambda: say("`harness runs gc` is deleting something here; waiting"))

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
        """Find the artifact for these inputs, or build it now; ``started`` is called only if it has to be built.

        Processes that want the same step wait for each other; the lock belongs to the process, so a crashed holder frees it. A damaged
        step is put aside and built again, from nothing but its journals, whose lines vouch for themselves.
        """
        address = self._address(name, inputs, version)
        if (found := self._usable(address, reused=True)) is not None:
            return found
        with locked(address.lock, lambda: self._say(f"{name}: another process is building it; waiting")):
            if (found := self._usable(address, reused=True)) is not None:
                return found
            self._put_aside(address)
            started()
            self._build(address, build)
        artifact = self._usable(address, reused=False)
        assert artifact is not None
        return artifact

    def find(self, name: str, inputs: Mapping[str, Json], *, version: int = 1) -> Artifact | None:
        """Find the artifact for these inputs if it is finished, and whole."""
        return self._usable(self._address(name, inputs, version), reused=True)

    def is_started(self, name: str, inputs: Mapping[str, Json], *, version: int = 1) -> bool:
        """Say whether an earlier command began this step and left something to go on from."""
        return self._address(name, inputs, version).work.exists()

    def relatives(self, name: str, inputs: Mapping[str, Json], *, apart_from: str, version: int = 1) -> list[Path]:
        """List the directories of the other steps, finished or not, whose inputs are these but for the one called ``apart_from``.

        What is in them may be damaged, or still be written to.
        """
        own = self._address(name, inputs, version)
        others = (path for path in sorted(self._steps.glob(f"{name}-*")) if path not in (own.final, own.work) and path.suffix != DAMAGED)
        wanted = _without(own.identity, apart_from)
        return [path for path in others if _without(begun(path), apart_from) == wanted]

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes that ask for the same from writing the run directory's own files at the same time."""
        return locked(self.root / LOCK, lambda: self._say("another process is writing the results; waiting"))

    def distrust(self, path: Path) -> None:
        """Hash all of the step that ``path`` is in, however large. If it is damaged it is put aside, and DamagedError says so.

        For what is about to be used as a whole, such as a trained model: bits that rot leave size and time stamp as they were.
        """
        step = next((parent for parent in (path, *path.parents) if parent.parent == self._steps), None)
        if step is None:
            return
        try:
            check(step, thorough=True)
        except DamagedError as error:
            with locked(step.with_name(step.name + LOCK)):
                aside = _aside(step)
            raise DamagedError(f"{error}; it is kept as {aside.name}, and the same command again builds it anew") from None

    def _address(self, name: str, inputs: Mapping[str, Json], version: int) -> "_Address":
        identity: dict[str, Json] = {"step": name, "version": version, "inputs": dict(inputs)}
        key = digest(identity)
        return _Address(identity, key, step_folder(self.root, name, key))

    def _build(self, address: "_Address", build: Callable[[Path], Mapping[str, Json] | None]) -> None:
        work = address.work
        work.mkdir(exist_ok=True)
        sync_folder(self._steps)
        for name in (MANIFEST, _BEGUN):  # of a crash just before the renaming, or while one was written
            for leftover in (work / name, *work.glob(f".{name}.*")):
                leftover.unlink(missing_ok=True)
        identity: dict[str, Json] = {**address.identity, "key": address.key}
        write_sealed(work / _BEGUN, identity)
        started = time.monotonic()
        facts = build(work)
        seconds = time.monotonic() - started
        (work / _BEGUN).unlink()
        seal(work, {**identity, "facts": dict(facts or {}), "seconds": round(seconds, 3)})
        os.rename(work, address.final)
        sync_folder(self._steps)

    def _usable(self, address: "_Address", *, reused: bool) -> Artifact | None:
        """The step if it is finished and whole."""
        if not (address.final / MANIFEST).exists():
            return None
        try:
            manifest = check(address.final)
        except DamagedError:
            return None
        if manifest.get("key") != address.key:
            raise HarnessError(f"{address.final} holds another step than its name says; delete it to have it rebuilt")
        return Artifact(str(address.identity["step"]), address.key, address.final, manifest, reused)

    def _put_aside(self, address: "_Address") -> None:
        """Make room for a step whose directory is there and cannot be used; its journals are gone on from."""
        if not address.final.exists():
            return
        problem = ""
        try:
            check(address.final)
        except DamagedError as error:
            problem = str(error)
        address.work.mkdir(exist_ok=True)
        for journal in address.final.glob(f"*{JOURNAL_SUFFIX}"):
            shutil.copyfile(journal, address.work / journal.name)
        aside = _aside(address.final)
        self._say(f"{problem}; the damaged step is kept as {aside.name} and built again")


def _without(manifest: Mapping[str, Json], key: str) -> dict[str, Json]:
    """What a step is, but for one of its inputs."""
    inputs = manifest.get("inputs")
    rest = {name: value for name, value in inputs.items() if name != key} if isinstance(inputs, dict) else None
    return {"step": manifest.get("step"), "version": manifest.get("version"), "inputs": rest}


@dataclass(frozen=True)
class _Address:
    """Where a step is, or will be."""

    identity: dict[str, Json]
    key: str
    final: Path

    @property
    def work(self) -> Path:
        return self.final.with_name(self.final.name + WORK)

    @property
    def lock(self) -> Path:
        return self.final.with_name(self.final.name + LOCK)


def _aside(step: Path) -> Path:
    """Rename a damaged step; its new place, whose earlier content is gone."""
    aside = step.with_name(step.name + DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(step, aside)
    return aside


def begun(path: Path) -> dict[str, Json]:
    """Read what the step in ``path`` is, finished or not; empty if nobody can tell."""
    for name in (MANIFEST, _BEGUN):
        try:
            return read_sealed(path / name)
        except DamagedError:
            continue
    return {}
