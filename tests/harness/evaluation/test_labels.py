"""Labels that people gave beside a judge's grades, from the files to the lines on the terminal."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.api import HarnessError
from harness.commands.root import main
from harness.evaluation.judging import JUDGEMENTS
from harness.evaluation.labels import compare, read_labels
from harness.store.find import Evaluation
from reports import samples

GRADES = [(1, 3), (1, 2), (1, 0), (0, 3), (1, 3), (1, 1), (1, 2), (1, 3), (0, 0), (1, 0), (1, 3), (1, 2)]


@pytest.fixture(autouse=True)
def table(make_samples: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    samples.write(make_samples(), tmp_path / "samples.parquet")


def judged(folder: Path, grades: Sequence[tuple[int, int]], more: int = 0) -> Evaluation:
    """An evaluation whose answers a judge gave these grades, and so many more that it gave full marks."""
    lines = [
        {"example_id": f"q{n}", "task": "narrativeqa", "length": 8_192, "answer": f"q{n}", "judgement": 1, "score": fluency * right / 3,
         "parts": {"fluency": float(fluency), "correctness": right / 3}, "unreadable": {}, "verdicts": {}}
        for n, (fluency, right) in enumerate([*grades, *[(1, 3)] * more])
    ]  # fmt: skip
    (folder / JUDGEMENTS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Evaluation("it", folder / "samples.parquet", "")


def labels(path: Path, grades: Sequence[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps({"example_id": f"q{n}", **each}) + "\n" for n, each in enumerate(grades)))
    return path


def agree(folder: Path, path: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["judge", "agreement", str(folder / "samples.parquet"), str(path), *more])


def test_a_judge_that_says_what_people_say(tmp_path: Path) -> None:
    judged(tmp_path, GRADES, more=30)
    same = labels(tmp_path / "labels.jsonl", [{"fluency": one, "correctness": two} for one, two in GRADES])
    result = agree(tmp_path, same, "--output", str(tmp_path / "found.json"))
    assert result.exit_code == 0, result.output
    assert "narrativeqa at 8,192 tokens: 12 answers are labelled and judged" in result.output
    assert "correctness  the same grade in 100% of answers; kappa 1.00" in result.output
    assert "over all 42 answers" in result.output
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert found["mean"]["labelled"] == 12
    assert found["mean"]["unlabelled"] == 30
    assert found["grades"]["fluency"]["alike"] == 1


def test_a_lenient_judge_is_found_out_and_corrected(tmp_path: Path) -> None:
    evaluation = judged(tmp_path, [(1, 3)] * 6 + [(1, 2)] * 6, more=60)
    strict = labels(tmp_path / "labels.jsonl", [{"score": 0.5}] * 6 + [{"score": 0.0}] * 6)
    (found,) = compare(evaluation, read_labels(strict), "labels", 0.95)
    assert found.mean is not None
    assert found.mean.judged > 0.9
    assert found.mean.labels.value == 0.25
    assert found.mean.corrected.low < 0.5 < found.mean.judged
    assert not found.grades, "people gave scores alone"


@pytest.mark.parametrize(
    ("grades", "words"),
    [
        ([{"correctness": 4}] * 12, "line 1: correctness is '4', not a number from 0 to 3"),
        ([{"correctness": True}] * 12, "not a number from 0 to 3"),
        ([{"opinion": 1}] * 12, "no grade of score, fluency"),
        ([{"example_id": 7, "score": 1}] * 12, "no example_id"),
        ([{"example_id": "q1", "score": 1}] * 2, "q1 is labelled twice"),
        ([{"score": 1}] * 13, "1 labelled examples are not among the judged ones of it, such as q12"),
        ([{"score": 1}] * 3, "3 labelled answers are too few"),
        ([], "holds no records|no labels"),
    ],
)
def test_labels_that_cannot_be_used_are_one_line(tmp_path: Path, grades: list[dict[str, object]], words: str) -> None:
    evaluation = judged(tmp_path, GRADES)
    with pytest.raises(HarnessError, match=words):
        compare(evaluation, read_labels(labels(tmp_path / "labels.jsonl", grades)), "labels.jsonl", 0.95)


def test_answers_that_nobody_judged(tmp_path: Path) -> None:
    judged(tmp_path, GRADES)
    (tmp_path / JUDGEMENTS).unlink()
    result = agree(tmp_path, labels(tmp_path / "labels.jsonl", [{"score": 1}] * 12))
    assert result.exit_code == 2
    assert "evaluate with --judge-model" in result.output
    (tmp_path / JUDGEMENTS).write_text('{"task": "narrativeqa"}\n')
    assert "line 1: not a judgement" in agree(tmp_path, tmp_path / "labels.jsonl").output


@pytest.mark.parametrize(
    ("lost", "code", "words"), [(2, 0, "the verdicts on 2 more labelled answers cannot be read"), (3, 2, "choose another judge")]
)
def test_verdicts_that_cannot_be_read_are_counted(tmp_path: Path, lost: int, code: int, words: str) -> None:
    judged(tmp_path, GRADES)
    lines = [json.loads(line) for line in (tmp_path / JUDGEMENTS).read_text().splitlines()]
    for line in lines[:lost]:
        line |= {"score": None, "parts": {}, "unreadable": {"answer": "it holds no JSON object"}}
    (tmp_path / JUDGEMENTS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = agree(tmp_path, labels(tmp_path / "labels.jsonl", [{"fluency": one, "correctness": two} for one, two in GRADES]))
    assert result.exit_code == code
    assert words in result.output
