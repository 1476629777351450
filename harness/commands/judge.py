"""``harness judge``: whether a model that judges agrees with people."""

import json
from pathlib import Path

import click

from harness.api import HarnessError
from harness.commands.groups import Listing
from harness.commands.parameters import Number
from harness.screen.terminal import echo


@click.group(cls=Listing)
def judge() -> None:
    """Hold a judge's scores against people's. `harness eval --judge-model` has answers judged."""


@judge.command()
@click.argument("run")
@click.argument("labels", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--confidence", type=Number(0, 1, min_open=True, max_open=True), default=0.95, show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="JSON file to write too.")
def agreement(run: str, labels: Path, confidence: float, output: Path | None) -> None:
    """Say how far the judge of RUN agrees with LABELS, and what its mean would be without its bias.

    LABELS has a JSON line for each labelled answer: its example_id, and score (from 0 to 1) or any of the grades that the judge gave, such
    as fluency (0 or 1) and correctness (0 to 3). Choose the answers to label at random; 50 of a task tell much.

    \b
    Examples:
      harness judge agreement runs/llama labels.jsonl
      harness judge agreement runs/llama:retmask labels.jsonl --output agreement.json
    """
    from harness.evaluation.labels import compare, read_labels
    from harness.store.find import find_one
    from tasks.files import write_text

    found = compare(find_one(run), read_labels(labels), str(labels), confidence)
    for each in found:
        echo(each.text())
    if output is not None:
        try:
            write_text(output, json.dumps([each.record() for each in found], indent=1) + "\n")
        except OSError as error:
            raise HarnessError(f"{output} cannot be written ({error.strerror}); name another file") from None
