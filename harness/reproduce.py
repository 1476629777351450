"""A finished run again, from its manifest, and what came out differently.

The same seed, machine, libraries and engine give the same samples. Where they do not, the differences that may be the reason are listed.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness import consent
from harness.api import HarnessError, Json
from harness.config import RunConfig, from_manifest
from harness.consent import Allowed
from harness.models.lookup import has_name
from harness.pipeline import resolve_model, run_evaluation, run_methods
from harness.screen.redact import HIDDEN
from harness.store.find import Evaluation, in_run
from harness.store.manifest import RunManifest
from harness.store.reading import reading
from harness.store.steps import MANIFEST

if TYPE_CHECKING:
    import pandas as pd

_NOTHING: Final = Allowed()
#: An example's answer to one metric; what may differ is in the other columns.
_KEY: Final = ["task", "length", "metric", "example_id"]
#: What an output is made of.
_ANSWER: Final = ("output", "finish_reason", "prompt_tokens", "output_tokens")


@dataclass(frozen=True)
class TaskDifference:
    """One task's examples at one length in one evaluation."""

    evaluation: str
    task: str
    length: int
    examples: int
    """That both runs have."""
    outputs: int
    """Examples with another output."""
    scores: int
    """Examples with another score in some metric."""
    missing: int
    """Examples that only one of the runs has."""

    @property
    def equal(self) -> bool:
        return not (self.outputs or self.scores or self.missing)


@dataclass(frozen=True)
class Reproduction:
    """What came of running again."""

    run: Path
    again: Path
    digests: tuple[tuple[str, str, str], ...]
    """(evaluation, digest of its samples then, and now)."""
    tasks: tuple[TaskDifference, ...]
    circumstances: tuple[str, ...]
    """What was different about machine, libraries, suite or weights."""

    @property
    def equal(self) -> bool:
        return all(then == now for _, then, now in self.digests)

    def as_json(self) -> dict[str, Json]:
        tasks: list[Json] = [asdict(task) for task in self.tasks]
        return {
            "run": str(self.run),
            "again": str(self.again),
            "equal": self.equal,
            "samples": [{"evaluation": name, "then": then, "now": now} for name, then, now in self.digests],
            "tasks": tasks,
            "circumstances": list(self.circumstances),
        }


@dataclass(frozen=True)
class Recorded:
    """What a manifest says of how its run was made."""

    model: str
    """What to resolve: the directory that was used if it is still there, or else the name."""
    methods: tuple[str, ...]
    config: RunConfig


def recorded(root: Path, granted: Collection[str] = (), allowed: Allowed = _NOTHING, url: str = "") -> Recorded:
    """Read the recorded command. ``granted`` is as for :func:`harness.config.from_manifest`; ``url`` is a server instead of the run's.

    HarnessError for a run that cannot be made again: unfinished, damaged, imported, of another version, or whose model has changed."""
    with reading(root):
        return _recorded(root, granted, allowed, url)


def _recorded(root: Path, granted: Collection[str], allowed: Allowed, url: str) -> Recorded:
    in_run(root)  # whole, or an error that says what is not
    where = root / MANIFEST
    manifest = RunManifest.read(root)
    model = manifest.model
    if not manifest.config or "imported from" in manifest.config:
        raise HarnessError(f"{root} was not made by harness run or harness eval, so nothing says how to make it again")
    chosen = model.path if not has_name(model.name) and model.path and Path(model.path).is_dir() else model.name
    settings = from_manifest(manifest.config, f"{where}, config", granted)
    if HIDDEN in settings.url and not url:
        raise HarnessError(f"{where}: the server's address was stored without its password or key; give it whole with --url")
    if url:
        settings = replace(settings, url=url)
    consent.check(settings, str(where), allowed, {"url": url or None}, {})
    found = resolve_model(chosen, settings)
    if found.digest != model.digest:
        raise HarnessError(f"{chosen} is another model than the run's: its digest is {found.digest[:12]}, not {model.digest[:12]}")
    methods = settings.methods or tuple(dict.fromkeys(manifest.methods))
    return Recorded(chosen, methods if manifest.methods else (), settings)


