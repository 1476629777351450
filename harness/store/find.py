"""What a user calls an evaluation -> its samples.

runs/demo:retmask           the method ``retmask`` of a run, all its training seeds; ``runs/demo:baseline`` is its baseline
runs/demo:retmask@2         its training seed 2 alone
"runs/demo:retmask(top_k=8)"    a variant of it, as a table calls it
runs/qwen                   a run directory that holds one evaluation
baseline.parquet            a file: `harness baseline save` writes a small one
ours=runs/seed1:retmask     any of these under another name; the same name again is another training seed of the same method
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError
from harness.files import DamagedError
from harness.store import checkpoints
from harness.store.checkpoints import Checkpoint
from harness.store.manifest import RunManifest
from harness.store.reading import reading
from harness.store.steps import MANIFEST, check, step_folder
from harness.variants import same_label

if TYPE_CHECKING:
    import pandas as pd

BASELINE: Final = "baseline"
_FILE: Final = "samples.parquet"
_KEY: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Evaluation:
    """One model's samples on disk."""

    name: str
    path: Path
    """The samples table."""
    model: str
    """As the user called the evaluated model or its baseline; "" if unknown."""
    run: Path | None = None
    """The run directory, if it is part of one."""
    repeats: tuple[Path, ...] = ()
    """The samples tables of the method's other training seeds."""
    seeds: tuple[int, ...] = ()
    """The training seed of each table, if the run has several."""

    def read(self) -> "pd.DataFrame":
        """Read the samples of one model; raises HarnessError for a table that cannot be trusted, and for several training seeds."""
        if self.repeats:
            some = self.seeds[0] if self.seeds else 1
            raise HarnessError(f"{self.name} has {len(self.repeats) + 1} training seeds and one is needed here; name it, such as "
                               f"{self.run}:{self.name}@{some}")  # fmt: skip
        return _read(self.path)

    def tables(self) -> "list[pd.DataFrame]":
        """Read the samples of every training seed; raises HarnessError for a table that cannot be trusted."""
        return [_read(path) for path in (self.path, *self.repeats)]

    def seed(self, number: int) -> "Evaluation":
        """Choose one training seed's evaluation; raises HarnessError if there is none."""
        seeds = self.seeds or tuple(range(1, len(self.repeats) + 2))
        if number not in seeds:
            raise HarnessError(f"{self.name} has no training seed {number}; it has {', '.join(map(str, seeds))}")
        path = (self.path, *self.repeats)[seeds.index(number)]
        return replace(self, name=f"{self.name}@{number}", path=path, repeats=(), seeds=(number,))


def find(argument: str) -> list[Evaluation]:
    """Find the evaluations that ``[NAME=]WHERE[:METHOD]`` names: several only for a run directory without ``:METHOD``, baseline first.

    Raises:
        HarnessError: nothing is there, the run is not finished, or it has no such method.
    """
    name, where = _named(argument)
    path, method = _place(where)
    if path.is_file() or (path / _FILE).is_file():
        if method:
            raise HarnessError(f"{path} is one evaluation and has no method {method!r}; leave out :{method}")
        file = path if path.is_file() else path / _FILE
        return [Evaluation(name or path.stem, file, "")]
    found = by_method(path)
    if method:
        method, _, seed = method.partition("@")
        method = same_label(method, [each.name for each in found])
        chosen = [each for each in found if each.name == method]
        if chosen and seed:
            if not seed.isdigit():
                raise HarnessError(f"{argument}: {seed!r} is no training seed; write a number, such as {path}:{method}@1")
            chosen = [chosen[0].seed(int(seed))]
            method = chosen[0].name
        if not chosen:
            raise HarnessError(f"{path} has no evaluation {method!r}; it has {', '.join(each.name for each in found)}")
        found = chosen
    if len(found) == 1:
        only = found[0]
        return [replace(only, name=name or (method if method != BASELINE else "") or path.name)]
    if name:
        raise HarnessError(f"{name}={path} names several evaluations; choose one, such as {name}={path}:{found[-1].name}")
    return found


