"""``harness leaderboard``: many runs in one table (entry-point group ``harness.commands``)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.api import HarnessError
from harness.commands.parameters import Length, Number
from harness.screen.terminal import show
from harness.store.find import BASELINE, Evaluation, find

if TYPE_CHECKING:
    from reports.leaderboard import Entry


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="[NAME=]RUN...")
@click.option("--reference", type=click.Choice(["published"]), help="Show published HELMET results too, marked as not re-run.")
@click.option("--length", type=Length(), help="Length of the printed table, such as 8k.  [default: mean over lengths]")
@click.option("--output", "outputs", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
              help="File to write: .html, .md or .csv, with every length. Repeat for several.")  # fmt: skip
@click.option("--margin", type=Number(0, 100, min_open=True), help="Points of difference that do not matter.")
@click.option("--confidence", type=Number(0, 1, min_open=True, max_open=True), default=0.95, show_default=True)
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
def leaderboard(
    runs: tuple[str, ...],
    reference: str | None,
    length: int | None,
    outputs: tuple[Path, ...],
    margin: float | None,
    confidence: float,
    resamples: int,
    seed: int,
) -> None:
    """Rank evaluations, with a range of ranks for each; only comparable ones are ranked together.

    \b
    Examples:
      harness leaderboard runs/demo
      harness leaderboard runs/* --reference published --output board.html --output board.csv
      harness leaderboard llama=runs/a qwen=runs/b:retmask --length 8k
    """
    from reports import boardfiles
    from reports.compare import CompareError
    from reports.leaderboard import board
    from reports.reference import published

    for path in outputs:
        if path.suffix.removeprefix(".").lower() not in boardfiles.FORMATS:
            raise HarnessError(f"--output {path}: end the name in one of .html, .md, .csv")
    references = published() if reference else []
    try:
        entries, again = _entries(runs)
        found = board(
            entries, references=references, resamples=resamples, seed=seed, confidence=confidence,
            margin=math.nan if margin is None else margin / 100, notes=again,
        )  # fmt: skip
        shown = boardfiles.terminal(found, length or found.columns[0].length)
    except (CompareError, ValueError) as error:
        raise HarnessError(str(error)) from None
    for path in outputs:
        try:
            boardfiles.write(path, found)
        except OSError as error:
            raise HarnessError(f"cannot write {path} ({error.strerror}); choose another file with --output") from None
    show(shown)


def _entries(runs: tuple[str, ...]) -> "tuple[list[Entry], list[str]]":
    """Every evaluation of every run, under names that tell them apart; and which tables were left out since they are others' again."""
    from reports.leaderboard import Entry
    from reports.samples import digest

    entries: dict[str, Entry] = {}
    seen: dict[tuple[str, ...], str] = {}
    again: list[str] = []
    for name, each in [each for argument in runs for each in _labelled(argument)]:
        tables = each.tables()
        identity = tuple(digest(table) + "+".join(sorted(table["model_digest"].unique())) for table in tables)
        if identity in seen:
            where = each.run.name if each.run else each.path.name
            again.append(f"{name} of {where} is the same table as {seen[identity]}, which is shown once.")
            continue
        label = name if name not in entries else f"{name} ({each.run.name if each.run else each.path})"
        if label in entries:
            raise HarnessError(f"two evaluations are called {label}; give them names, NAME=RUN")
        seen[identity] = label
        entries[label] = Entry(label, tables)
    return list(entries.values()), again


def _labelled(argument: str) -> list[tuple[str, Evaluation]]:
    found = find(argument)
    if len(found) == 1:
        only = found[0]
        plain = only.run is not None and "=" not in argument
        return [(_label(only) if plain else only.name, only)]
    return [(_label(each), each) for each in found]


def _label(each: Evaluation) -> str:
    """A model by the name its user gave it, a method's model as "model + method"."""
    model = Path(each.model).name or each.model or each.name
    is_method = each.run is not None and each.name not in (BASELINE, each.run.name)
    return f"{model} + {each.name}" if is_method else model
