"""What command lines take: the same words everywhere."""

import click
import pytest

from harness.commands.parameters import Length, Lengths
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
