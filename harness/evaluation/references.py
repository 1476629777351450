"""``--reference-points``: a model is also asked its suite's questions with the gold passages alone, and without them.

These are steps and samples of their own and enter no mean; :mod:`reports.anchors` reads them.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import Artifact, Model
from harness.evaluation.evaluate import Scoring, evaluate, read_samples
from harness.evaluation.sources import find_source
from harness.evaluation.suite import SuiteConfig, prepare
from harness.screen import terminal
from harness.store.manifest import RunManifest
from tasks.files import read_text, write_text
from tasks.references import which

if TYPE_CHECKING:
    import pandas as pd

    from harness.context import Run
    from reports.anchors import Anchors

#: In the run directory: ceilings and floors, for programs.
FILE: Final = "references.json"


def ask(run: "Run", model: Model, config: SuiteConfig, scoring: Scoring) -> Artifact | None:
    """Build the step that holds ``model``'s samples of the reference points; None, and a line that says so, where no task has any."""
    source = find_source(config.data, config.wording, config.edition)
    tasks = source.tasks(config.tasks)
    lacking = [task.name for task in tasks if not source.expected_references((task.name,), config.lengths, config.examples)]
    if lacking:
        run.say(f"reference points: none for {', '.join(lacking)}, whose gold passages are not known")
    if len(lacking) == len(tasks):
        return None
    names = tuple(task.name for task in tasks if task.name not in lacking)
    suite = prepare(run, replace(config, tasks=names, references=True), model)
    return evaluate(run, model, suite, run.config, scoring)


def read(artifact: Artifact) -> "pd.DataFrame":
    """Read the samples, whose ``run`` says which reference each is."""
    table = read_samples(artifact, "")
    return table.assign(run=table["example_id"].map(which).astype("string"))


def find(samples: Artifact, references: Artifact | None) -> "Anchors | None":
    """Set ceilings and floors beside the scores of an evaluation."""
    from reports.anchors import anchors

    return None if references is None else anchors(read_samples(samples, ""), read(references))


def publish(root: Path, found: "Anchors | None") -> None:
    """Write :data:`FILE`, or remove an earlier run's."""
    from reports.anchors import record

    path = root / FILE
    if found is None:
        path.unlink(missing_ok=True)
        return
    write_text(path, json.dumps(record(found), indent=1, ensure_ascii=False) + "\n")


def recorded(root: Path) -> "Anchors | None":
    """Read :data:`FILE`; None if the run has none."""
    from reports.anchors import from_record

    return from_record(json.loads(read_text(root / FILE))) if (root / FILE).is_file() else None


def show_references(root: Path) -> None:
    """Print ceilings and floors, if the run that just ended asked for them."""
    from reports.anchors import terminal as table

    if not RunManifest.read(root).references:
        return
    found = recorded(root)
    assert found is not None
    terminal.show(table(found))
    for sentence in found.sentences():
        terminal.echo(sentence)
