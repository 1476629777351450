"""How a command ends: one exit code for each kind of end, nothing left running, and no verdict that depends on where output goes.

0, 1, 2 and 3 are the command's own (docs/reliability.md). What nobody foresaw ends with 70, Ctrl-C with 130, another signal with 128 and
its number. Children that the command started end with it.
"""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from harness.access import denied, is_denied
from harness.api import HarnessError
from harness.screen.terminal import echo, flush
from reports.safe import one_line

#: A name that is too long, a link to itself: nobody's fault but the name's.
_NO_NAMES: Final = (errno.ENAMETOOLONG, errno.ELOOP)
#: What pathlib makes of the latter.
_LOOP: Final = "Symlink loop"
UNFORESEEN: Final = 70
INTERRUPTED: Final = 130
_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """A signal asks for the end. Not an Exception: nothing but cleaning up comes before the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(command: Callable[[], Any], debug: Callable[[], bool]) -> int:
    """Run ``command``, which returns its exit code or None; say how it ended if it did not end well. Its exit code."""
    _open_streams()
    before = _descendants()
    with _signals():
        code = _ended(command, debug)
        if code in (UNFORESEEN, INTERRUPTED) or code > 128:
            _end_children(before)
    return flush() or code


def _ended(command: Callable[[], Any], debug: Callable[[], bool]) -> int:
    try:
        value = command()
    except Terminated as error:
        return _say(f"ended by {signal.Signals(error.number).name}; the same command goes on where it was", 128 + error.number, debug)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on where it was", INTERRUPTED, debug)
    except click.Abort as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            return _say("interrupted; the same command goes on where it was", INTERRUPTED, debug)
        return _say("a question was not answered, and nothing was done", 2, debug)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        said = StringIO()
        error.show(said)
        echo(said.getvalue().rstrip("\n"), err=True)
        return error.exit_code
    except HarnessError as error:  # with --debug
        return _say(str(error), error.exit_code, debug)
    except RecursionError:
        return _say("a file is nested too deeply to be read; --debug shows where it was read", 2, debug)
    except MemoryError:
        return _say("not enough memory; what is finished is kept: start the same command again with more, or ask for less", 2, debug)
    except OSError as error:
        if is_denied(error):
            return _say(str(denied(error)), 2, debug)
        if error.errno in _NO_NAMES:
            return _say(f"{error.filename or 'a name'} cannot be used ({error.strerror}); give another", 2, debug)
        return _unforeseen(error, debug)
    except SystemExit as error:  # of a library: the commands themselves return
        return _unforeseen(error, debug)
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error).startswith(_LOOP):
            return _say(f"{error}; give another name", 2, debug)
        return _unforeseen(error, debug)
    return value if isinstance(value, int) else 0


def _unforeseen(error: BaseException, debug: Callable[[], bool]) -> int:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    what = f"{type(error).__name__}: {error}{where}"
    return _say(
        f"nobody foresaw this: {what}; please report it with what `harness --debug` prints. What is finished is kept", UNFORESEEN, debug
    )


def _say(message: str, code: int, debug: Callable[[], bool]) -> int:
    if debug():
        echo(traceback.format_exc(), err=True)
    echo(f"harness: {one_line(message)}", err=True)
    return code


def _open_streams() -> None:
    """No stream is closed, and none fails on a letter that its encoding does not have."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:  # the lowest free number, so that no file of ours is taken for a stream
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


@contextmanager
def _signals() -> Iterator[None]:
    """Signals that would end Python at once raise :class:`Terminated` instead, unless somebody wants them ignored (``nohup``)."""

    def end(number: int, _: FrameType | None) -> None:
        raise Terminated(number)

    before = {}
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    except ValueError:  # not the main thread: somebody else's program
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _descendants() -> set[int]:
    """Processes that this one started, and those that they did."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _end_children(before: set[int]) -> None:
    """Kill what the command started and has not ended: trainers, engines, and theirs."""
    for child in _descendants() - before:
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
