"""What command lines take, read the same way by every command."""

from math import isfinite
from typing import Any

import click

from harness.api import Json
from harness.options import read_length


class Number(click.FloatRange):
    """A number within bounds; NaN and infinity, which no bound keeps out, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(super().convert(value, param, ctx))
        if not isfinite(found):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return found


class Lengths(click.ParamType[tuple[int, ...]]):
    """Lengths in tokens: ``512,1k,128k``."""

    name = "lengths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(self._tokens(part, param, ctx) for part in str(value).split(",")))

    def _tokens(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        tokens = read_length(text)
        if tokens is None:
            self.fail(f"{text!r} is not a length; write tokens or thousands of 1024, such as 512,1k,128k", param, ctx)
        return tokens


class Length(click.ParamType[int]):
    """One length in tokens: ``8k``."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        tokens = value if isinstance(value, int) else read_length(str(value))
        if tokens is None:
            self.fail(f"{value!r} is not one length; write tokens or thousands of 1024, such as 8k", param, ctx)
        return tokens


class Seeds(click.ParamType[tuple[int, ...]]):
    """Seeds: ``1,2,3``."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} are no seeds; write whole numbers joined by commas, such as 1,2,3", param, ctx)
        return tuple(map(int, parts))


class Names(click.ParamType[tuple[str, ...]]):
    """Names joined by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        found = tuple(part.strip() for part in str(value).split(",") if part.strip())
        if not found:
            self.fail(f"{value!r} names nothing; leave the option out, or write names joined by commas", param, ctx)
        return found


class Setting(click.ParamType[tuple[str, Json]]):
    """A method option, ``KEY=VALUE`` with the value as TOML writes it."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Json]:
        import tomllib

        key, equals, text = str(value).partition("=")
        if not equals or not key.strip():
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        try:
            parsed: Json = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = text  # a bare word is a string
        except (ValueError, RecursionError):  # such as a number of thousands of digits
            self.fail(f"the value of {key.strip()} is no TOML that can be read", param, ctx)
        return key.strip(), parsed
