"""A reasoning model's thoughts, in the marks of several families, are cut off strictly and read in parity."""

import pytest

from tasks.scoring import later_rules, score
from tasks.thoughts import MARKS, answer_after, holds_thoughts


@pytest.mark.parametrize(("start", "end"), MARKS)
def test_every_familys_thoughts_are_cut_off(start: str, end: str) -> None:
    whole = f"{start}Rome? Answer: Rome. No.{end}\n\nAnswer: Oslo"
    assert answer_after(whole) == "Answer: Oslo"
    assert answer_after(whole.removeprefix(start)) == "Answer: Oslo", "the template may have begun them"
    assert answer_after(f"\n{start}Oslo, I think, or") == ""
    assert answer_after(f"Oslo. {start}") == f"Oslo. {start}", "begun in the middle of an answer, they are its own words"
    assert all(map(holds_thoughts, (whole, whole.removeprefix(start), f"{start}Oslo")))
    assert not holds_thoughts("Oslo < Rome > [think]")


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("<THINK>Rome</Think>Oslo", "Oslo"),
        ("<think >Rome</ think >Oslo", "Oslo"),
        ("<think>Rome</think>So: <think>Rome</think>Oslo", "Oslo"),
        ("<think>Rome<think>or</think>Rome</think>Oslo", "Oslo"),
        ("<think>Rome</think>Oslo<think>Rome", "Oslo"),
        ("<think>Rome</think>Oslo</think>", "Oslo"),
        ("<think>Rome</think>", ""),
        ("<think>\n\n</think>\n\nOslo", "Oslo"),
    ],
)
def test_thoughts_that_come_again_or_are_spelt_otherwise(output: str, answer: str) -> None:
    assert holds_thoughts(output)
    assert answer_after(output) == answer


@pytest.mark.parametrize(("task", "metric"), [("kilt_nq", "substring_exact_match"), ("ruler_niah_mk_2", "ruler_recall")])
def test_an_answer_that_stands_in_the_thoughts_alone_is_none(task: str, metric: str) -> None:
    record = {"answer": ["7301"], "answers": ["7301"]}
    for output in ("<think>7301 or 5519?</think>5519", "<think>7301, or is it"):
        assert score(task, record, output, mode="strict")[metric] == 0
        assert score(task, record, output, mode="parity")[metric] == 1, "as the published scorers"
    assert score(task, record, "<think>Answer: 5519?</think>\nAnswer: 7301", mode="strict")[metric] == 1


def test_outputs_that_later_rules_touch_are_scored_anew() -> None:
    assert later_rules(["Oslo", "答えは東京です", "a</think>b"]) == ["thoughts", "unspaced"]
    assert later_rules(["a</think>b</think>"]) == later_rules(["a</think>b<think>"]) == ["several thoughts", "thoughts"]
    assert later_rules(["Oslo", "Zürich", "العاصمة", "12 34, 5."]) == []
    assert later_rules(["3.5"]) == later_rules(["€ 5"]) == later_rules(["35"], known_golds=False) == ["numbers"]
