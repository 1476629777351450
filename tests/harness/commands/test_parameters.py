"""What command lines take: the same words everywhere."""

from collections.abc import Iterator
from importlib.metadata import entry_points

import click
import pytest

from harness.commands.parameters import Length, Lengths, Number
from harness.options import read_length


@pytest.mark.parametrize(("text", "tokens"), [("512", 512), (" 4k", 4096), ("128K", 131_072), ("1", 1)])
def test_lengths_are_tokens_or_thousands_of_1024(text: str, tokens: int) -> None:
    assert read_length(text) == tokens
    assert Length().convert(text, None, None) == tokens


@pytest.mark.parametrize("text", ["", "0", "0k", "-1", "1.5k", "k", "1kk", "8m", "much", "9" * 5000, "٣"])
def test_nothing_else_is_a_length(text: str) -> None:
    assert read_length(text) is None
    for kind in (Length(), Lengths()):
        with pytest.raises(click.BadParameter, match="write tokens or thousands of 1024"):
            kind.convert(text, None, None)


def test_each_length_is_meant_once() -> None:
    assert Lengths().convert("1k,512,1024", None, None) == (1024, 512)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "NaN"])
def test_no_bound_keeps_out_what_is_no_number_so_the_type_does(text: str) -> None:
    assert Number(min=0).convert("2.5", None, None) == 2.5
    for kind in (Number(min=0), Number(0, 100)):
        with pytest.raises(click.BadParameter):
            kind.convert(text, None, None)


def test_every_option_that_takes_a_number_refuses_what_is_none() -> None:
    """Of every command that is installed."""
    found = {name: point.load() for point in entry_points(group="harness.commands") for name in [point.name]}
    commands = dict(_walk(found))
    assert len(commands) > 40
    loose = [f"{name} {each.name}" for name, command in commands.items() for each in command.params if _takes_nan(each.type)]
    assert loose == []


def _walk(commands: dict[str, click.Command]) -> Iterator[tuple[str, click.Command]]:
    for name, command in commands.items():
        yield name, command
        if isinstance(command, click.Group):
            yield from _walk({f"{name} {inner}": each for inner, each in command.commands.items()})


def _takes_nan(kind: click.ParamType) -> bool:  # type: ignore[type-arg]
    return isinstance(kind, click.types.FloatParamType) and not isinstance(kind, Number)
