"""Progress for the person watching, on standard error: a bar with time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from harness.screen.terminal import console, echo, silent
from reports.safe import one_line

T = TypeVar("T")
#: Seconds between lines where there is no terminal.
_EVERY: Final = 20.0


def say(message: str) -> None:
    """Show one line."""
    echo(message, err=True)


class Clock:
    """Tells how long the rest of some work takes, piece by piece about as long. What was there before it began took no time."""

    def __init__(self, total: int, done: int = 0) -> None:
        self._total, self._before = total, done
        self._started = time.monotonic()

    def left(self, done: int) -> str:
        """Say it, to follow what was said of the work: ``", 12 min left"``; nothing where nothing is known, or left."""
        finished = done - self._before
        if finished <= 0 or done >= self._total:
            return ""
        seconds = (time.monotonic() - self._started) * (self._total - done) / finished
        for unit, length in (("h", 3600), ("min", 60)):
            if seconds >= 2 * length:
                return f", {seconds / length:.0f} {unit} left"
        return f", {seconds:.0f} s left"


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar; yields ``advance(n)``, to be called when ``n`` more items are done."""
    if silent():
        yield lambda done: None
        return
    if sys.stderr.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console(stderr=True), transient=True) as progress:
            task = progress.add_task(one_line(title), total=total)
            yield lambda done: progress.update(task, advance=done)
        return
    started = printed = time.monotonic()
    finished = 0

    def advance(done: int) -> None:
        nonlocal finished, printed
        finished += done
        now = time.monotonic()
        if finished and now - printed > _EVERY:
            printed = now
            say(f"  {title}: {finished}/{total}, {(now - started) * (total - finished) / finished:.0f} s left")

    yield advance


def track(title: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Yield the items, with a bar."""
    with bar(title, total) as advance:
        for item in items:
            yield item
            advance(1)
