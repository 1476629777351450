"""The models that can be named, and the models in the cache: what is there, how large it is, and how it goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import cache
from harness.api import HarnessError, Json
from harness.models import gguf, named
from harness.models.catalogue import Entry, Wheel, entries
from harness.models.lookup import BUILTIN, resolve
from harness.store.inspect import StepOnDisk, inspect, size
from harness.store.steps import begun
from harness.store.sweep import Sweep

__all__ = ["BUILTIN", "Cached", "Known", "cached", "find", "known", "matching", "remove"]
_BUILTIN_TITLE: Final = "The small model that ships with the project"


@dataclass(frozen=True)
class Known:
    """A model that can be named."""

    name: str
    title: str
    source: str
    licence: str
    accepted: bool
    """Whether its licence asks for nothing (any more)."""
    parameters: int
    context: int
    """Tokens."""
    chat: bool
    here: bool
    path: Path | None
    """Its directory, if it is here."""
    bytes: int
    """On disk, of everything that belongs to it."""
    download: int
    """Bytes still to fetch."""
    files: tuple[Wheel, ...] = ()

    def as_json(self) -> dict[str, Json]:
        """Give everything, the path as a text and each file as a line."""
        files: list[Json] = [f"{wheel.pinned} sha256:{wheel.sha256}" for wheel in self.files]
        return {**vars(self), "path": None if self.path is None else str(self.path), "files": files}


@dataclass(frozen=True)
class Cached:
    """One entry of the cache."""

    id: str
    what: str
    model: str
    """The named model that it belongs to; empty for a file of the user's."""
    path: Path
    state: str
    bytes: int
    step: StepOnDisk

    def as_json(self) -> dict[str, Json]:
        return {"id": self.id, "what": self.what, "model": self.model, "path": str(self.path), "state": self.state, "bytes": self.bytes}


def known() -> list[Known]:
    """List every model that can be named."""
    held = cached()
    return [_builtin(), *(_known(entry, held) for entry in entries().values())]


def find(name: str) -> Known:
    """Find the model called ``name``. HarnessError if there is none."""
    for model in known():
        if model.name == name:
            return model
    raise HarnessError(f"no model is called {name!r}; there are {', '.join([BUILTIN, *entries()])}")


def _builtin() -> Known:
    from harness.models.footprint import ModelShape, context_length

    model = resolve(BUILTIN)
    return Known(
        name=BUILTIN,
        title=_BUILTIN_TITLE,
        source="harness/builtin",
        licence="Apache-2.0",
        accepted=True,
        parameters=ModelShape.read(model).parameters,
        context=context_length(model) or 0,
        chat=True,
        here=True,
        path=model.path,
        bytes=size(model.path),
        download=0,
    )


def _known(entry: Entry, held: list[Cached]) -> Known:
    made = gguf.find(entry.sha256)
    return Known(
        name=entry.name,
        title=entry.title,
        source=entry.source,
        licence=entry.licence,
        accepted=named.is_accepted(entry),
        parameters=entry.parameters,
        context=entry.context,
        chat=entry.chat,
        here=made is not None,
        path=None if made is None else made.path / gguf.MODEL,
        bytes=sum(each.bytes for each in held if each.model == entry.name),
        download=0 if made or named.fetched(entry) else entry.download,
        files=(*((entry.terms.wheel,) if entry.terms else ()), *entry.wheels),
    )


def cached() -> list[Cached]:
    """List everything that the cache holds of models, finished or not."""
    root = cache.directory() / "models"
    return [_cached(step) for step in inspect(root).steps] if (root / "steps").is_dir() else []


def _cached(step: StepOnDisk) -> Cached:
    manifest = begun(step.path)
    inputs, facts = (value if isinstance(value, dict) else {} for value in (manifest.get("inputs"), manifest.get("facts")))
    digest, file = str(inputs.get("sha256", "")), str(facts.get("file", "a GGUF file"))
    owner = next((entry for entry in entries().values() if digest in (entry.sha256, entry.terms.wheel.sha256 if entry.terms else "")), None)
    name = "" if owner is None else owner.name
    what = {
        gguf.STEP: f"{name or file}, converted by transformers {inputs.get('transformers', '?')}",
        named.WHEELS: f"{name}, its GGUF file",
        named.TERMS: f"{name}, its licence",
    }.get(step.name, step.path.name)
    return Cached(step.key[:12], what, name, step.path, step.state, step.bytes, step)


def matching(name: str) -> list[Cached]:
    """List what the cache holds of the model called ``name``, or the entries with that id. HarnessError for a name that is neither."""
    held = cached()
    if name in entries():
        return [each for each in held if each.model == name]
    if name == BUILTIN:
        raise HarnessError(f"{BUILTIN} is part of the project, and nothing of it is in the cache")
    if found := [each for each in held if name and each.id == name]:
        return found
    raise HarnessError(f"no model and no entry of the cache is called {name!r}; `harness models` lists them")


def remove(entry: Cached) -> bool:
    """Delete it, unless a process is making or reading it; whether it did."""
    root = entry.path.parent.parent.resolve()
    return bool(Sweep(root, (entry.step,), (), days=0.0).remove())
