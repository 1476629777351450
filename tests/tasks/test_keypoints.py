"""Summaries against known facts."""

import pytest

from tasks.keypoints import key_points, sentences, summary_scores
from tasks.records import FieldError

RECORD = {
    "keypoints": [
        {"text": "Mira Tolvane found it in the attic", "terms": [["Mira Tolvane"], ["attic"], ["found", "finds"]]},
        {
            "text": "Mira Tolvane gave it to Joren Harrick",
            "terms": [["Mira Tolvane"], ["Joren Harrick"], ["gave", "got"]],
            "before": [0, 1],
        },
    ]
}
POINTS = key_points(RECORD)
FOUND = "Mira Tolvane found it in the attic."
GAVE = "Then Mira Tolvane gave it to Joren Harrick."


def scores(summary: str) -> tuple[float, float]:
    found = summary_scores(summary, POINTS)
    recall, precision = found["keypoint_rec"], found["keypoint_prec"]
    both = recall + precision
    assert found["keypoint_f1"] == pytest.approx(2 * recall * precision / both if both else 0)
    return recall, precision


@pytest.mark.parametrize(
    ("summary", "recall", "precision"),
    [
        (f"{FOUND} {GAVE}", 1, 1),
        (f"Events:\n1. {FOUND}\n2. {GAVE}\n", 1, 1),
        (f"{FOUND[:-1]} and gave it to Joren Harrick.", 1, 1),
        (FOUND, 0.5, 1),
        (f"{FOUND} The weather was fine.", 0.5, 0.5),
        (f"{FOUND} {FOUND}", 0.5, 0.5),
        ("", 0, 0),
        ("...\n\n-", 0, 0),
        ("Mira Tolvane was in the attic.", 0, 0),
        ("Mira Quillon found it in the attic.", 0, 0),
        ("Mira found it in the attic.", 0, 0),
        ("Mira Tolvane found it in the attic, the cellar, the barn and the library.", 0, 0),
        ("Mira Tolvane, Edda Vexley and Joren Harrick gave it to each other.", 0, 0),
        ("Joren Harrick gave it to Mira Tolvane.", 0, 0),
        ("Joren Harrick got it from Mira Tolvane.", 0.5, 1),
        ("MIRA TOLVANE FOUND IT IN THE ATTIC", 0.5, 1),
    ],
)
def test_a_summary(summary: str, recall: float, precision: float) -> None:
    assert scores(summary) == (recall, precision)


def test_copying_the_context_recalls_everything_and_is_not_precise() -> None:
    recall, precision = scores(" ".join([FOUND, GAVE, *["The door was open."] * 98]))
    assert (recall, precision) == (1, 0.02)


def test_sentences_are_lines_or_end_with_a_stop() -> None:
    assert sentences("Summary of it:\n- One.\n* Two! Three?\n\n12) four") == ["One.", "Two!", "Three?", "four"]


@pytest.mark.parametrize(
    "value",
    [None, [], "text", [3], [{}], [{"terms": []}], [{"terms": ["a"]}], [{"terms": [["..."]]}], [{"terms": [["a"]], "before": [0, 1]}],
     [{"terms": [["a"], ["b"]], "before": 1}], [{"terms": [["a"]]}] * 201],
)  # fmt: skip
def test_a_record_without_sound_key_points(value: object) -> None:
    with pytest.raises(FieldError, match="keypoints"):
        key_points({"keypoints": value})
