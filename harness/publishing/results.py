"""From samples to what a person reads: the comparison, its tables and the report."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import Artifact, HarnessError, Json
from harness.environment import versions
from harness.evaluation import references
from harness.evaluation.extra_tasks import STEP
from harness.evaluation.suite import remarks
from harness.files import write_json
from harness.publishing.candidates import Candidate, instructions, is_mapped, named, own_options, studies, unmapped
from harness.publishing.described import how_made
from harness.publishing.pages import DESCRIPTION, PAGE, replace_files, training_curve, write_page
from harness.screen import terminal
from harness.screen.redact import plain
from harness.store.checkpoints import FOLDER, label
from harness.store.manifest import RunManifest
from harness.store.steps import step_folder
from tasks.files import read_text, replacing
from tasks.remarks import NAMES

if TYPE_CHECKING:
    import pandas as pd

    from harness.context import Run
    from reports.anchors import Anchors
    from reports.extra_tasks import Change
    from reports.tables import ByName

VERSION: Final = 7
#: What a finished comparison leaves in the run directory.
_FILES: Final = (PAGE, DESCRIPTION, "comparison.json", "comparison.csv", "comparison.md", "table.txt")
#: The same of the extra tasks, where there are any.
_ELSEWHERE: Final = "elsewhere.json"
_TABLE_WIDTH: Final = 150


def publish(
    run: "Run",
    suite: Artifact,
    baseline: Artifact,
    candidates: Sequence[Candidate],
    extra: Artifact | None = None,
    anchored: Artifact | None = None,
) -> Path:
    """Compare every candidate with the baseline and write tables and page into the run directory; the page's path.

    ``extra`` is the baseline's extra tasks, ``anchored`` its reference points.
    """
    settings = run.config
    inputs: dict[str, Json] = {
        "baseline": baseline.key,
        "candidates": {candidate.name: [samples.key for samples in candidate.evaluations] for candidate in candidates},
        "order": [candidate.name for candidate in candidates],
        "resamples": settings.resamples,
        "confidence": settings.confidence,
        "seed": settings.seed,
    }
    if variants := named(candidates):
        inputs["variants"] = variants
    about: dict[str, Json] = {name: suite.facts[name] for name in ("edition", *NAMES) if name in suite.facts}
    if about:
        inputs["suite"] = about
    if settings.margin is not None:
        inputs["margin"] = settings.margin
    if extra is not None:
        inputs["extra"] = [extra.key, *(each.key for candidate in candidates for each in candidate.extra)]
    if anchored is not None:
        inputs["references"] = anchored.key
    found = references.find(baseline, anchored)
    artifact = run.step("report", inputs, lambda work: _write(run, suite, baseline, candidates, extra, found, work), version=VERSION)
    references.publish(run.root, found)
    for name in (*_FILES, _ELSEWHERE):
        if not (artifact.path / name).is_file():
            (run.root / name).unlink(missing_ok=True)  # of an earlier run with extra tasks
            continue
        with replacing(run.root / name) as temporary:
            shutil.copyfile(artifact.path / name, temporary)
    from reports.beside import folder_of

    beside = artifact.path / folder_of(PAGE)
    replace_files(run.root, PAGE, lambda folder: _link(beside, folder))
    return run.root / "report.html"


def _link(source: Path, folder: Path) -> None:
    """The files of ``source`` in ``folder``, without a second copy on disk where the file system can."""
    for path in sorted(source.glob("*.js")):
        try:
            (folder / path.name).hardlink_to(path)
        except OSError:
            shutil.copyfile(path, folder / path.name)


def show(root: Path) -> None:
    """Print a finished comparison's table."""
    terminal.echo(read_text(root / "table.txt"))


def show_scores(table: "pd.DataFrame") -> None:
    """Print an evaluation's mean scores per category and length."""
    from reports import passk, scores
    from reports.stopping import stopping_of

    terminal.show(scores.terminal(table))
    if (passed := passk.terminal(table)) is not None:
        terminal.show(passed)
    mark = stopping_of(table)
    notes = [scores.little_answered(table), "" if mark is None else mark.sentence("this evaluation")]
    for note in filter(None, notes):
        terminal.echo(f"Note: {note}")


