"""What nothing needs in the run directories below a folder, and deleting it.

Deleted is only what the store has made: a real directory called ``NAME-KEY`` (``.work``, ``.damaged``) in the real ``steps`` of a run
directory that carries our mark, or an earlier version's sealed files. Whatever is a link is left alone, and named. Nothing goes while a
command uses the run directory, and, but for what was put aside, nothing while one that began lately has not finished.
"""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.access import AccessError
from harness.api import HarnessError
from harness.files import DamagedError, read_sealed
from harness.store.begun import COMMAND, unfinished
from harness.store.inspect import StepOnDisk, inspect
from harness.store.locks import if_free
from harness.store.mark import is_in_use, is_marked, unused
from harness.store.steps import DAMAGED, LOCK, MANIFEST, WORK

STEPS: Final = "steps"
#: Days that what a command has begun is kept for it.
PATIENCE: Final = 7.0
_NAME: Final = re.compile(rf"[\w.-]+-[0-9a-f]{{12}}(?:{re.escape(WORK)}|{re.escape(DAMAGED)})?")


@dataclass(frozen=True)
class Sweep:
    """One run directory."""

    root: Path
    """Without links on the way to it."""
    spare: tuple[StepOnDisk, ...]
    """Steps that nothing needs."""
    left: tuple[tuple[Path, str], ...]
    """What is left alone, and why."""
    days: float = PATIENCE

    def remove(self) -> list[StepOnDisk]:
        """Delete the spare steps that still are spare; those that went."""
        if not self.spare:
            return []
        with unused(self.root) as handle:
            if handle is None:
                return []
            kept = unfinished(self.root, self.days)
            try:
                steps = os.open(STEPS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            except OSError:
                raise HarnessError(f"{self.root / STEPS} is a link by now, or gone; nothing in it was deleted") from None
            try:
                return [step for step in self.spare if (not kept or step.state == "put aside") and _remove(step, steps)]
            finally:
                os.close(steps)


def _remove(step: StepOnDisk, steps: int) -> bool:
    """Delete one step of the opened ``steps``, unless it is gone or a process of an earlier version holds it; whether it did."""
    name = step.path.name
    base = step.path.with_name(name.removesuffix(WORK).removesuffix(DAMAGED))
    with if_free(base.with_name(base.name + LOCK)) as free:
        if not free:
            return False
        try:
            shutil.rmtree(name, dir_fd=steps)  # refuses a link, and follows none inside
        except FileNotFoundError:
            return False
        except OSError as error:
            raise HarnessError(f"cannot delete {step.path} ({error.strerror or error}); look there and run it again") from None
    return True


def sweeps(folder: Path, days: float = PATIENCE) -> list[Sweep]:
    """List what could go in each run directory at and below ``folder``, with ``days`` of patience for unfinished commands.

    ``folder`` itself may be called by a link, nothing below it. HarnessError if there is no such folder.
    """
    if not folder.is_dir():
        raise HarnessError(f"no folder {folder}; name one that holds runs, such as runs/")
    return sorted(_sweeps(folder.resolve(), days), key=lambda each: each.root)


def _sweeps(folder: Path, days: float) -> Iterator[Sweep]:
    for path, folders, _ in os.walk(folder):
        root = Path(path)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if STEPS in folders:
            folders.clear()
            yield _sweep(root, days)
            continue
        for name in folders:
            if (root / name).is_symlink() and (root / name / STEPS).is_dir():
                yield Sweep(root / name, (), ((root / name, "is a link; name the folder it leads to"),))


def _sweep(root: Path, days: float) -> Sweep:
    if (root / STEPS).is_symlink():
        return Sweep(root, (), ((root / STEPS, "is a link; nothing behind it is deleted"),))
    if not is_ours(root):
        return Sweep(root, (), ((root, "has a folder called steps and no mark of the harness"),))
    run = inspect(root)
    judged = (root / MANIFEST).exists() and not run.problems
    states = ("unfinished", "put aside", "finished", "damaged") if judged else ("unfinished", "put aside")
    spare, left = [], []
    for step in run.steps:
        if step.path.is_symlink():
            left.append((step.path, "is a link"))
        elif step.state not in states or step.used:
            continue
        elif not _NAME.fullmatch(step.path.name) or (step.state in ("finished", "damaged") and not (step.path / MANIFEST).is_file()):
            left.append((step.path, "was not made by the harness"))
        else:
            spare.append(step)
    if spare and is_in_use(root):
        return Sweep(root, (), (*left, (root, "is in use by a running command; all of it is kept")), days)
    if (command := unfinished(root, days)) and any(step.state != "put aside" for step in spare):
        left.append((root, f"is kept for a command that has not finished ({command}); start it again, or lower --older-than"))
        spare = [step for step in spare if step.state == "put aside"]
    return Sweep(root, tuple(spare), tuple(left), days)


def is_ours(root: Path) -> bool:
    """Say whether a command of the harness has made the steps here: the mark is there, or an earlier version's sealed files."""
    return is_marked(root) or any(_is_of_a_run(root / name) for name in (MANIFEST, COMMAND))


def _is_of_a_run(path: Path) -> bool:
    try:
        found = read_sealed(path) if stat.S_ISREG(path.lstat().st_mode) else {}
    except (OSError, DamagedError, AccessError):
        return False
    return isinstance(found.get("command"), str) and isinstance(found.get("model"), dict) and isinstance(found.get("config"), dict)
