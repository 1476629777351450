"""The folder of files that lies beside a page, ``PAGE_files``: what is written there carries our mark, and nothing else is deleted.

The mark is a file that names the files of ours. A folder without it, or a link, is somebody else's.
"""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tasks.files import open_bytes, read_bytes

MARK: Final = ".retmask-harness"
_SIGNATURE: Final = "files of a retmask-harness page\n"
#: What earlier versions wrote, without a mark.
_UNMARKED: Final = re.compile(r"(?:texts|prompts)-\d{4,}\.js")
_BEGINS: Final = (b"harnessTexts(", b"harnessPrompts(")


class NotOursError(Exception):
    """Something is in the way that the harness did not write."""


def folder_of(page: str) -> str:
    """Give the name of the folder beside the page of that file name.

    >>> folder_of("report.html")
    'report_files'
    """
    return f"{Path(page).stem}_files"


def replace_files(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make ``folder`` hold what ``fill`` writes into the folder it is given, instead of what was written so before.

    If that is nothing there is no folder. NotOursError, before anything is changed, if something else would be overwritten.
    """
    old = _ours(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fill(temporary)
        new = sorted(path.name for path in temporary.iterdir())
        for name in new:
            if name not in old and os.path.lexists(folder / name):
                raise NotOursError(f"{folder / name} was not written by the harness")
        if new:
            folder.mkdir(exist_ok=True)
            _mark(folder, {*old, *new})
        for name in new:
            os.replace(temporary / name, folder / name)
        for name in old - set(new):
            (folder / name).unlink(missing_ok=True)
        if new:
            _mark(folder, set(new))
        elif folder.is_dir():
            (folder / MARK).unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _mark(folder: Path, names: set[str]) -> None:
    (folder / MARK).write_text(_SIGNATURE + "".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")


def _ours(folder: Path) -> set[str]:
    """Names of our files in the folder; none if it is not there, or empty."""
    if not os.path.lexists(folder):
        return set()
    if folder.is_symlink() or not folder.is_dir():
        raise NotOursError(f"{folder} is {'a link' if folder.is_symlink() else 'no folder'}")
    there = {entry.name: entry for entry in os.scandir(folder)}
    if not there:
        return set()
    if MARK in there and there[MARK].is_file(follow_symlinks=False):
        first, *names = read_bytes(folder / MARK).decode("utf-8", "replace").split("\n")
        if f"{first}\n" == _SIGNATURE:
            return {name for name in names if name in there and there[name].is_file(follow_symlinks=False)}
    elif all(_UNMARKED.fullmatch(name) and _begins_as_ours(folder / name) for name in there):
        return set(there)
    raise NotOursError(f"{folder} is there and was not written by the harness")


def _begins_as_ours(path: Path) -> bool:
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    with open_bytes(path) as file:
        return file.read(max(map(len, _BEGINS))).startswith(_BEGINS)
