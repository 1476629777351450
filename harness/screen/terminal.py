"""What goes to the terminal. Text that others wrote (a model, a file's name, a server) is shown there and never obeyed, and keys are not.

Every command prints through this module; a test looks for other ways.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from harness.screen.redact import redacted, without_known
from reports.safe import encodable, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


#: How many blocks of :func:`silence` are open.
_silences = 0


@contextmanager
def silence() -> Iterator[None]:
    """Keep what is said on standard error to oneself: for programs that call ours, and ask for results instead."""
    global _silences
    _silences += 1
    try:
        yield
    finally:
        _silences -= 1


def silent() -> bool:
    """Tell whether nothing is to be said on standard error."""
    return _silences > 0


def echo(text: object = "", *, err: bool = False) -> None:
    """Print lines for a person; progress and notices, on standard error, not inside :func:`silence`."""
    if err and silent():
        return
    with _readers_may_leave():
        click.echo(visible(redacted(str(text))), err=err)


def data(text: str) -> None:
    """Print a file's content, such as JSON or CSV: exactly into a pipe or a file, made visible only on a terminal."""
    text = without_known(text)
    text = visible(text) if sys.stdout.isatty() else encodable(text)
    with _readers_may_leave():
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:  # a file's content is UTF-8 whatever the terminal's encoding is
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode())
            sys.stdout.buffer.flush()
        else:
            sys.stdout.write(text)
            sys.stdout.flush()


def show(renderable: "RenderableType") -> None:
    """Print a table."""
    with _readers_may_leave():
        console().print(renderable)


def flush() -> int:
    """Write out what is still held back; 0, or 2 if that cannot be done, said on standard error."""
    try:
        with _readers_may_leave():
            sys.stdout.flush()
            sys.stderr.flush()
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):
            click.echo(f"harness: the output could not be written ({error})", err=True)
        _to_nowhere(sys.stdout)
        return 2
    return 0


@contextmanager
def _readers_may_leave() -> Iterator[None]:
    """Whoever reads the output may stop (``| head``): the command goes on, and its exit code is what it would have been."""
    try:
        yield
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                _to_nowhere(stream)


def _to_nowhere(stream: Any) -> None:
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def console(*, stderr: bool = False) -> "Console":
    """Make rich's console, whose own colours work and those in a text do not."""
    from rich.console import Console
    from rich.segment import Segment

    class Safe(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the program

        def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
            for segment in super().render(*arguments, **options):
                yield segment if segment.control else Segment(visible(redacted(segment.text)), segment.style)

    return Safe(stderr=stderr)
