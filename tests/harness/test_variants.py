"""A method's name with options of its own: what is read, what is refused, and what it is called."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import HarnessError, Json
from harness.variants import Variant, of_table, parse, same_label, unlike

WORDS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@pytest.mark.parametrize(
    ("text", "method", "options"),
    [
        ("retmask", "retmask", {}),
        (" retmask ", "retmask", {}),
        ("retmask(threshold=0.05)", "retmask", {"threshold": 0.05}),
        ("retmask(top_k=20, detector=query)", "retmask", {"top_k": 20, "detector": "query"}),
        ("my-method( a = 'x, y)' ,b=[1, 2] )", "my-method", {"a": "x, y)", "b": [1, 2]}),
        ('x(rejected_from="model runs/small", flag=true)', "x", {"rejected_from": "model runs/small", "flag": True}),
        ('x(a="say \\"no, no\\"")', "x", {"a": 'say "no, no"'}),
    ],
)
def test_what_is_read(text: str, method: str, options: dict[str, Json]) -> None:
    assert parse(text) == Variant(method, options)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is no method's name"),
        ("(top_k=1)", "'' is no method's name"),
        ("ret mask", "'ret mask' is no method's name"),
        ("retmask(top_k=1", "it has to end with its closing bracket"),
        ("retmask(top_k=1) x", "it has to end with its closing bracket"),
        ("retmask()", "there is nothing between its brackets"),
        ("retmask(top_k=1,)", "an option is missing before or after a comma"),
        ("retmask(top_k)", "'top_k' is not OPTION=VALUE"),
        ("retmask(top_k=)", "the value of top_k, '', is neither"),
        ("retmask(top_k=1 2)", "the value of top_k, '1 2', is neither"),
        ("retmask(top_k=1 # all)", "the value of top_k, '1 # all', is neither"),
        ("retmask(top_k=1, top_k=2)", "top_k stands in it twice"),
        ("retmask(a=[1)", "']' is missing"),
        ("retmask(a=[1}])", "'}' closes nothing"),
        ("retmask(a='x)", '"\'" is missing'),
        ("retmask(a={b = 1})", "a takes no such value"),
        ("retmask(a=nan)", "a takes no such value"),
        ("retmask(a=2026-01-01)", "a takes no such value"),
        (f"retmask(a={'1' * 5000})", "the value of a cannot be read"),
    ],
)
def test_what_is_refused_says_why_and_how_it_is_written(text: str, why: str) -> None:
    with pytest.raises(HarnessError) as error:
        parse(text)
    assert why in str(error.value)
    assert str(error.value).endswith("; write NAME or NAME(OPTION=VALUE, ...), such as retmask(top_k=20, detector=query)")
    assert "\n" not in str(error.value)


@given(WORDS, st.dictionaries(WORDS, st.one_of(VALUES, st.lists(VALUES, max_size=3)), max_size=4))
def test_what_is_written_is_read_again(method: str, options: dict[str, Json]) -> None:
    assert parse(str(Variant(method, options))) == Variant(method, options)


@given(WORDS, st.dictionaries(WORDS, VALUES, max_size=8))
def test_a_label_is_short_and_tells_options_apart(method: str, options: dict[str, Json]) -> None:
    label = Variant(method, options).label
    assert len(label) <= 80
    assert not set(label) & set(':@/\\"\n')
    if options:
        other = {**options, "also": 1} if "also" not in options else {name: value for name, value in options.items() if name != "also"}
        assert Variant(method, other).label != label


def test_labels() -> None:
    assert parse("retmask(top_k=20,detector='query')").label == "retmask(detector=query, top_k=20)"
    assert re.fullmatch(r"sft\(pairs_from=#[0-9a-f]{6}\)", parse('sft(pairs_from="my/pairs:1.jsonl")').label)
    many = parse("retmask(" + ", ".join(f"option_{number}=0.125" for number in range(9)) + ")").label
    assert re.fullmatch(r"retmask\(option_0=0\.125, option_1=0\.125, #[0-9a-f]{6}\)", many)


def test_a_label_is_found_however_it_is_written() -> None:
    labels = ["retmask", "retmask(detector=query, top_k=20)"]
    assert same_label("retmask(top_k=20,detector=query)", labels) == labels[1]
    assert same_label("retmask", labels) == "retmask"
    assert same_label("retmask(top_k=", labels) == "retmask(top_k="


def test_tables_of_a_preset() -> None:
    assert of_table({"name": "retmask", "top_k": 8}, "a.toml") == Variant("retmask", {"top_k": 8})
    with pytest.raises(HarnessError, match=r"a\.toml: name is 'retmask\(top_k=8\)'; write a method's name alone"):
        of_table({"name": "retmask(top_k=8)"}, "a.toml")
    for value in ({"a": 1}, float("nan"), date(2026, 1, 1)):
        with pytest.raises(HarnessError, match=r"^a\.toml of retmask: x is no option with a number"):
            of_table({"name": "retmask", "x": value}, "a.toml")


def test_the_same_twice_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"retmask\(top_k=8\) is asked for twice"):
        unlike([parse("retmask(top_k=8)"), parse("retmask( top_k = 8 )")])
