"""The models that a run has trained, where a person finds them.

    runs/demo/models/retmask/          weights, settings, tokenizer and README.md: what `--model runs/demo:retmask` takes
    runs/demo/models/randmask@2/       of the training seed 2
    runs/demo/models/models.json       which model each is, by its digest, and what each of its files was

Weights are hard links to those of the training's step, so they cost no room, and stay when ``harness runs gc`` deletes the step; all else
is a copy, which can be edited: what a person has changed or put there is never written over. The step itself keeps exactly the files that
its manifest vouches for: no card is written into it. A link from one folder to the other would be refused by whatever deletes or ships
folders, and would break when one of them moves.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias

from harness.access import AccessError
from harness.api import HarnessError, Json
from harness.files import DamagedError, digest, file_digest, read_sealed, write_sealed
from harness.store.steps import MANIFEST
from harness.variants import parse
from reports.safe import file_name
from tasks.files import open_mode, write_text

FOLDER: Final = "models"
CARD: Final = "README.md"
_RECORD: Final = "models.json"
_WEIGHTS: Final = ".safetensors"
_DIGITS: Final = 6
_SHOWN: Final = 3
#: File of a model -> SHA-256 of what the harness has put there.
_Files: TypeAlias = Mapping[str, tuple[str, ...]]
_LABEL: Final = re.compile(r"\w[\w.-]*(?:@[0-9]+)?")


@dataclass(frozen=True)
class Checkpoint:
    """One model that a run has trained."""

    label: str
    """``METHOD``, or ``METHOD@SEED`` where training was repeated."""
    path: Path
    digest: str
    """Of what was trained, as :attr:`harness.api.Model.digest`."""


def label(method: str, seed: int | None) -> str:
    """Name the folder of a method's model, of one training seed if there are several.

    Two methods never share one: what a folder's name cannot hold stands there as the beginning of a digest.

    >>> label("retmask", 2), label("retmask(top_k=4)", None)
    ('retmask@2', 'retmask_top_k_4-515de6')
    """
    name = file_name(method)
    if name != method:
        name = f"{name.rstrip('_') or '_'}-{digest(method)[:_DIGITS]}"
    return name + ("" if seed is None else f"@{seed}")


def publish(root: Path, name: str, source: Path, digest: str, card: str, say: Callable[[str], None] = lambda _: None) -> Path | None:
    """Put the checkpoint in ``source`` into ``root`` under the label ``name``, with its card; its path.

    None, and a line that says why, where something is there that the harness did not make: it stays.
    """
    folder = root / FOLDER
    place = folder / name
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        say(f"{folder} is a link, or no folder: {name} stays in {source}")
        return None
    folder.mkdir(exist_ok=True)
    known = _record(root)
    if place.is_symlink() or (place.exists() and (name not in known or not place.is_dir())):
        say(f"{place} was not made by the harness and stays; {name} is in {source}")
        return None
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    put = _put_before(root)

    def new() -> _Files:  # reads the weights: only where they are put there
        return {path.relative_to(source).as_posix(): (file_digest(path),) for path in files} | {CARD: (_sha256(card),)}

    def record(these: _Files) -> None:
        table: dict[str, Json] = {label: {file: [*sums] for file, sums in each.items()} for label, each in {**put, name: these}.items()}
        write_sealed(folder / _RECORD, {"models": {**known, name: digest}, "files": table})

    if known.get(name) != digest or not all((place / path.relative_to(source)).is_file() for path in files):
        _replace(place, source, files, card, put.get(name, {}), lambda: record(new()), say)
    else:
        _renew_card(place, card, put[name] if name in put else new(), record, say)
    return place


def _renew_card(place: Path, card: str, put: _Files, record: Callable[[_Files], None], say: Callable[[str], None]) -> None:
    """Write a model's card anew, unless a person has edited it. Weights are not looked at: a name that leads to others is refused."""
    edited = [name for name in _own(place, put, but=_WEIGHTS) if name in put]
    if kept := [name for name in edited if name != CARD or _sha256_of(place / CARD) != _sha256(card)]:
        say(f"{place}: {', '.join(kept)} changed since the harness put it there, and stays; move it away to have the harness's own")
    if CARD not in edited:
        record({**put, CARD: (_sha256_of(place / CARD), _sha256(card))})  # a kill between these two leaves a card that is known
        write_text(place / CARD, card)


def listed(root: Path) -> list[Checkpoint]:
    """List the models that are there; none where their record is damaged."""
    if (root / FOLDER).is_symlink():
        return []
    found = [Checkpoint(name, root / FOLDER / name, digest) for name, digest in _record(root).items()]
    return [each for each in found if each.path.is_dir() and not each.path.is_symlink()]


def of_step(root: Path, source: Path) -> Path:
    """Say where the model of the step's folder ``source`` is for a person: in ``models`` if it is there, and else where it was."""
    weights = next(iter(sorted(source.glob(f"*{_WEIGHTS}"))), None)
    there = (each.path for each in listed(root) if weights is not None and _is_copy(weights, each.path / weights.name))
    return next(there, source)


def _is_copy(path: Path, other: Path) -> bool:
    return other.is_file() and (path.samefile(other) or file_digest(path) == file_digest(other))


