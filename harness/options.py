"""Tables of options as frozen dataclasses: strict keys, strict types, numbers within bounds, errors with advice."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import inf, isfinite
from operator import index
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, SupportsIndex, TypeVar, cast, get_args, get_origin, get_type_hints

from harness.api import HarnessError

T = TypeVar("T")
_LENGTH: Final = re.compile(r"([1-9][0-9]{0,8})(k?)")
#: A whole number that takes more is none that anybody means, nor one that becomes a float.
_MOST_BITS: Final = 1000
_WORDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    NoneType: "None",
}
#: A list as TOML and ``--set`` write it.
_LISTS: Final[Mapping[Any, str]] = {int: "[512, 1024]", float: "[0.5, 1.0]", str: '["one", "two"]'}


@dataclass(frozen=True)
class Within:
    """The numbers from ``low`` to ``high``, both included unless something else is said."""

    low: float
    high: float = inf
    above: bool = False
    """Leave ``low`` out."""
    below: bool = False
    """Leave ``high`` out."""

    def holds(self, value: float) -> bool:
        """Say whether a number is among them."""
        return (value > self.low if self.above else value >= self.low) and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low = f"more than {self.low:g}" if self.above else f"{self.low:g} or more"
        return low if self.high == inf else f"{low}, {'less than' if self.below else 'at most'} {self.high:g}"


def read_length(text: str) -> int | None:
    """Read a length in tokens: ``512``, or ``4k`` for 4096; None for anything else."""
    found = _LENGTH.fullmatch(text.strip().lower())
    return int(found[1]) * (1024 if found[2] else 1) if found else None


def read_lengths(value: object, where: str) -> tuple[int, ...]:
    """Read lengths as a program gives them: one, or several, each a number of tokens or as :func:`read_length` takes it.

    HarnessError, which ``where`` opens, for what is none.
    """
    return tuple(_length(each, where) for each in (read_names(value, where) if isinstance(value, str) else _several(value, where)))


def _length(value: object, where: str) -> int:
    try:
        tokens = read_length(value) if isinstance(value, str) else None if isinstance(value, bool) else index(cast(SupportsIndex, value))
    except TypeError:
        tokens = None
    if tokens is None:
        raise HarnessError(f"{where}: {_shown(value)} is not a length; write tokens or thousands of 1024, such as 512 or '8k'")
    return int(tokens)


def read_names(value: object, where: str) -> tuple[str, ...]:
    """Read names as a program gives them: a list of texts, or one text with commas. HarnessError, as above, for anything else."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    found = _several(value, where)
    if wrong := [each for each in found if not isinstance(each, str)]:
        raise HarnessError(f"{where}: {_shown(wrong[0])} is no name; write names as text")
    return tuple(map(str, found))


def _several(value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, Iterable) and isinstance(value, SupportsIndex):
        return (value,)
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise HarnessError(f"{where}: {_shown(value)} is no list; write one, such as ['recall'] or [512, '8k']")
    return tuple(value)


def check_types(where: str, **arguments: tuple[object, Any]) -> None:
    """Raise HarnessError, which ``where`` opens, for the first argument that is of another type: ``seed=(seed, int)``."""
    for name, (value, kind) in arguments.items():
        _read(value, kind, f"{where}: {name}")


def parse_table(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make an instance of the dataclass ``cls`` of a table's values; what the table leaves out keeps its default.

    HarnessError, which ``where`` opens, for an unknown key (with the nearest known one), a missing one, and a value of the wrong type.
    """
    try:
        return cls(**read_table(cls, table, where))
    except TypeError as error:
        raise HarnessError(f"{where}: {str(error).partition('() ')[2] or error}") from error


def read_table(cls: type[Any], table: Mapping[str, Any], where: str, *, apart_from: Collection[str] = ()) -> dict[str, Any]:
    """Give a table's values as the dataclass ``cls`` takes them; fields ``apart_from`` are not for tables. HarnessError as above."""
    check_keys(table, [field.name for field in fields(cls) if field.name not in apart_from], where)
    types = get_type_hints(cls)
    return {key: _read(value, types[key], f"{where}: {key}") for key, value in table.items()}


def check_ranges(options: object, ranges: Mapping[str, Within], where: str = "") -> None:
    """Raise HarnessError, which ``where`` opens, for the first option that is out of its range; one that is None is not asked for."""
    for name, within in ranges.items():
        value = getattr(options, name)
        if value is not None and not within.holds(value):
            raise HarnessError(f"{where}{name} = {value}; give {within}")


def check_keys(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise HarnessError on a key that nobody reads."""
    for key in table:
        if key not in known:
            raise HarnessError(f"{where}: unknown key {key!r}; {near(key, known, 'known: ')}")


def near(name: str, known: Collection[str], otherwise: str = "choose from ") -> str:
    """Advise on a name that is not ``known``: "did you mean 'kilt_nq'?", or all that are."""
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"{otherwise}{', '.join(known)}"


def _read(value: object, kind: Any, where: str) -> Any:
    """A value of that type: lists become tuples, whole numbers numbers."""
    if not _fits(value, kind):
        raise HarnessError(f"{where} holds something else than {called(kind)}: {_shown(value)}")
    if isinstance(value, list | tuple):
        return tuple(value)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and float in (kind, *get_args(kind)) else value


def _fits(value: object, kind: Any) -> bool:
    """Whether a value from TOML or the command line can be an option of that type."""
    parts = get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_fits(each, parts[0]) for each in value)
    if get_origin(kind) is Literal:
        return value in parts
    if kind is Path:
        return isinstance(value, Path)
    if parts:
        return any(_fits(value, part) for part in parts)
    if (type(value) is int and value.bit_length() > _MOST_BITS) or (type(value) is float and not isfinite(value)):
        return False
    return type(value) in ((int, float) if kind is float else (kind,))


def _shown(value: object) -> str:
    try:
        return repr(value)[:60]
    except ValueError:  # Python writes no whole number of thousands of digits
        return "a number of thousands of digits"


def called(kind: Any) -> str:
    """Say in words what values a type has; for a list, how it is written."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    if get_origin(kind) is tuple:
        return f"a list, each {called(parts[0])}, such as {_LISTS.get(parts[0], '[]')}"
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, parts))
    if parts:
        return " or ".join(map(called, parts))
    return _WORDS.get(kind, str(kind))
