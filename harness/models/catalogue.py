"""The models that can be named: where their files come from, and what is known of them. Read from ``catalogue.toml``."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

CATALOGUE: Final = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True)
class Wheel:
    """One archive of a package index."""

    package: str
    version: str
    file: str
    sha256: str
    bytes: int
    member: str = ""
    """The part of the model in it."""

    @property
    def pinned(self) -> str:
        """As pip writes it."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class Terms:
    """A licence that has to be accepted."""

    wheel: Wheel
    notice: str
    """Name of the short text in the wheel, which is shown."""
    text: str
    """Name of the whole text in the wheel."""


@dataclass(frozen=True)
class Entry:
    """One model."""

    name: str
    title: str
    source: str
    """Hub id of the model that was quantised."""
    licence: str
    parameters: int
    context: int
    """Tokens."""
    chat: bool
    """Whether it has a chat template."""
    file: str
    sha256: str
    """Of the GGUF file, whose parts are the wheels' members."""
    bytes: int
    wheels: tuple[Wheel, ...]
    terms: Terms | None = None

    @property
    def download(self) -> int:
        """Bytes to fetch."""
        return sum(wheel.bytes for wheel in self.wheels)


@cache
def entries() -> dict[str, Entry]:
    """List every model by its name."""
    return {name: _entry(name, value) for name, value in tomllib.loads(CATALOGUE.read_text(encoding="utf-8")).items()}


def _entry(name: str, value: dict[str, Any]) -> Entry:
    wheels, terms = tuple(Wheel(**each) for each in value.pop("wheels")), value.pop("terms", None)
    return Entry(name, wheels=wheels, terms=None if terms is None else Terms(Wheel(**terms.pop("wheel")), **terms), **value)
