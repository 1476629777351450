"""Tables of options as frozen dataclasses: strict keys, strict types, errors with advice."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from harness.api import HarnessError

T = TypeVar("T")


def parse_table(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """An instance of the dataclass ``cls`` with the table's values; what the table leaves out keeps its default.

    HarnessError for an unknown key (with the nearest known one), a missing one, and a value of the wrong type. ``where`` opens the
    message.
    """
    hints = get_type_hints(cls)
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise HarnessError(f"{where}: unknown option {key}; {advice}")
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise HarnessError(f"{where}: {str(error).partition('() ')[2] or error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, UnionType):
        if value is None and NoneType in get_args(hint):
            return None
        hint = next(option for option in get_args(hint) if option is not NoneType)
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, list | tuple) or not value:
            raise HarnessError(f"{where} is a list of {item.__name__}, not {value!r}")
        return tuple(_convert(item, each, where) for each in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise HarnessError(f"{where} is {_article(hint.__name__)}, not {value!r}")
    return value


def _article(name: str) -> str:
    plain = {"int": "an integer", "float": "a number", "str": "a string", "bool": "true or false"}
    return plain.get(name, name)