def find(name: str) -> Checkpoint | None:
    """Find the model that ``RUN:METHOD`` or ``RUN:METHOD@SEED`` names; None for what has not this form.

    HarnessError if the run has none of that name, or several.
    """
    where, colon, method = name.rpartition(":")
    if not colon or not where or Path(name).exists() or not (Path(where) / "steps").is_dir():
        return None
    there = listed(Path(where))
    written = _as_folder(method)
    if (found := next((each for each in there if each.label in (method, written)), None)) is not None:
        return found
    if seeds := [each.label for each in there if each.label.partition("@")[0] in (method, written)]:
        raise HarnessError(f"{name} has several training seeds; name one: {', '.join(f'{where}:{each}' for each in seeds)}")
    if not there:
        raise HarnessError(f"{where} has no models in {FOLDER}/; a `harness run` that finishes puts those there that it has trained")
    raise HarnessError(f"{where} has no model {method!r}; it has {', '.join(each.label for each in there)}")


def _as_folder(method: str) -> str:
    """Name the folder of ``METHOD[@SEED]``, where METHOD may be a variant as a person writes it, ``retmask(top_k=4)``."""
    name, at, seed = method.partition("@")
    with suppress(HarnessError):  # for a folder's name, or nothing that there is
        name = parse(name).label
    return label(name, None) + at + seed


def base(name: str) -> str:
    """Name the model that the one called ``RUN:METHOD`` was trained from, through runs of runs; empty where nothing says so."""
    seen = {""}
    while name not in seen and (trained := find(name)) is not None:
        seen.add(name)
        try:
            model = read_sealed(trained.path.parent.parent / MANIFEST).get("model")
        except (DamagedError, AccessError, OSError):
            return ""
        name = str(model.get("name", "")) if isinstance(model, dict) else ""
    return name if len(seen) > 1 else ""


def _record(root: Path) -> dict[str, str]:
    return {name: digest for name, digest in _table(root, "models").items() if isinstance(digest, str) and _LABEL.fullmatch(name)}


def _put_before(root: Path) -> dict[str, _Files]:
    """Read what each file of each model was when the harness put it there; nothing of a model of before that was kept."""
    return {
        name: {file: tuple(map(str, sums)) for file, sums in files.items() if isinstance(sums, list)}
        for name, files in _table(root, "files").items()
        if isinstance(files, dict)
    }


def _table(root: Path, name: str) -> dict[str, Json]:
    path = root / FOLDER / _RECORD
    if not path.is_file() or path.is_symlink():
        return {}
    try:
        table: Json = read_sealed(path).get(name)
    except (DamagedError, AccessError):
        return {}
    return table if isinstance(table, dict) else {}


def _own(place: Path, put: _Files, but: str = "") -> list[str]:
    """List what a person has put into a model's folder or changed there, ``but`` files that end so."""
    there = [path for path in sorted(place.rglob("*")) if path.is_symlink() or not path.is_dir()]
    named = {path.relative_to(place).as_posix(): path for path in there if not but or path.suffix != but}
    return [name for name, path in named.items() if path.is_symlink() or _sha256_of(path) not in put.get(name, ())]


def _sha256_of(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:  # what cannot be read is a person's
        return ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _replace(
    place: Path, source: Path, files: list[Path], card: str, put: _Files, record: Callable[[], None], say: Callable[[str], None]
) -> None:
    """Make the folder anew beside its place, and put it there whole.

    Whoever is killed on the way leaves no old model under the new one's digest: the old one goes before the record says the new one's.
    """
    fresh, old = (place.with_name(f".{place.name}.{os.getpid()}{ending}") for ending in ("", ".old"))
    _leftovers(place)
    try:
        for path in files:
            target = fresh / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(path, target)
        write_text(fresh / CARD, card)
        if place.exists():
            _make_room(place, put, old, say)
        record()
        os.rename(fresh, place)
    finally:
        for folder in (fresh, old):
            shutil.rmtree(folder, ignore_errors=True)


def _make_room(place: Path, put: _Files, old: Path, say: Callable[[str], None]) -> None:
    """Move a model that is replaced out of its place: to ``old``, or aside for good where somebody has changed it or put files there."""
    own = _own(place, put)
    if not own:
        os.rename(place, old)
        return
    kept = next(path for number in count(1) if not os.path.lexists(path := place.with_name(f"{place.name}.before-{number}")))
    os.rename(place, kept)
    what = f"{', '.join(own[:_SHOWN])}{' and more' if len(own) > _SHOWN else ''}"
    say(f"{place} is put there anew; what was there, with {what} that the harness did not put there so, is in {kept}")


def _leftovers(place: Path) -> None:
    """Delete what a killed process has left of this model's folder. The run's lock is held, so no other process is at it."""
    of_before = re.compile(rf"\.{re.escape(place.name)}\.[0-9]+(?:\.old)?")
    for path in place.parent.iterdir():
        if of_before.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _put(path: Path, target: Path) -> None:
    if path.suffix == _WEIGHTS:
        try:
            target.hardlink_to(path)
            open_mode(target)
            return
        except OSError:  # a file system without hard links, or another user's file
            target.unlink(missing_ok=True)
    shutil.copyfile(path, target)
