"""Variants of a method: its name with options of its own, ``retmask(top_k=20, detector=query)``, and a short label for each.

Options are written as TOML writes them, and a bare word is text. A label is the name with its options in alphabetical order; what does not
fit a column's head or a file's name stands in it as the beginning of its digest. Names in a run's settings are whole.
"""

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, NoReturn

from harness.api import HarnessError, Json
from harness.files import digest

#: How a name with options is written; for messages.
SYNTAX: Final = "NAME or NAME(OPTION=VALUE, ...), such as retmask(top_k=20, detector=query)"
_NAME: Final = re.compile(r"[A-Za-z0-9_][\w.-]*")
_OPTION: Final = re.compile(r"[A-Za-z_]\w*")
_WORD: Final = re.compile(r"[A-Za-z_][\w.+/-]*")
#: Values that a label holds as they are.
_PLAIN: Final = re.compile(r"[\w.+-]{1,24}|\[[\w.+, -]{0,24}\]")
_LONGEST: Final = 60
_DIGITS: Final = 6
_CLOSING: Final = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True)
class Variant:
    """A method with options of its own, which come before those of all methods."""

    method: str
    """Its name, as it is installed."""
    options: Mapping[str, Json]

    def __str__(self) -> str:
        """Write it so that :func:`parse` reads the same."""
        own = [f"{name}={_written(value)}" for name, value in sorted(self.options.items())]
        return f"{self.method}({', '.join(own)})" if own else self.method

    @property
    def label(self) -> str:
        """Name it in columns, legends and ``RUN:LABEL``: without ``:`` and ``@``, and short."""
        own = [f"{name}={_short(value)}" for name, value in sorted(self.options.items())]
        if not own:
            return self.method
        if len(whole := f"{self.method}({', '.join(own)})") <= _LONGEST:
            return whole
        end = f"#{digest(dict(self.options))[:_DIGITS]}"
        shown: list[str] = []
        for each in own:
            if len(f"{self.method}({', '.join([*shown, each, end])})") > _LONGEST:
                break
            shown.append(each)
        return f"{self.method}({', '.join([*shown, end])})"


def parse(text: str) -> Variant:
    """Read ``NAME`` or ``NAME(OPTION=VALUE, ...)``. HarnessError says what is wrong with it, and how it is written."""
    name, bracket, rest = text.strip().partition("(")
    if not _NAME.fullmatch(name.strip()):
        _refuse(text, f"{name.strip()!r} is no method's name")
    if not bracket:
        return Variant(name.strip(), {})
    if not rest.endswith(")"):
        _refuse(text, "it has to end with its closing bracket")
    options: dict[str, Json] = {}
    for part in _parts(rest[:-1], text):
        option, equals, value = (each.strip() for each in part.partition("="))
        if not equals or not _OPTION.fullmatch(option):
            _refuse(text, f"{part.strip()!r} is not OPTION=VALUE")
        if option in options:
            _refuse(text, f"{option} stands in it twice")
        options[option] = _value(option, value, text)
    return Variant(name.strip(), options)


def of_table(table: Mapping[str, Any], where: str) -> Variant:
    """Read one table of a preset: ``name`` and options. HarnessError opens with ``where``."""
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise HarnessError(f"{where}: name is {name!r}; write a method's name alone there, and its options beside it")
    options = {key: value for key, value in table.items() if key != "name"}
    for key, value in options.items():
        if not _OPTION.fullmatch(key) or not _is_json(value):
            raise HarnessError(f"{where} of {name}: {key} is no option with a number, true, false, text or a list; write OPTION = VALUE")
    return Variant(name, options)


def unlike(variants: Sequence[Variant]) -> dict[str, Variant]:
    """Give each variant under its label. HarnessError for two that are called the same."""
    found: dict[str, Variant] = {}
    for each in variants:
        if each.label in found:
            raise HarnessError(f"{each} is asked for twice; leave one out")
        found[each.label] = each
    return found


def same_label(label: str, labels: Collection[str]) -> str:
    """Find the one of ``labels`` that a person means who wrote ``label`` with other blanks, or options in another order; or ``label``."""
    try:
        meant = parse(label).label
    except HarnessError:
        return label
    return meant if meant in labels else label


def _value(option: str, text: str, whole: str) -> Json:
    try:
        value = _read(text)
    except (ValueError, RecursionError):  # such as a number of thousands of digits
        _refuse(whole, f"the value of {option} cannot be read")
    if not text or (value == text and not _WORD.fullmatch(text)):
        _refuse(
            whole, f"the value of {option}, {text!r}, is neither a number, true, false, a [list] nor a word; put other text into quotes"
        )
    if isinstance(value, dict) or not _is_json(value):
        _refuse(whole, f"{option} takes no such value as {text}")
    return value


def _read(text: str) -> Json:
    """A value as TOML writes it, with nothing after it, or the text itself."""
    try:
        value: Json = tomllib.loads(f"table = {{value = {text}}}")["table"]["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value


def _is_json(value: object) -> bool:
    """Whether TOML's value is also JSON's: a date is not, nor what is no number."""
    if isinstance(value, list):
        return all(map(_is_json, value))
    return isfinite(value) if isinstance(value, float) else isinstance(value, bool | int | str)


def _parts(text: str, whole: str) -> list[str]:
    """Split at commas that are in no quotes and no brackets."""
    parts, start, quote, open_brackets, at = [], 0, "", [], 0
    while at < len(text):
        letter = text[at]
        if quote:
            if letter == "\\" and quote == '"':
                at += 1
            elif letter == quote:
                quote = ""
        elif letter in "\"'":
            quote = letter
        elif letter in _CLOSING:
            open_brackets.append(_CLOSING[letter])
        elif letter in _CLOSING.values():
            if not open_brackets or open_brackets.pop() != letter:
                _refuse(whole, f"{letter!r} closes nothing")
        elif letter == "," and not open_brackets:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    if quote or open_brackets:
        _refuse(whole, f"{quote or open_brackets[-1]!r} is missing")
    parts.append(text[start:])
    if not all(part.strip() for part in parts):
        _refuse(whole, "an option is missing before or after a comma" if len(parts) > 1 else "there is nothing between its brackets")
    return parts


def _written(value: Json) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_quoted(each) if isinstance(each, str) else _written(each) for each in value)}]"
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) and _read(value) == value else _quoted(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _short(value: Json) -> str:
    written = _written(value)
    return written if _PLAIN.fullmatch(written) else f"#{digest({'value': value})[:_DIGITS]}"


def _refuse(text: str, why: str) -> NoReturn:
    raise HarnessError(f"method {text!r}: {why}; write {SYNTAX}")
