"""What a user calls an evaluation -> its samples.

runs/demo:retmask           the method ``retmask`` of a run; ``runs/demo:baseline`` is its baseline
runs/qwen                   a run directory that holds one evaluation
baseline.parquet            a file: `harness baseline save` writes a small one
ours=runs/seed1:retmask     any of these under another name; the same name again is another training seed of the same method
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError, Json
from harness.artifacts import MANIFEST, DamagedError, check, read_sealed

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

    def read(self) -> "pd.DataFrame":
        """The samples; raises HarnessError for a table that cannot be trusted."""
        from reports.samples import SamplesError, read

        try:
            return read(self.path)
        except SamplesError as error:
            raise HarnessError(f"{self.path}: {error}") from None


def find(argument: str) -> list[Evaluation]:
    """The evaluations that ``[NAME=]WHERE[:METHOD]`` names: several only for a run directory without ``:METHOD``, baseline first.

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
    found = in_run(path)
    if method:
        chosen = [each for each in found if each.name == method]
        if not chosen:
            raise HarnessError(f"{path} has no evaluation {method!r}; it has {', '.join(each.name for each in found)}")
        found = chosen
    if len(found) == 1:
        only = found[0]
        return [Evaluation(name or (method if method != BASELINE else "") or path.name, only.path, only.model, path)]
    if name:
        raise HarnessError(f"{name}={path} names several evaluations; choose one, such as {name}={path}:{found[-1].name}")
    return found


def find_one(argument: str) -> Evaluation:
    """The evaluation that the argument names; raises HarnessError if it could be several."""
    found = find(argument)
    if len(found) > 1:
        raise HarnessError(f"{argument} holds several evaluations; name one: {', '.join(f'{argument}:{each.name}' for each in found)}")
    return found[0]


def find_all(arguments: Sequence[str]) -> list[Evaluation]:
    """A baseline and what to compare with it: one run directory, or two and more evaluations."""
    if len(arguments) == 1:
        found = find(arguments[0])
        if len(found) == 1:
            raise HarnessError(f"{arguments[0]} holds one evaluation; name at least two to compare")
        return found
    return [find_one(argument) for argument in arguments]


def in_run(root: Path) -> list[Evaluation]:
    """The evaluations of a finished run: the baseline first, then its methods in their order."""
    if not (root / MANIFEST).is_file():
        hint = "the run has not finished; start the same command again" if (root / "steps").is_dir() else "nothing of that kind is there"
        raise HarnessError(f"{root} is neither a run directory nor a samples table: {hint}")
    manifest = read_sealed(root / MANIFEST)
    keys, methods = _texts(manifest.get("evaluations")), _texts(manifest.get("methods"))
    if len(keys) != 1 + len(methods) or not all(_KEY.fullmatch(key) for key in keys):
        raise HarnessError(f"{root / MANIFEST} does not list the run's evaluations; start the same `harness run` again to rewrite it")
    model = manifest.get("model")
    called = str(model.get("name", "")) if isinstance(model, dict) else ""
    folders = [root / "steps" / f"eval-{key[:12]}" for key in keys]
    for folder in folders:
        try:
            check(folder)
        except DamagedError as error:
            raise DamagedError(f"{error}; start the run's own command again, which builds what is damaged") from None
    names = [BASELINE, *methods]
    return [Evaluation(name, folder / _FILE, called, root) for name, folder in zip(names, folders, strict=True)]


def _texts(value: Json) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _named(argument: str) -> tuple[str, str]:
    name, equals, where = argument.partition("=")
    if not equals or Path(argument).exists() or "/" in name:
        return "", argument
    if not name or not where:
        raise HarnessError(f"{argument!r} is not NAME=EVALUATION")
    return name, where


def _place(where: str) -> tuple[Path, str]:
    if Path(where).exists():
        return Path(where), ""
    path, colon, method = where.rpartition(":")
    if colon and Path(path).exists():
        return Path(path), method
    raise HarnessError(f"no evaluation at {where}: give a run directory, RUN:METHOD, or a .parquet file of samples")
