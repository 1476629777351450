"""What ceilings and floors say of an evaluation."""

import io
import json
import math
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from reports.anchors import Anchors, anchors, from_record, markdown, record, terminal

LENGTHS = (512, 1024)
#: Task -> (category, score in full context, ceiling, floor).
TASKS = {
    "able": ("recall", 0.5, 1.0, 0.0),
    "deaf": ("icl", 0.05, 0.1, 0.1),
    "guess": ("rag", 0.5, 0.5, 0.5),
    "unknown": ("cite", 0.3, None, None),
}


def table(run: str, at: int, questions: int = 20) -> pd.DataFrame:
    """One example of each question; a share of them, as large as the task's score, is right."""
    rows = []
    for task, (category, *scores) in TASKS.items():
        share = scores[at]
        if share is None:
            continue
        for length in LENGTHS:
            rows += [
                {
                    "run": run,
                    "task": task,
                    "category": category,
                    "length": length,
                    "metric": "m",
                    "cluster": f"{task}-{length}-{number}",
                    "example_id": f"{task}-{length}-{number}-{run}",
                    "score": float(number < round(share * questions)),
                }
                for number in range(questions)
            ]
    return pd.DataFrame.from_records(rows)


@pytest.fixture(scope="module")
def found() -> Anchors:
    return anchors(table("", 0), pd.concat([table("ceiling", 1), table("floor", 2)], ignore_index=True))


def test_tasks_are_told_apart_by_what_they_can_tell(found: Anchors) -> None:
    assert (found.telling, found.low, found.unclear, found.without) == (("able",), ("deaf",), ("guess",), ("unknown",))
    said = " ".join(found.sentences())
    assert "deaf: ceiling below 20 points" in said
    assert "guess: ceiling not clearly above" in said
    assert "unknown: no reference points" in said


def test_a_task_above_its_ceiling_is_said_to_have_none(found: Anchors) -> None:
    assert found.exceeded == ()
    lines = tuple(replace(line, ceiling=line.score - 0.1) if line.name == "guess" else line for line in found.lines)
    over = replace(found, lines=lines)
    assert over.exceeded == ("guess",)
    assert "guess: scores above its ceiling" in " ".join(over.sentences())


def test_neither_side_enters_the_mean(found: Anchors) -> None:
    assert found.overall == pytest.approx((0.5 + 0.05 + 0.5 + 0.3) / 4)
    assert found.overall_telling == pytest.approx(0.5)
    assert "50.0 (able); of all tasks: 33.8" in " ".join(found.sentences())


def test_lines_hold_score_ceiling_and_floor(found: Anchors) -> None:
    lines = {(line.scope, line.name, line.length): (line.score, line.ceiling, line.floor) for line in found.lines}
    assert lines["task", "able", 512] == pytest.approx((0.5, 1.0, 0.0))
    assert lines["category", "icl", None] == pytest.approx((0.05, 0.1, 0.1))
    assert lines["overall", "overall", None] == pytest.approx((0.35, 1.6 / 3, 0.2))
    assert found.curves()["recall"] == {512: (1.0, 0.0), 1024: (1.0, 0.0)}


def test_a_model_that_no_task_fits_is_said_to_be_one() -> None:
    both = pd.concat([table("ceiling", 2), table("floor", 2)], ignore_index=True)
    found = anchors(table("", 0), both)
    assert found.telling == ()
    assert math.isnan(found.overall_telling)
    assert found.sentences()[-1] == "No task here can tell what this model does with context."
    assert from_record(json.loads(json.dumps(record(found), allow_nan=False))) is not None


def test_the_record_gives_everything_back(found: Anchors) -> None:
    assert from_record(json.loads(json.dumps(record(found), allow_nan=False))) == found
    assert from_record(None) is None


def test_people_read_all_of_it(found: Anchors) -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(terminal(found))
    text = console.export_text()
    assert "ceiling" in text
    assert ["able", "512", "50.0", "100.0", "0.0"] in [line.replace("│", " ").split() for line in text.splitlines()]
    assert "| able | 512 | 50.0 | 100.0 | 0.0 |" in markdown(found).replace("|   able", "| able")
