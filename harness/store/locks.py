"""Locks that a process holds for as long as it lives."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from harness.access import denied, is_denied
from harness.api import HarnessError
from harness.store.mark import NO_LOCKS


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock at ``path``; ``waiting`` is called if somebody else does. The system frees it when its holder dies."""
    file = _take(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if file is None:
        waiting()
        file = _take(path, fcntl.LOCK_EX)
    assert file is not None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


@contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Hold the lock at ``path`` if nobody else does; whether it is held now."""
    file = _take(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield file is not None
    finally:
        if file is not None:
            path.unlink(missing_ok=True)
            file.close()


def is_held(path: Path) -> bool:
    """Say whether somebody holds the lock at ``path``. Nothing is written."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such thing as locks
        return False
    finally:
        os.close(handle)
    return False


def _lock_file(path: Path) -> IO[str]:
    """Opened, and made if need be. HarnessError for what is no file of ours to lock: another user's, a link, a pipe."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if is_denied(error):
            raise denied(error, path) from None
        if error.errno in (errno.ELOOP, errno.EISDIR):
            raise HarnessError(f"{path} is a link or a folder, and should be a lock; delete it") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise HarnessError(f"{path} is no ordinary file, and should be a lock; delete it")
    return os.fdopen(handle, "r+")


def _take(path: Path, how: int) -> IO[str] | None:
    """The locked file; None if somebody else holds it and ``how`` does not wait."""
    while True:
        file = _lock_file(path)
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            file.close()
            return None
        except OSError as error:
            file.close()
            if error.errno not in NO_LOCKS:
                raise
            raise HarnessError(f"the file system of {path.parent} has no locks ({error.strerror}); choose a folder on another") from None
        # Whoever held it before has deleted the file; a lock on a deleted file keeps nobody out.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()
