"""What a command leaves in its run directory about itself: that it began, and what came of it."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from harness.api import Artifact, HarnessError, Json
from harness.config import SUITE_SETTINGS, RunConfig, from_manifest
from harness.context import Run
from harness.environment import environment, versions
from harness.files import read_sealed
from harness.screen import progress
from harness.screen.redact import plain
from harness.store import begun
from harness.store.manifest import ModelRecord, RunManifest


def begin(run: Run, methods: Sequence[str], *, stage: bool = False) -> None:
    """Record what was begun here last, for whoever finds the directory before it is finished, and say whose results will give way.

    A stage has no results of its own.
    """
    about = _about(run, methods)
    if not stage and (line := gives_way(run.root, about)):
        run.say(line)
    begun.begin(run.root, about.asked())


def gives_way(root: Path, about: RunManifest) -> str:
    """Say which finished run's results and page the command ``about`` replaces: of another model, or of methods that it has not; or ""."""
    try:
        before = RunManifest.read(root)
    except HarnessError:  # none, or none that anybody can read
        return ""
    if before.model.digest == about.model.digest and {*before.methods} <= {*about.methods}:
        return ""
    what = f"{before.model.name}{': ' if before.methods else ''}{', '.join(dict.fromkeys(before.methods))}"
    return (
        f"{root} holds a finished run ({what}): its results and page give way when this command ends, and `harness runs gc` may delete its "
        "steps then; another --output keeps both"
    )


def finish(
    run: Run,
    methods: Sequence[str],
    labels: Sequence[str],
    suite: Artifact,
    evaluations: Sequence[Artifact],
    extra: Sequence[Artifact],
    references: Artifact | None,
) -> None:
    """Write the run's manifest. ``labels`` are the methods' names, once for each training seed, as the evaluations after the first."""
    about = _about(run, methods)
    digests = [artifact.facts.get("samples") for artifact in evaluations]
    replace(
        about,
        methods=tuple(labels),
        suite=_plain_table(suite.facts),
        evaluations=tuple(artifact.key for artifact in evaluations),
        samples=tuple(each if isinstance(each, str) else None for each in digests),
        extra=tuple(artifact.key for artifact in extra),
        references=() if references is None else (references.key,),
        steps=tuple(run.steps),
        seconds=round(time.monotonic() - run.begun[1], 3),
    ).write(run.root)
    begun.finish(run.root, about.asked())


def recorded_suite(root: Path, config: RunConfig, typed: Mapping[str, object]) -> RunConfig:
    """Give ``config`` the questions that the last command in ``root`` asks, but for what was ``typed``; as it is where none is recorded.

    Pairs are kept clear of a run's questions: with others, everything would be sampled again.
    """
    if not (root / begun.COMMAND).is_file():
        return config
    try:
        table = RunManifest.parse(read_sealed(root / begun.COMMAND), root / begun.COMMAND).config
        last = from_manifest(table, f"{root / begun.COMMAND}, config")
    except HarnessError as error:
        progress.say(f"{error}; the questions are the preset's")
        return config
    kept = {name: getattr(last, name) for name in SUITE_SETTINGS if name in table and typed.get(name) in (None, ())}
    found = replace(config, **kept)
    if found != config:
        what = ", ".join(f"{name} {_words(value)}" for name, value in kept.items() if value != getattr(config, name))
        progress.say(f"as the last command in {root}: {what}")
    return found


def _words(value: object) -> str:
    return " ".join(map(str, value)) or "all" if isinstance(value, tuple) else str(value)


def _about(run: Run, methods: Sequence[str]) -> RunManifest:
    """What identifies a command, without the keys that may stand in it."""
    model = ModelRecord.of(run.model)
    return RunManifest(
        command=_hidden(" ".join(sys.argv)),
        model=ModelRecord(_hidden(model.name), _hidden(model.path), model.digest),
        methods=tuple(methods),
        config=_plain_table(asdict(run.config)),
        versions=_plain_table(versions(run.config.backend)),
        environment=_plain_table(environment(run.model, run.config)),
        started=run.begun[0],
    )


def _hidden(text: str) -> str:
    return str(plain(text))


def _plain_table(table: Mapping[str, object]) -> dict[str, Json]:
    return {name: plain(_json(value)) for name, value in table.items()}


def _json(value: object) -> Json:
    """Tuples and mappings as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    assert value is None or isinstance(value, bool | int | float | str)
    return value
