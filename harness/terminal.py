"""What goes to the terminal. Text that others wrote (a model, a file's name, a server) is shown there and never obeyed, and keys are not.

Every command prints through this module; a test looks for other ways.
"""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from harness.redact import redacted, without_known
from reports.safe import encodable, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def echo(text: object = "", *, err: bool = False) -> None:
    """Print lines for a person."""
    click.echo(visible(redacted(str(text))), err=err)


def data(text: str) -> None:
    """Print a file's content, such as JSON or CSV: exactly into a pipe or a file, made visible only on a terminal."""
    text = without_known(text)
    sys.stdout.write(visible(text) if sys.stdout.isatty() else encodable(text))
    sys.stdout.flush()


def show(renderable: "RenderableType") -> None:
    """Print a table."""
    console().print(renderable)


def console(*, stderr: bool = False) -> "Console":
    """rich's console, whose own colours work and those in a text do not."""
    from rich.console import Console
    from rich.segment import Segment

    class Safe(Console):
        def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
            for segment in super().render(*arguments, **options):
                yield segment if segment.control else Segment(visible(redacted(segment.text)), segment.style)

    return Safe(stderr=stderr)
