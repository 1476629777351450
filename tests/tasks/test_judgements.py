"""Verdicts of a judge: read strictly, and never a zero for want of one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.judgements import STORY, SUMMARY, Judged, Judgement, UnreadableError, judge_story, judge_summary, mean, read

GRADES = STORY["answer"]


def test_the_last_object_counts() -> None:
    text = 'Such as {"fluency": 0, "correctness": 0}? No:\n```json\n{"fluency": 1,\n "correctness": 2, "why": "most"}\n``` Done.'
    assert read(text, GRADES) == {"fluency": 1, "correctness": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON object"),
        ("Fluency 1, correctness 3", "no JSON object"),
        ('{"fluency": 1}', "correctness is 'None'"),
        ('{"fluency": 1, "correctness": 4}', "correctness is '4', not a whole number from 0 to 3"),
        ('{"fluency": -1, "correctness": 3}', "fluency is '-1'"),
        ('{"fluency": true, "correctness": 3}', "fluency is 'True'"),
        ('{"fluency": 1, "correctness": 2.5}', "correctness is '2.5'"),
        ('{"fluency": 1, "correctness": "3"}', "correctness is '3'"),
        ('{"fluency": 1, "correctness": NaN}', "correctness is 'nan'"),
        ("{fluency: 1, correctness: 3}", "not JSON"),
        ('{"fluency": 1, "correctness": 3} {}', "fluency is 'None'"),
        ('A verdict such as {"fluency": 1, "correctness": 2} is not possible here.', "inside a line"),
        ('{"fluency": 1, "correctness": 0, "correctness": 3}', "gives a grade twice"),
        ('<think>Perhaps {"fluency": 1, "correctness": 3}</think>I do not judge.', "no JSON object"),
        ('<think>Perhaps {"fluency": 1, "correctness": 3}', "no JSON object"),
        ('{"fluency": 1, "correctness": ' + "1" * 5_000 + "}", "not JSON"),
    ],
)
def test_an_unreadable_verdict(text: str, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason) as caught:
        read(text, GRADES)
    assert "\n" not in str(caught.value)
    judged = judge_story({"answer": text})
    assert (judged.score, judged.unreadable) == (None, {"answer": str(caught.value)}), "a row of its own, not a zero"


@pytest.mark.parametrize("after", ["", ".", "**", "\n```", "\nThat is what I think.", "]", " " * 500_000])
def test_a_verdict_may_end_with_more_than_its_object(after: str) -> None:
    assert read('Therefore: {"fluency": 1, "correctness": 2}' + after, GRADES) == {"fluency": 1, "correctness": 2}


@given(st.text())
def test_any_text_is_read_or_unreadable(text: str) -> None:
    judged = judge_story({"answer": text})
    assert (judged.score is None) == bool(judged.unreadable)


@pytest.mark.parametrize(("fluency", "correctness", "score"), [(1, 3, 1), (1, 2, 2 / 3), (1, 1, 1 / 3), (1, 0, 0), (0, 3, 0)])
def test_fluency_times_correctness(fluency: int, correctness: int, score: float) -> None:
    judged = judge_story({"answer": json.dumps({"fluency": fluency, "correctness": correctness})})
    assert judged == Judgement(pytest.approx(score), {"fluency": fluency, "correctness": pytest.approx(correctness / 3)}, {})


def verdicts(fluency: int, recall: int, precision: int, said: int) -> dict[str, str]:
    return {
        "fluency": json.dumps({"fluency": fluency}),
        "recall": json.dumps({"supported_key_points": [1], "recall": recall}),
        "precision": json.dumps({"precision": precision, "sentence_count": said}),
    }


@pytest.mark.parametrize(
    ("given", "points", "score"),
    [
        ((1, 4, 5, 5), 4, 1),
        ((1, 2, 5, 5), 4, 2 / 3),
        ((1, 2, 3, 6), 4, 0.5),
        ((0, 4, 5, 5), 4, 0),
        ((1, 0, 0, 5), 4, 0),
        ((1, 0, 0, 0), 4, 0),
    ],
)
def test_fluency_times_f1(given: tuple[int, int, int, int], points: int, score: float) -> None:
    judged = judge_summary(verdicts(*given), points)
    assert judged.score == pytest.approx(score)
    assert set(judged.parts) == {"fluency", "recall", "precision"}


def test_three_calls_are_read_one_by_one() -> None:
    assert set(judge_summary(verdicts(1, 5, 5, 5), 4).unreadable) == {"recall"}, "more than there are"
    assert set(judge_summary(verdicts(1, 4, 6, 5), 4).unreadable) == {"precision"}
    judged = judge_summary({**verdicts(1, 4, 5, 5), "fluency": "fine"}, 4)
    assert (judged.score, set(judged.unreadable)) == (None, {"fluency"})
    assert judged.parts == {"recall": 1, "precision": 1}
    assert set(SUMMARY) == {"fluency", "recall", "precision"}


def test_the_mean_leaves_out_what_could_not_be_read_and_says_how_many() -> None:
    some = [judge_story({"answer": text}) for text in ('{"fluency": 1, "correctness": 3}', '{"fluency": 1, "correctness": 0}', "what?")]
    assert mean(some) == Judged(0.5, 2, 1)
    assert mean(some[2:]) == Judged(None, 0, 1)
    assert mean([]) == Judged(None, 0, 0)
