"""``harness reproduce``: a finished run again, and whether it comes out the same (entry-point group ``harness.commands``)."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.consent import KINDS, Allowed
from harness.screen.terminal import echo

if TYPE_CHECKING:
    from harness.reproduce import Reproduction

_DIFFERENT: Final = 1


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Where to run it again and keep it.  [default: nowhere]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
@click.option("--allow-unsafe-weights", is_flag=True, help="Where the run loaded pickled weights: load them again.")
@click.option("--trust-remote-code", is_flag=True, help="Where the run executed the model's own code: execute it again.")
@click.option("--url", default="", help="A server instead of the one that the run asked.")
@click.option("--allow", type=click.Choice(KINDS), multiple=True, help="What the run's manifest may ask for; repeat.")
@click.option("--allow-url", multiple=True, metavar="HOST", help="A host that it may send prompts, and your key, to; repeat.")
@click.pass_context
def reproduce(
    context: click.Context,
    /,
    run: Path,
    output: Path | None,
    as_json: bool,
    url: str,
    allow: tuple[str, ...],
    allow_url: tuple[str, ...],
    **risks: bool,
) -> None:
    """Do a finished run again, from its manifest, and compare every sample. Exit code 0: equal; 1: different; 2: it cannot be done.

    \b
    Examples:
      harness reproduce runs/builtin
      harness reproduce runs/builtin --output runs/again --json

    What the run's manifest asks for and only you can decide (code, servers, services) needs --allow or --allow-url; the message says which.
    With --output an interrupted reproduction goes on where it was. What may make results differ (versions, processor, threads, number
    format) is listed where it is not as it was.
    """
    from harness.reproduce import reproduce as again

    granted, allowed = [name for name, taken in risks.items() if taken], Allowed(allow, allow_url)
    if output is None:
        with tempfile.TemporaryDirectory(prefix="harness-reproduce-") as folder:
            found = again(run, Path(folder) / "run", granted, allowed, url)
    else:
        found = again(run, output, granted, allowed, url)
    echo(json.dumps(found.as_json(), indent=1) if as_json else as_text(found))
    if not found.equal:
        context.exit(_DIFFERENT)


def as_text(found: "Reproduction") -> str:
    """Make a line for each evaluation, one for each task that differs, and what may be the reason."""
    lines = []
    for name, then, now in found.digests:
        lines.append(f"{name}: samples {'equal' if then == now else 'DIFFERENT'} ({then[:12]} then, {now[:12]} now)")
        lines += [
            f"  {task.task} at {task.length}: {task.outputs} of {task.examples} outputs and {task.scores} scores differ"
            + (f", {task.missing} examples in one run only" if task.missing else "")
            for task in found.tasks
            if task.evaluation == name and not task.equal
        ]
    lines += [f"note: {each}" for each in found.circumstances]
    return "\n".join([*lines, "equal" if found.equal else "different"])
