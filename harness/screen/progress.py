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
