"""``harness score``: score outputs that exist already."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from harness.api import HarnessError
from harness.screen.terminal import echo
from tasks.modes import MODES

if TYPE_CHECKING:
    from tasks.modes import Mode


@click.command("score")
@click.option("--task", required=True, help="Name as in HELMET's configs, such as kilt_nq or alce_asqa_30.")
@click.option("--input", "source", type=click.Path(path_type=Path), required=True, help="A HELMET result (JSON) or JSONL.")
@click.option("--output", "target", type=click.Path(path_type=Path, dir_okay=False), required=True, help="JSONL of scores to write.")
@click.option(
    "--scoring",
    "--mode",
    "mode",
    type=click.Choice(MODES),
    default="parity",
    show_default=True,
    help="As the published scorers, or with their quirks mended (docs/scoring.md).",
)
@click.option("--judge", help="Judge of citations: an NLI model (Hub id or directory), or exact-words, for tests.")
@click.option("--judge-cache", type=click.Path(path_type=Path, dir_okay=False), help="File that keeps the judge's verdicts (SQLite).")
@click.option(
    "--sentences",
    type=click.Choice(["simple", "default"]),
    default="default",
    show_default=True,
    help="Where a sentence ends: at white space after . ! or ?, or as NLTK's Punkt finds.",
)
def score_command(task: str, source: Path, target: Path, mode: str, judge: str | None, judge_cache: Path | None, sentences: str) -> None:
    """Score outputs that exist already, one JSON line each: {"id": ..., "metrics": {...}}.

    The input is a result file of HELMET (a JSON object with a `data` list) or JSON lines; each record holds the published record's fields
    and `output`. Values are in [0, 1] except counts; means are printed times 100.

    \b
    Examples:
      harness score --task kilt_nq --input outputs.jsonl --output scores.jsonl
      harness score --task alce_asqa_30 --input result.json --output scores.jsonl --judge google/t5_xxl_true_nli_mixture
    """
    from harness.evaluation.score_files import find_judge, means, read_outputs, score_outputs, thoughts_note, write_lines
    from tasks import records, scoring

    try:
        scoring.family(task)
    except scoring.UnknownTaskError as error:
        raise HarnessError(str(error)) from None
    outputs = read_outputs(source)
    scored = score_outputs(task, outputs, cast("Mode", mode), find_judge(judge, judge_cache), sentences)
    lines = []
    for number, (each, found) in enumerate(zip(outputs, scored, strict=True)):
        name = records.identity(each.record)
        plain = name if isinstance(name, str | int) else json.dumps(name)  # NaN, inside of a list, is no JSON
        line = {"id": number if name is None else plain, "metrics": dict(found.metrics)}
        lines.append(line | ({"left_out": list(found.left_out)} if found.left_out else {}))
    write_lines(target, (json.dumps(line) for line in lines))
    echo(means(scored))
    if note := thoughts_note(outputs, cast("Mode", mode)):
        echo(note, err=True)
    if scoring.family(task).judged and judge is None:
        echo("citation scores are left out; --judge MODEL adds them", err=True)
