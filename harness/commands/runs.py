"""``harness runs``: the run directories on this disk (entry-point group ``harness.commands``)."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.commands.groups import Listing
from harness.commands.parameters import Number
from harness.screen.terminal import echo

if TYPE_CHECKING:
    from harness.store.inspect import RunOnDisk, StepOnDisk

_FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_DAMAGED: Final = 2


@click.group(cls=Listing)
def runs() -> None:
    """List run directories, look into one, verify that nothing is damaged, and free what nothing needs.

    \b
    Examples:
      harness runs list
      harness runs show runs/builtin
      harness runs verify runs
      harness runs gc runs/builtin --dry-run
    """


@runs.command("list")
@_FOLDER
@_JSON
def list_command(folder: Path, as_json: bool) -> None:
    """The runs below FOLDER (default: runs): state, size, date, model and methods.

    \b
    Examples:
      harness runs list
      harness runs list /data/experiments --json
    """
    from harness.store.inspect import survey

    found = survey(folder)
    if as_json:
        echo(json.dumps([run.as_json() for run in found], indent=1))
        return
    if not found:
        echo(f"no runs below {folder}")
    for run in found:
        what = ", ".join(run.methods) or "evaluation"
        echo(f"{run.state:10}  {_size(run.bytes):>10}  {_date(run.started):16}  {run.path}  {run.model or '?'}: {what}")


@runs.command("show")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@_JSON
def show(run: Path, as_json: bool) -> None:
    """One run: its command and its steps with key, state, time and size. Steps marked - belong to other commands.

    \b
    Examples:
      harness runs show runs/builtin
      harness runs show runs/builtin --json
    """
    from harness.store.inspect import inspect

    found = inspect(run)
    if as_json:
        echo(json.dumps(found.as_json(), indent=1))
        return
    echo(f"{found.path}: {found.state}, {_size(found.bytes)}, {_date(found.started)}\n{found.command}\n")
    for step in found.steps:
        mark = " " if step.used else "-"
        seconds = "" if step.seconds is None else f"{step.seconds:.1f} s"
        echo(f"{mark} {step.name:20} {step.key[:12]:12}  {step.state:10} {seconds:>10} {_size(step.bytes):>10}")
    for each in found.models:
        echo(f"model: {each.path}")
    _tell(found)


@runs.command("verify")
@_FOLDER
@_JSON
@click.pass_context
def verify(context: click.Context, folder: Path, as_json: bool) -> None:
    """Hash every file of every run at or below FOLDER (default: runs). Exit code 0: all as it was written; 2: something is not.

    A damaged step is built again by the run's own command; nothing uses it until then.

    \b
    Examples:
      harness runs verify runs/builtin
      harness runs verify --json
    """
    from harness.store.inspect import survey

    found = survey(folder, thorough=True)
    if as_json:
        echo(json.dumps([run.as_json() for run in found], indent=1))
    elif not found:
        echo(f"no runs below {folder}")
    else:
        for run in found:
            whole = sum(step.state == "finished" for step in run.steps)
            echo(f"{run.path}: {whole} finished steps are whole" + (f", {run.state}" if run.state in ("damaged", "unreadable") else ""))
            _tell(run)
    if any(run.state in ("damaged", "unreadable") for run in found):
        context.exit(_DAMAGED)


@runs.command("gc")
@_FOLDER
@click.option("--dry-run", is_flag=True, help="Only print what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--older-than",
    type=Number(min=0),
    default=7.0,
    show_default=True,
    metavar="DAYS",
    help="Keep everything for a command that began in the last DAYS and has not finished; 0 keeps nothing for it.",
)
@_JSON
def gc(folder: Path, dry_run: bool, yes: bool, older_than: float, as_json: bool) -> None:
    """Free what the runs at or below FOLDER (default: runs) do not need.

    That is unfinished work, damaged steps that were put aside, and steps which the run's manifest, that of its last finished command, does
    not refer to. Of a run that never finished, finished steps stay. A run directory that a command uses is left alone, and so is one where
    a command began in the last week and has not finished, which could still go on. It prints full paths of what would go and asks first;
    links, and what the harness did not make, are named and stay.

    \b
    Examples:
      harness runs gc runs/builtin --dry-run
      harness runs gc runs --yes
      harness runs gc runs --older-than 0
    """
    from harness.store.sweep import sweeps

    found = sweeps(folder, older_than)
    spare = [step for sweep in found for step in sweep.spare]
    left = [(path, why) for sweep in found for path, why in sweep.left]
    freed: list[StepOnDisk] = []
    if not as_json:
        for path, why in left:
            echo(f"left alone: {path} {why}")
        for step in spare:
            echo(f"{_size(step.bytes):>10}  {step.state:10}  {step.path}")
    asked = as_json or not spare or dry_run or yes
    if not dry_run and (yes or (not asked and click.confirm(f"delete these ({_sum(spare)})?"))):
        freed = [step for sweep in found for step in sweep.remove()]
    if as_json:
        listed = [{"path": str(step.path), "state": step.state, "bytes": step.bytes, "removed": step in freed} for step in spare]
        kept = [{"path": str(path), "state": "left alone", "why": why, "bytes": 0, "removed": False} for path, why in left]
        echo(json.dumps([*listed, *kept], indent=1))
    elif dry_run or not spare:
        echo(f"{_sum(spare)} could be freed")
    else:
        echo(f"{_sum(freed)} freed")


def _tell(run: "RunOnDisk") -> None:
    for problem in (*(step.problem for step in run.steps if step.problem), *run.problems):
        echo(f"  {problem}")
    if run.state == "damaged":
        echo("  nothing damaged is used; the run's own command builds it again" + (f": {run.command}" if run.command else ""))


def _sum(steps: "Sequence[StepOnDisk]") -> str:
    return _size(sum(step.bytes for step in steps))


def _size(count: int) -> str:
    value, unit = float(count), 0
    while value >= 1024 and unit + 1 < len(_UNITS):
        value, unit = value / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def _date(started: float | None) -> str:
    return "" if started is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(started))
