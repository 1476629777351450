"""``harness baseline``: a small file of scores to commit and check against (entry-point group ``harness.commands``)."""

from pathlib import Path

import click

from harness.api import HarnessError
from harness.commands.groups import Listing
from harness.screen.terminal import echo
from harness.store.find import find_one
from tasks.files import replacing


@click.group(cls=Listing)
def baseline() -> None:
    """Baselines for `harness check`: save.

    \b
    Example:
      harness baseline save runs/main --output baseline.parquet
    """


@baseline.command()
@click.argument("evaluation")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("baseline.parquet"), show_default=True)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def save(evaluation: str, output: Path, force: bool) -> None:
    """Save an evaluation's scores without its texts, small enough to commit.

    \b
    Examples:
      harness baseline save runs/main
      harness baseline save runs/demo:retmask --output ci/baseline.parquet --force
    """
    found = find_one(evaluation)
    if output.suffix != ".parquet":
        raise HarnessError(f"--output {output}: end the name in .parquet, so that `harness check` knows what it is")
    if output.exists() and not force:
        raise HarnessError(f"{output} exists; replace it with --force, or choose another name with --output")
    frame = found.read().assign(output="", targets="[]", thinking="")
    try:
        with replacing(output) as temporary:
            frame.to_parquet(temporary, index=False, compression="zstd")
    except OSError as error:
        raise HarnessError(f"cannot write {output} ({error.strerror}); choose another file with --output") from None
    examples = len(frame.drop_duplicates(["task", "length", "example_id"]))
    echo(f"{output}: {examples:,} examples, {output.stat().st_size / 1024:.0f} KiB")
