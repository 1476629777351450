"""Finished results of other tools become the run directory that ``harness eval`` would have left.

A reader (:mod:`harness.importing.helmet`, :mod:`harness.importing.lm_eval`) turns a directory into examples (:class:`Results`); here they
become one ``eval`` step with its samples table, and a manifest.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import Artifact, HarnessError, Json

if TYPE_CHECKING:
    import pandas as pd


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


def publish(results: Results, output: Path | None) -> Artifact:
    """Make the run directory that ``harness eval`` would have left; its samples artifact."""
    from harness.files import digest
    from harness.screen.redact import redacted
    from harness.store.manifest import ModelRecord, RunManifest, StepRecord
    from harness.store.steps import Store
    from reports import samples
    from reports.safe import file_name

    begun, started = time.time(), time.monotonic()
    root = output or Path("runs") / file_name(results.model.rstrip("/").rsplit("/", 1)[-1])
    model = ModelRecord(results.model, "", digest({"imported": results.model}))
    suite: dict[str, Json] = {"digest": _suite_digest(results), "examples": len(results.examples)}
    try:
        table = samples.validate(_table(results, model.digest, str(suite["digest"])))
    except samples.SamplesError as error:
        raise HarnessError(f"the results cannot be imported: {error}") from None

    def build(work: Path) -> dict[str, Json]:
        samples.write(table, work / _FILE)
        return {"examples": len(results.examples), "notes": list(results.notes)}

    inputs: dict[str, Json] = {"model": model.digest, "suite": suite["digest"], "backend": results.backend, "files": dict(results.files)}
    store = Store(root)  # in use until the manifest is written
    artifact = store.step("eval", inputs, build, version=VERSION)
    RunManifest(
        command=redacted(" ".join(sys.argv)),
        model=model,
        methods=(),
        config={"imported from": results.backend},
        versions={"python": sys.version.split()[0], "retmask-harness": version("retmask-harness")},
        started=begun,
        seconds=round(time.monotonic() - started, 3),
        suite=suite,
        evaluations=(artifact.key,),
        steps=(StepRecord("eval", artifact.key, artifact.seconds, artifact.reused),),
    ).write(root)
    return artifact


def _suite_digest(results: Results) -> str:
    """Two runs of the same questions share it, whatever their answers."""
    from harness.files import digest

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
