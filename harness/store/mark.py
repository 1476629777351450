"""A run directory's mark: that it is ours, and who is using it.

``runs/builtin/.harness/mark`` is made by the first command there, and every command holds a shared lock on it while it runs. Steps are
deleted (``harness runs gc``) only beside it, and under an exclusive lock. No link is followed on the way to it.
"""

import errno
import fcntl
import os
import stat
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from harness.api import HarnessError

FOLDER: Final = ".harness"
MARK: Final = "mark"
#: A file system without locks says one of these.
NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_SIGNATURE: Final = b"retmask-harness run directory\n"
_SAID: Final = _SIGNATURE + b"`harness runs gc` deletes steps in here that nothing needs. Without this file it deletes nothing.\n"


def use(root: Path, user: object, waiting: Callable[[], None] = lambda: None) -> None:
    """Mark ``root`` as a run directory, and as in use for as long as ``user`` lives (or its process does).

    ``waiting`` is called if something is being deleted there just now. HarnessError if the directory cannot be marked or locked.
    """
    try:
        (root / FOLDER).mkdir(exist_ok=True)
        folder = _folder(root / FOLDER)
        try:
            handle = _open_mark(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _cannot(root, error) from None
    try:
        _lock(handle, fcntl.LOCK_SH, waiting)
    except OSError as error:
        os.close(handle)
        raise _cannot(root, error) from None
    weakref.finalize(user, os.close, handle)


def _cannot(root: Path, error: OSError) -> HarnessError:
    if error.errno in NO_LOCKS:
        return HarnessError(f"the file system of {root} has no locks ({error.strerror}); choose a folder on another")
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EEXIST):
        return HarnessError(f"{root / FOLDER} is a link, or no folder of the harness's; delete it, or choose another folder with --output")
    return HarnessError(f"cannot write to {root / FOLDER} ({error.strerror}); choose another folder with --output")


def _folder(path: Path | str, within: int | None = None) -> int:
    """A folder, opened; OSError if it is a link or something else."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)


def _open_mark(folder: int) -> int:
    """The mark, made if it is not there. Reading is enough for a shared lock, so another user's will do."""
    with suppress(FileExistsError):
        _write(os.open(MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder))
    handle = os.open(MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if os.fstat(handle).st_size == 0:  # made just before a crash
        _write(os.open(MARK, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=folder))
    return handle


def _write(handle: int) -> None:
    os.write(handle, _SAID)
    os.close(handle)


def _lock(handle: int, how: int, waiting: Callable[[], None]) -> None:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(handle, how)


def is_marked(root: Path) -> bool:
    """Say whether the mark is there. HarnessError if that cannot be seen."""
    try:
        folder = _folder(root / FOLDER)
        try:
            handle = os.open(MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            return stat.S_ISREG(os.fstat(handle).st_mode) and os.read(handle, len(_SIGNATURE)) == _SIGNATURE
        finally:
            os.close(handle)
    except PermissionError as error:
        raise HarnessError(f"{error.filename or root} cannot be read ({error.strerror}): it belongs to another user") from None
    except OSError:
        return False


def is_in_use(root: Path) -> bool:
    """Say whether a command is running that has marked ``root``. Nothing is written."""
    if not is_marked(root):
        return False
    with unused(root) as handle:
        return handle is None


@contextmanager
def unused(root: Path) -> Iterator[int | None]:
    """Open the run directory, so that no command uses it or can begin to meanwhile; None if one does.

    The mark is made if it is not there. HarnessError for a directory that is a link, or cannot be written to.
    """
    try:
        handle = _folder(root)
        try:
            (root / FOLDER).mkdir(exist_ok=True)
            inner = _folder(FOLDER, handle)
            try:
                mark = _open_mark(inner)
            finally:
                os.close(inner)
        except OSError:
            os.close(handle)
            raise
    except OSError as error:
        raise _cannot(root, error) from None
    try:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        except OSError as error:
            raise _cannot(root, error) from None
        yield handle
    finally:
        os.close(mark)
        os.close(handle)