def show_extra(root: Path) -> None:
    """Print the evaluated model's figures on the extra tasks, if it was asked any."""
    from reports import extra_tables, extra_tasks

    for key in RunManifest.read(root).extra:
        terminal.show(extra_tables.scores(extra_tasks.read(step_folder(root, STEP, key))))


def _write(
    run: "Run",
    suite: Artifact,
    baseline: Artifact,
    candidates: Sequence[Candidate],
    extra: Artifact | None,
    anchored: "Anchors | None",
    work: Path,
) -> None:
    from harness.evaluation.evaluate import read_samples
    from reports import anchors, extra_tables, extra_tasks, tables
    from reports.compare import CompareError, compare_methods, verdicts
    from reports.safe import markdown

    tables_of = {"baseline": read_samples(baseline, "baseline")}
    tables_of |= {candidate.name: read_samples(candidate.samples, candidate.name) for candidate in candidates}
    try:
        found = compare_methods(
            tables_of["baseline"],
            {candidate.name: _tables(candidate) for candidate in candidates},
            resamples=run.config.resamples,
            seed=run.config.seed,
            confidence=run.config.confidence,
            common=run.config.stop_early,
            margin=run.config.margin_share,
        )
    except CompareError as error:
        raise HarnessError(str(error)) from None
    notes = [f"Note: {note}" for note in (*remarks(suite), *found.notes)]
    said = "\n".join([*notes, *verdicts(found)])
    changes = {} if extra is None else _compare_extra(run, extra, candidates)
    beside = "\n".join(text for name, column in changes.items() if (text := extra_tables.sentence(column, name)))
    escaped = ["\n\n".join(map(markdown, text.splitlines())) for text in (said, beside)]  # each a paragraph
    (work / "comparison.json").write_text(tables.json_text({**found.methods, **found.contrasts}), encoding="utf-8")
    (work / "comparison.csv").write_text(tables.csv_text({**found.methods, **found.contrasts}), encoding="utf-8")
    parts = [escaped[0], tables.markdown(found.methods)]
    parts += [tables.markdown(found.contrasts, contrast=True)] if found.contrasts else []
    parts += [anchors.markdown(anchored)] if anchored else []
    parts += [escaped[1], extra_tables.markdown(changes)] if changes else []
    (work / "comparison.md").write_text("\n\n".join(parts), encoding="utf-8")
    (work / "table.txt").write_text(_text_tables(found.methods, found.contrasts, said, anchored, changes, beside), encoding="utf-8")
    described = _describe(run, suite, candidates)
    if anchored:
        described["references"] = anchors.record(anchored)
    if changes:
        records: Any = extra_tasks.records(changes)
        described["elsewhere"] = records
        (work / _ELSEWHERE).write_text(extra_tables.json_text(changes), encoding="utf-8")
    write_json(work / DESCRIPTION, described, sort_keys=False)  # in the page's order
    write_page(work, described, found, tables_of, suite.path)


def _describe(run: "Run", suite: Artifact, candidates: Sequence[Candidate]) -> dict[str, Json]:
    """What the page says beside the numbers, as JSON."""
    outcomes = {candidate.name: candidate.outcome for candidate in candidates}
    scores = next((outcome.head_scores for outcome in outcomes.values() if outcome.head_scores), None)
    return {
        "title": f"{run.model.name}: {', '.join(outcomes)}",
        "settings": plain({**_settings(run, suite, list(outcomes)), **_checkpoints(run, list(outcomes))}),
        "head_scores": None if scores is None else [list(layer) for layer in scores],
        "masked_heads": {name: [list(head) for head in each.masked_heads] for name, each in outcomes.items() if is_mapped(each, scores)},
        "threshold": _threshold(run.options, candidates),
        **instructions(outcomes),
        **({"unmapped": hidden} if (hidden := unmapped(outcomes, scores)) else {}),
        "facts": {candidate.name: {**own_options(candidate), **candidate.outcome.facts} for candidate in candidates},
        "steps": [{"name": record.name, "seconds": record.seconds, "reused": record.reused} for record in run.steps],
        "curves": {name: training_curve(outcome.checkpoint) for name, outcome in outcomes.items()},
        **({"notes": list(said)} if (said := remarks(suite)) else {}),
        **({"studies": tried} if (tried := studies(candidates)) else {}),
    }