def reproduce(root: Path, again: Path, granted: Collection[str] = (), allowed: Allowed = _NOTHING, url: str = "") -> Reproduction:
    """Make the run in ``root`` again in ``again`` and compare the samples. HarnessError if it cannot be made again."""
    if again.resolve() == root.resolve():
        raise HarnessError(f"--output {again} is the run itself; give another directory")
    known = recorded(root, granted, allowed, url)
    if known.methods:
        run_methods(again, known.model, known.methods, known.config)
    else:
        run_evaluation(again, known.model, known.config)
    return compared(root, again)


def compared(root: Path, again: Path) -> Reproduction:
    """Say what is different between two runs of the same command."""
    from reports.samples import digest

    then, now = in_run(root), in_run(again)
    if [each.name for each in then] != [each.name for each in now]:
        raise HarnessError(f"{again} has other evaluations than {root}; give an empty directory as --output")
    digests, tasks, circumstances = [], [], _circumstances(RunManifest.read(root), RunManifest.read(again))
    for name, before, after in _pairs(then, now):
        digests.append((name, digest(before), digest(after)))
        tasks += differences(name, before, after)
        if set(before["model_digest"]) != set(after["model_digest"]):
            circumstances.append(f"{name}: the trained weights differ")
    return Reproduction(root, again, tuple(digests), tuple(tasks), tuple(circumstances))


def _pairs(then: list[Evaluation], now: list[Evaluation]) -> "list[tuple[str, pd.DataFrame, pd.DataFrame]]":
    """Names are repeated where training was, so position counts."""
    seeds = len({each.name for each in then}) < len(then)
    named = [f"{each.name} {position}" if seeds and position else each.name for position, each in enumerate(then)]
    return [(name, before.read(), after.read()) for name, before, after in zip(named, then, now, strict=True)]


def differences(name: str, then: "pd.DataFrame", now: "pd.DataFrame") -> list[TaskDifference]:
    """Count differences by task and length. An example counts once, however many metrics it has."""
    import pandas as pd

    key = [*_KEY, *(column for column in ("generation",) if column in then.columns and column in now.columns)]
    columns = [*key, *_ANSWER, "score"]
    both = then[columns].merge(now[columns], on=key, how="outer", suffixes=("", "_now"), indicator=True)
    shared = both["_merge"] == "both"
    unlike = {column: (both[column] != both[f"{column}_now"]).fillna(False).astype(bool) for column in (*_ANSWER, "score")}
    both["missing"] = ~shared
    both["outputs"] = shared & pd.DataFrame({column: unlike[column] for column in _ANSWER}).any(axis=1)
    both["scores"] = shared & unlike["score"]
    flags = ["missing", "outputs", "scores"]
    examples = both.groupby(["task", "length", "example_id"])[flags].any().reset_index()
    counted = examples.groupby(["task", "length"])[flags].sum().assign(all=examples.groupby(["task", "length"]).size()).reset_index()
    return [
        TaskDifference(name, row["task"], row["length"], row["all"] - row["missing"], row["outputs"], row["scores"], row["missing"])
        for row in counted.to_dict("records")
    ]


def _circumstances(then: RunManifest, now: RunManifest) -> list[str]:
    """Machine, libraries and suite, where they are not the same."""
    found = []
    parts = (
        ("versions", then.versions, now.versions),
        ("environment", then.environment, now.environment),
        ("suite", then.suite, now.suite),
    )
    for part, before, after in parts:
        for name in sorted({*before, *after}):
            if part == "suite" and name != "digest":
                continue
            if before.get(name) != after.get(name) and before.get(name) is not None and after.get(name) is not None:
                found.append(f"{part} {name}: {before[name]} then, {after[name]} now")
    return found
