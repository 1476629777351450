"""Where a reasoning model's thoughts end: on tokens of one letter each, so that every boundary can be tried."""

from collections.abc import Sequence

import pytest

from harness.engines.thinking import Split, split


def decode(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def parts(text: str, *, ended: bool = True, opened: bool = False, budget: int = 50, answer_budget: int = 5) -> tuple[str, str, bool]:
    """(thoughts, answer, complete)"""
    ids = [ord(letter) for letter in text]
    found: Split = split(ids, ended, decode, opened=opened, budget=budget, answer_budget=answer_budget)
    return text[: found.thinking], text[found.answer], found.complete


def test_thoughts_are_cut_off_and_the_answer_kept() -> None:
    assert parts("<think>so</think>17") == ("<think>so</think>", "17", True)
    assert parts("so</think>17", opened=True) == ("so</think>", "17", True)


def test_a_plain_answer_has_no_thoughts() -> None:
    assert parts("17") == ("", "17", True)
    assert parts("") == ("", "", True)


@pytest.mark.parametrize(("text", "opened"), [("<think>hm, hm", False), ("hm, hm", True)])
def test_an_answer_that_never_came_is_empty_and_incomplete(text: str, opened: bool) -> None:
    assert parts(text, ended=False, opened=opened) == (text, "", False)
    assert parts(text, ended=True, opened=opened) == (text, "", False)


def test_the_answer_has_a_budget_of_its_own() -> None:
    assert parts("<think>so</think>1234567", ended=False) == ("<think>so</think>", "12345", False)
    assert parts("1234567", ended=True) == ("", "12345", False)


def test_thoughts_over_their_budget_leave_no_answer() -> None:
    text = "<think>so</think>17"
    assert parts(text, budget=17)[1] == "17"
    assert parts(text, budget=16) == ("<think>so</think>", "", False)


def test_the_first_end_mark_counts() -> None:
    assert parts("a</think>b</think>", opened=True, answer_budget=99)[:2] == ("a</think>", "b</think>")