def _compare_extra(run: "Run", baseline: Artifact, candidates: Sequence[Candidate]) -> "dict[str, list[Change]]":
    """The candidates' extra tasks against the baseline's."""
    from reports import extra_tasks
    from reports.compare import CompareError

    methods = {candidate.name: [extra_tasks.read(each.path) for each in candidate.extra] for candidate in candidates}
    settings = run.config
    try:
        return extra_tasks.compare(
            extra_tasks.read(baseline.path), methods, resamples=settings.resamples, seed=settings.seed, confidence=settings.confidence
        )
    except CompareError as error:
        raise HarnessError(str(error)) from None


def _tables(candidate: Candidate) -> Any:
    """The candidate's samples; a list of them where training was repeated, which the comparison takes as an outer level."""
    from harness.evaluation.evaluate import read_samples

    tables = [read_samples(samples, candidate.name) for samples in candidate.evaluations]
    return tables if candidate.repeats else tables[0]


def _text_tables(
    methods: "ByName",
    contrasts: "ByName",
    verdicts: str,
    anchored: "Anchors | None",
    changes: "dict[str, list[Change]]",
    beside: str,
) -> str:
    import io

    from rich.console import Console
    from rich.text import Text

    from reports import anchors, extra_tables, tables
    from reports.safe import visible

    out = io.StringIO()
    console = Console(file=out, width=_TABLE_WIDTH)
    console.print(tables.terminal(methods, title="scores x 100; difference to the baseline [interval]"))
    if contrasts:
        console.print(tables.terminal(contrasts, title="difference between methods", contrast=True))
    console.print(Text(verdicts))
    if anchored:
        console.print()
        console.print(anchors.terminal(anchored))
        console.print(Text("\n".join(anchored.sentences())))
    if changes:
        console.print()
        console.print(extra_tables.terminal(changes))
        console.print(Text(beside))
    return visible(out.getvalue())


def _threshold(shared: Mapping[str, Json], candidates: Sequence[Candidate]) -> float | None:
    """The threshold, where every method has the same one."""
    options = [shared if candidate.method is None else candidate.method.options for candidate in candidates]
    found = {each.get("threshold") if each.get("top_k") is None else None for each in options}
    value = found.pop()
    return float(value) if isinstance(value, int | float) and not found else None


def _settings(run: "Run", suite: Artifact, methods: Sequence[str]) -> dict[str, Json]:
    facts = suite.facts
    made = how_made(" ".join(sys.argv), run.begun[0], versions(run.config.backend))
    return {
        **made,
        "model": run.model.name,
        "model digest": run.model.digest,
        "suite digest": facts["digest"],
        "tasks": ", ".join(run.config.tasks) or "all",
        **({"edition of HELMET": facts["edition"]} if "edition" in facts else {}),
        "lengths": ", ".join(map(str, run.config.lengths)),
        "examples per task and length": run.config.examples,
        "backend": f"{run.config.backend}, {run.config.dtype}, {run.device}",
        "seed": run.config.seed,
        **({"answers to each prompt": _answers(run)} if run.config.temperature else {}),
        "training seeds": ", ".join(map(str, run.config.seeds)) or str(run.config.seed),
        "bootstrap resamples": run.config.resamples,
        "margin": "none" if run.config.margin is None else f"{run.config.margin:g} points",
        "extra tasks": ", ".join(run.config.extra_tasks) or "none",
        "trained models": ", ".join(f"{FOLDER}/{label(name, seed)}" for name in methods for seed in run.config.seeds or (None,)),
        "method options": json.dumps(dict(run.options), sort_keys=True),
    }


def _checkpoints(run: "Run", methods: Sequence[str]) -> dict[str, Json]:
    """Where each method's model is, in the run directory."""
    seeds = run.config.seeds or (None,)
    return {f"checkpoint of {name}": ", ".join(f"{FOLDER}/{label(name, seed)}" for seed in seeds) for name in methods}


def _answers(run: "Run") -> str:
    return f"{run.config.generations}, sampled at temperature {run.config.temperature:g}"
