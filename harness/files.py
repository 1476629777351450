"""Digests, and files of JSON that are written whole and vouch for themselves.

:mod:`tasks.files` has what lies below: opening ordinary files alone, and writing a file whole or not at all.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from harness.access import denied
from harness.api import HarnessError, Json
from tasks.files import read_bytes, replacing, sha256

#: Version of the sealed files' form; 1 had neither digests nor a checksum.
_FORMAT: Final = 2
#: Files up to this size are hashed whenever they are asked for.
ALWAYS_HASHED: Final = 64 << 20


class DamagedError(HarnessError):
    """A file is not what it was when it was written."""


def digest(value: Json | Mapping[str, Json]) -> str:
    """Compute the SHA-256 of a JSON value, independent of key order and white space."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes. Large files (weights) are read once in a process, unless they change."""
    found = path.stat()
    if found.st_size <= ALWAYS_HASHED:
        return sha256(path)
    return _remembered(path.resolve(), found.st_ino, found.st_size, found.st_mtime_ns)


@cache
def _remembered(path: Path, inode: int, size: int, modified: int) -> str:
    return sha256(path)


def write_json(path: Path, value: Json | Mapping[str, Json], *, sort_keys: bool = True) -> None:
    """Write a JSON object, whole or not at all, and on the disk for good."""
    text = json.dumps(value, indent=2, sort_keys=sort_keys)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n")


def read_json(path: Path) -> dict[str, Json]:
    """Read a JSON object written by :func:`write_json`. DamagedError if there is none, AccessError if it may not be read."""
    try:
        value = json.loads(read_bytes(path))
    except PermissionError as error:
        raise denied(error, path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path} cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise DamagedError(f"{path} does not hold a JSON object")
    return value


def write_sealed(path: Path, value: Mapping[str, Json]) -> None:
    """Write as :func:`write_json`, with a checksum of the whole inside."""
    plain: dict[str, Json] = json.loads(json.dumps({**value, "format": _FORMAT}))
    write_json(path, {**plain, "checksum": digest(plain)})


def read_sealed(path: Path) -> dict[str, Json]:
    """Read what :func:`write_sealed` wrote. DamagedError if it is something else.

    What an earlier version wrote has no checksum, and is believed.
    """
    value = read_json(path)
    if "format" not in value and "checksum" not in value:
        return value
    if value.pop("checksum", None) != digest(value):
        raise DamagedError(f"{path} does not match its checksum")
    return value
