"""``harness import``: finished results of other tools become a run that can be compared and ranked (entry point ``harness.commands``).

A reader (:mod:`harness.importing.helmet`, :mod:`harness.importing.lm_eval`) turns a directory into examples; here they become the run directory
that ``harness eval`` would have left: one ``eval`` step with its samples table, and a manifest.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import click

from harness.api import HarnessError, Json
from harness.commands.parameters import Length
from harness.screen.terminal import echo

if TYPE_CHECKING:
    import pandas as pd

    from tasks.modes import Mode

VERSION: Final = 1
_FILE: Final = "samples.parquet"


@dataclass(frozen=True)
class ImportedExample:
    """One answered example of another tool."""

    task: str
    category: str
    length: int
    example_id: str
    cluster: str
    metrics: Mapping[str, float]
    """Name -> score in [0, 1]."""
    output: str
    targets: tuple[str, ...]
    depth: float = float("nan")
    prompt_tokens: int = 0
    """0 where the tool does not say."""
    output_tokens: int = 0
    finish_reason: str = "stop"
    content: str = ""
    """Hash of the question where the tool has one: two runs are compared only if these agree."""


@dataclass(frozen=True)
class Results:
    """What one directory holds."""

    model: str
    backend: str
    """The tool and how it scored; runs of different ones are not compared."""
    examples: tuple[ImportedExample, ...]
    files: Mapping[str, Json]
    """File name -> digest."""
    notes: tuple[str, ...] = ()
    """What a person should know: what was skipped, what differs."""


@click.group("import")
def import_command() -> None:
    """Turn finished results of HELMET or lm-eval into runs that can be compared and ranked."""


_DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))
_OUTPUT = click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Run directory.  [default: runs/MODEL]")


@import_command.command()
@_DIRECTORY
@_OUTPUT
@click.option("--mode", type=click.Choice(["parity", "strict"]), default="parity", show_default=True, help="How outputs are scored anew.")
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
def lm_eval(directory: Path, output: Path | None, length: int | None) -> None:
    """Import what `lm_eval --log_samples --output_path DIRECTORY` wrote for one model. Its scores are taken over.

    \b
    Example:
      harness import lm-eval results/my-model --output runs/my-model
    """
    from harness.importing.lm_eval import read

    _publish(read(directory, length), output)


def _publish(results: Results, output: Path | None) -> None:
    from harness.publishing.results import show_scores
    from harness.screen.redact import redacted
    from harness.store.steps import Store, digest, write_sealed
    from reports import samples
    from reports.safe import file_name

    begun, started = time.time(), time.monotonic()
    root = output or Path("runs") / file_name(results.model.rstrip("/").rsplit("/", 1)[-1])
    model = {"name": results.model, "path": "", "digest": digest({"imported": results.model})}
    suite: dict[str, Json] = {"digest": _suite_digest(results), "examples": len(results.examples)}
    try:
        table = samples.validate(_table(results, str(model["digest"]), str(suite["digest"])))
    except samples.SamplesError as error:
        raise HarnessError(f"the results cannot be imported: {error}") from None

    def build(work: Path) -> dict[str, Json]:
        samples.write(table, work / _FILE)
        return {"examples": len(results.examples), "notes": list(results.notes)}

    inputs: dict[str, Json] = {"model": model["digest"], "suite": suite["digest"], "backend": results.backend, "files": dict(results.files)}
    store = Store(root)  # in use until the manifest is written
    artifact = store.step("eval", inputs, build, version=VERSION)
    write_sealed(
        root / "manifest.json",
        {
            "command": redacted(" ".join(sys.argv)),
            "model": {name: str(value) for name, value in model.items()},
            "methods": [],
            "config": {"imported from": results.backend},
            "suite": suite,
            "evaluations": [artifact.key],
            "steps": [{"name": "eval", "key": artifact.key, "seconds": artifact.manifest["seconds"], "reused": artifact.reused}],
            "versions": {"python": sys.version.split()[0], "retmask-harness": version("retmask-harness")},
            "started": begun,
            "seconds": round(time.monotonic() - started, 3),
        },
    )
    for note in results.notes:
        echo(f"note: {note}", err=True)
    show_scores(artifact)
    echo(f"\nsamples: {artifact.path / _FILE}")


def _suite_digest(results: Results) -> str:
    """Two runs of the same questions share it, whatever their answers."""
    from harness.store.steps import digest

    asked = sorted([each.task, str(each.length), each.example_id, each.content, *each.targets] for each in results.examples)
    return digest({"examples": [list(each) for each in asked]})


def _table(results: Results, model_digest: str, suite_digest: str) -> "pd.DataFrame":
    import pandas as pd

    from reports.safe import encodable
    from reports.samples import COLUMNS

    rows = [
        {
            "run": results.model,
            "model_digest": model_digest,
            "suite_digest": suite_digest,
            "backend": results.backend,
            "task": each.task,
            "category": each.category,
            "length": each.length,
            "example_id": each.example_id,
            "cluster": each.cluster,
            "depth": each.depth,
            "metric": metric,
            "score": float(score),
            "output": each.output,
            "targets": json.dumps(each.targets),
            "prompt_tokens": each.prompt_tokens,
            "output_tokens": each.output_tokens,
            "finish_reason": each.finish_reason,
            "truncated_tokens": 0,
        }
        for each in results.examples
        for metric, score in each.metrics.items()
    ]
    rows = [{name: encodable(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS))
