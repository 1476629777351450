"""Files that this user may not read or write: whose they are, in one line. That they cannot be read does not make them damaged."""

import errno
from pathlib import Path

from harness.api import HarnessError


class AccessError(HarnessError):
    """The system does not let this user at a file."""


def denied(error: OSError, path: Path | str | None = None) -> AccessError:
    """Give one line for a PermissionError at ``path``, if the error itself does not name it."""
    where = Path(path if path is not None else error.filename or "a file")
    return AccessError(
        f"{where} cannot be read or written ({error.strerror}){_whose(where)}; nothing is wrong with it: ask for access, or choose another "
        "folder"
    )


def is_denied(error: OSError) -> bool:
    """Say whether it was for want of permission."""
    return error.errno in (errno.EACCES, errno.EPERM)


def _whose(path: Path) -> str:
    """The owner of the file, or of the first folder on the way that can be seen."""
    import pwd

    for place in (path, *path.absolute().parents):
        try:
            owner = place.lstat().st_uid
        except OSError:
            continue
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"user {owner}"
        return f": it belongs to {name}" if place == path else f": {place} belongs to {name}"
    return ""
