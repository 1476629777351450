"""``harness import``: finished results of other tools become a run that can be compared and ranked."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from harness.commands.groups import Listing
from harness.commands.parameters import Length
from harness.screen.terminal import echo
from tasks.modes import MODES

if TYPE_CHECKING:
    from harness.importing.outputs import Results
    from tasks.modes import Mode


@click.group("import", cls=Listing)
def import_command() -> None:
    """Turn finished results of HELMET or lm-eval into runs that can be compared and ranked."""


_DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))
_OUTPUT = click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Run directory.  [default: runs/MODEL]")


@import_command.command()
@_DIRECTORY
@_OUTPUT
@click.option(
    "--scoring", "--mode", "mode", type=click.Choice(MODES), default="parity", show_default=True, help="How outputs are scored anew."
)
@click.option("--judge", help="Judge of citations, as in `harness score`; without one, citation scores are left out.")
@click.option("--judge-cache", type=click.Path(path_type=Path, dir_okay=False), help="File that keeps the judge's verdicts (SQLite).")
def helmet(directory: Path, output: Path | None, mode: str, judge: str | None, judge_cache: Path | None) -> None:
    """Import the result files (*.json) that HELMET wrote for one model. Their outputs are scored anew.

    \b
    Example:
      harness import helmet HELMET/output/Llama-3.1-8B-Instruct --output runs/llama
    """
    from harness.evaluation.score_files import find_judge
    from harness.importing.helmet import read

    _publish(read(directory, cast("Mode", mode), find_judge(judge, judge_cache)), output)


@import_command.command("lm-eval")
@_DIRECTORY
@_OUTPUT
@click.option("--length", type=Length(), help="Context length, such as 8k, for tasks whose results do not say it.")
@click.option("--model-name", help="Whose samples these are, where there are no results that say it.")
def lm_eval(directory: Path, output: Path | None, length: int | None, model_name: str | None) -> None:
    """Import what `lm_eval --log_samples --output_path DIRECTORY` wrote for one model. Its scores are taken over.

    \b
    Example:
      harness import lm-eval results/my-model --output runs/my-model
    """
    from harness.importing.lm_eval import read

    _publish(read(directory, length, model_name), output)


def _publish(results: "Results", output: Path | None) -> None:
    from harness.evaluation.evaluate import read_samples
    from harness.importing.outputs import publish
    from harness.publishing.results import show_scores

    artifact = publish(results, output)
    for note in results.notes:
        echo(f"note: {note}", err=True)
    show_scores(read_samples(artifact, ""))
    echo(f"\nsamples: {artifact.path / 'samples.parquet'}")
