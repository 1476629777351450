"""``--reference-points``: a model is also asked its suite's questions with the gold passages alone, and without them.

These are steps and samples of their own and enter no mean; :mod:`reports.anchors` reads them.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness import terminal
from harness.api import Artifact, Json, Model
from harness.artifacts import MANIFEST, read_sealed
from harness.evaluate import Scoring, evaluate, read_samples
from harness.sources import find_source
from harness.suite import SuiteConfig, prepare
from tasks.files import read_text
from tasks.references import which

if TYPE_CHECKING:
    import pandas as pd

    from harness.pipeline import Run
    from reports.anchors import Anchors

#: In the run directory: ceilings and floors, for programs.
FILE: Final = "references.json"


def ask(run: "Run", model: Model, config: SuiteConfig, scoring: Scoring) -> Artifact | None:
    """The step that holds ``model``'s samples of the reference points; None, and a line that says so, where no task has any."""
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
    """The samples, whose ``run`` says which reference each is."""
    table = read_samples(artifact, "")
    return table.assign(run=table["example_id"].map(which).astype("string"))


def find(samples: Artifact, references: Artifact | None) -> "Anchors | None":
    """Ceilings and floors beside the scores of an evaluation."""
    from reports.anchors import anchors

    return None if references is None else anchors(read_samples(samples, ""), read(references))


def publish(root: Path, found: "Anchors | None") -> None:
    """Write :data:`FILE`, or remove an earlier run's."""
    from harness.pages import write_whole
    from reports.anchors import record

    path = root / FILE
    if found is None:
        path.unlink(missing_ok=True)
        return
    text = json.dumps(record(found), indent=1, ensure_ascii=False) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def keys(artifact: Artifact | None) -> list[Json]:
    """For the run's manifest."""
    return [] if artifact is None else [artifact.key]


def show_references(root: Path) -> None:
    """Print ceilings and floors, if the run that just ended asked for them."""
    from reports.anchors import from_record
    from reports.anchors import terminal as table

    if not read_sealed(root / MANIFEST).get("references"):
        return
    found = from_record(json.loads(read_text(root / FILE)))
    assert found is not None
    terminal.show(table(found))
    for sentence in found.sentences():
        terminal.echo(sentence)
