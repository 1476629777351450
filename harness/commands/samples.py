"""``harness samples``: an evaluation's samples as a table of any kind, with their prompts if asked (group ``harness.commands``)."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness.api import HarnessError
from harness.screen.terminal import data, echo

if TYPE_CHECKING:
    import pandas as pd

#: As :data:`harness.publishing.joined.COLUMNS`, without loading pandas for a help text.
_BESIDE: Final = ("prompt", "answer_prefix")


@click.command("samples")
@click.argument("evaluation")
@click.option("--with", "beside", multiple=True, type=click.Choice(_BESIDE), help="Also this of each example; repeat it for both.")
@click.option("--format", "form", type=click.Choice(("csv", "jsonl", "parquet")), help="[default: as --output ends, else csv]")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: print]")
def samples_command(evaluation: str, beside: tuple[str, ...], form: str | None, output: Path | None) -> None:
    """Print or write an evaluation's samples: a row for each example and metric, with score, output and right answers.

    \b
    Examples:
      harness samples runs/qwen
      harness samples runs/demo:retmask --with prompt --format jsonl --output retmask.jsonl
      harness samples runs/demo:baseline --with prompt --output baseline.parquet

    An EVALUATION is a run directory with one, RUN:METHOD, RUN:METHOD@SEED, or a .parquet file of samples (which has no prompts).
    """
    from harness.publishing.joined import joined
    from harness.store.find import find_one

    found = find_one(evaluation)
    table = joined(found.read(), found.run, tuple(dict.fromkeys(beside)))
    kind = form or (output.suffix.removeprefix(".").lower() if output and output.suffix else "csv")
    if kind not in ("csv", "jsonl", "parquet"):
        raise HarnessError(f"--output {output}: end the name in .csv, .jsonl or .parquet, or say which with --format")
    if kind == "parquet":
        if output is None:
            raise HarnessError("a Parquet table is not for printing; name a file with --output")
        _write(output, lambda path: table.to_parquet(path, index=False))
    elif output is None:
        for line in _LINES[kind](table):
            data(line)
    else:
        _write(output, lambda path: _write_lines(path, _LINES[kind](table)))
    if output is not None:
        echo(f"{len(table):,} rows: {output}")


def _csv(table: "pd.DataFrame") -> Iterator[str]:
    """RFC 4180; text that a spreadsheet would run as a formula gets an apostrophe in front."""
    from reports.safe import cell

    for row in [list(table.columns), *_rows(table)]:
        out = io.StringIO()
        csv.writer(out).writerow([cell(each) if isinstance(each, str) else "" if each is None else each for each in row])
        yield out.getvalue()


def _jsonl(table: "pd.DataFrame") -> Iterator[str]:
    for row in _rows(table):
        yield json.dumps(dict(zip(table.columns, row, strict=True)), ensure_ascii=False) + "\n"


def _rows(table: "pd.DataFrame") -> Iterator[list[Any]]:
    """Plain values, None for what is missing (a depth of several gold passages); one row is in memory at a time."""
    columns = [table[name].tolist() for name in table.columns]
    for row in zip(*columns, strict=True):
        yield [None if isinstance(each, float) and each != each else each for each in row]


_LINES: Final[dict[str, Callable[["pd.DataFrame"], Iterator[str]]]] = {"csv": _csv, "jsonl": _jsonl}


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def _write(output: Path, fill: Callable[[Path], object]) -> None:
    from tasks.files import replacing

    try:
        with replacing(output) as temporary:
            fill(temporary)
    except OSError as error:
        raise HarnessError(f"cannot write {output} ({error.strerror}); choose another file with --output") from None