def models_of(root: Path) -> list[Checkpoint]:
    """List the models that the last finished run in ``root`` has trained, in its order."""
    manifest = RunManifest.read(root)
    methods, seeds = dict.fromkeys(manifest.methods), manifest.config_seeds() or (None,)
    there = {each.label: each for each in checkpoints.listed(root)}
    names = [checkpoints.label(method, seed) for method in methods for seed in seeds]
    return [there[name] for name in names if name in there]


def find_one(argument: str) -> Evaluation:
    """Find the evaluation that the argument names; raises HarnessError if it could be several."""
    found = find(argument)
    if len(found) > 1:
        raise HarnessError(f"{argument} holds several evaluations; name one: {', '.join(f'{argument}:{each.name}' for each in found)}")
    return found[0]


def find_all(arguments: Sequence[str]) -> list[Evaluation]:
    """Find a baseline and what to compare with it: one run directory, or two and more evaluations."""
    if len(arguments) == 1:
        found = find(arguments[0])
        if len(found) == 1:
            raise HarnessError(f"{arguments[0]} holds one evaluation; name at least two to compare")
        return found
    return [find_one(argument) for argument in arguments]


def by_method(root: Path) -> list[Evaluation]:
    """List the evaluations of a finished run, the training seeds of a method together: the baseline first, then its methods in their
    order.
    """
    groups: dict[str, list[Evaluation]] = {}
    for each in in_run(root):
        groups.setdefault(each.name, []).append(each)
    known = RunManifest.read(root).config_seeds()
    return [
        replace(first, repeats=tuple(each.path for each in rest), seeds=known if rest and len(known) == len(rest) + 1 else ())
        for first, *rest in groups.values()
    ]


def in_run(root: Path) -> list[Evaluation]:
    """List every evaluation of a finished run, one for each training seed: the baseline first, then its methods in their order."""
    with reading(root):
        return _in_run(root)


def check_finished(root: Path) -> None:
    """Raise HarnessError if there is no finished run in ``root``. It looks for the manifest alone."""
    if not (root / MANIFEST).is_file():
        hint = "the run has not finished; start the same command again" if (root / "steps").is_dir() else "nothing of that kind is there"
        raise HarnessError(f"{root} is neither a run directory nor a samples table: {hint}")


def _in_run(root: Path) -> list[Evaluation]:
    check_finished(root)
    manifest = RunManifest.read(root)
    keys, methods = manifest.evaluations, manifest.methods
    if len(keys) != 1 + len(methods) or not all(_KEY.fullmatch(key) for key in keys):
        raise HarnessError(f"{root / MANIFEST} does not list the run's evaluations; start the same `harness run` again to rewrite it")
    folders = [step_folder(root, "eval", key) for key in keys]
    for folder in folders:
        try:
            check(folder)
        except DamagedError as error:
            raise DamagedError(f"{error}; start the run's own command again, which builds what is damaged") from None
    names = [BASELINE, *methods]
    return [Evaluation(name, folder / _FILE, manifest.model.name, root) for name, folder in zip(names, folders, strict=True)]


def _read(path: Path) -> "pd.DataFrame":
    from reports.samples import SamplesError, read

    try:
        return read(path)
    except SamplesError as error:
        raise HarnessError(f"{path}: {error}") from None


def _named(argument: str) -> tuple[str, str]:
    name, equals, where = argument.partition("=")
    if not equals or split(argument) is not None or ("/" in name and split(where) is None):
        return "", argument
    if not name or not where:
        raise HarnessError(f"{argument!r} is not NAME=EVALUATION")
    return name, where


def _place(where: str) -> tuple[Path, str]:
    found = split(where)
    if found is None:
        raise HarnessError(f"no evaluation at {where}: give a run directory, RUN:METHOD, or a .parquet file of samples")
    return found


def split(where: str) -> tuple[Path, str] | None:
    """Part a path that is there from the method named after it; None if nothing is there. HarnessError for a colon with nothing behind."""
    if Path(where).exists():
        return Path(where), ""
    path, colon, method = where.rpartition(":")
    if colon and not method and Path(path).exists():
        raise HarnessError(f"{where} names no method behind its colon; write RUN:METHOD, or the run alone")
    return (Path(path), method) if colon and Path(path).exists() else None
