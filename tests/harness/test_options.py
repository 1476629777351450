"""Option tables: strict, with advice."""

from dataclasses import dataclass

import pytest

from harness.api import HarnessError
from harness.options import parse_table


@dataclass(frozen=True)
class Table:
    name: str
    threshold: float = 0.1
    top_k: int | None = None
    lengths: tuple[int, ...] = (1, 2)
    flag: bool = False


def test_values_are_taken_and_the_rest_keeps_its_default() -> None:
    table = parse_table(Table, {"name": "x", "threshold": 1, "top_k": 3, "lengths": [5]}, "here")
    assert table == Table("x", 1.0, 3, (5,))
    assert isinstance(table.threshold, float)
    assert parse_table(Table, {"name": "x", "top_k": None}, "here").top_k is None


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"treshold": 0.2}, "here: unknown key 'treshold'; did you mean 'threshold'?"),
        ({"zzz": 1}, "here: unknown key 'zzz'; known: name, threshold"),
        ({"threshold": "high"}, "here: threshold holds something else than a number: 'high'"),
        ({"top_k": 2.5}, "here: top_k holds something else than a whole number: 2.5"),
        ({"top_k": True}, "here: top_k holds something else than a whole number: True"),
        ({"threshold": float("nan")}, "here: threshold holds something else than a number: nan"),
        ({"threshold": float("-inf")}, "here: threshold holds something else than a number: -inf"),
        ({"threshold": 1 << 1024}, "here: threshold holds something else than a number: 1797"),
        ({"top_k": 1 << 20_000}, "here: top_k holds something else than a whole number: a number of thousands of digits"),
        ({"lengths": [1 << 20_000]}, "here: lengths holds something else than a list"),
        ({"flag": 1}, "here: flag holds something else than true or false: 1"),
        ({"lengths": 5}, "here: lengths holds something else than a list, each a whole number, such as [512, 1024]: 5"),
        ({"lengths": [1, "2"]}, "here: lengths holds something else than a list, each a whole number, such as [512, 1024]: [1, '2']"),
    ],
)
def test_mistakes_are_named(extra: dict[str, object], message: str) -> None:
    with pytest.raises(HarnessError) as error:
        parse_table(Table, {"name": "x"} | extra, "here")
    assert str(error.value).startswith(message)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(HarnessError, match="here: missing 1 required positional argument: 'name'"):
        parse_table(Table, {}, "here")
