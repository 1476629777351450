"""The table of one evaluation shows HELMET's averages."""

import io
from collections.abc import Callable

import pandas as pd
import pytest
from rich.console import Console

from reports import scores
from reports.samples import validate


def row(category: str, task: str, metric: str, example: str, score: float) -> dict[str, object]:
    return {
        "category": category,
        "task": task,
        "metric": metric,
        "length": 512,
        "example_id": example,
        "cluster": example,
        "score": score,
    }


def test_averages_go_from_dataset_metrics_to_categories_to_overall() -> None:
    frame = pd.DataFrame(
        [
            row("recall", "a", "m", "1", 1.0),
            row("recall", "a", "m", "2", 0.0),
            row("recall", "b", "m", "3", 0.0),
            row("icl", "c", "m", "4", 1.0),
        ]
    )
    out = io.StringIO()
    Console(file=out, width=80).print(scores.terminal(frame))
    cells = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in out.getvalue().splitlines() if line.startswith("│")}
    assert cells == {"a m": "50.0", "b m": "0.0", "recall": "25.0", "c m": "100.0", "icl": "100.0", "overall": "62.5"}


@pytest.mark.parametrize(
    ("outputs", "reasons", "words"),
    [
        (["", " \n", "Oslo", ""], ["stop"] * 4, "Of 4 answers 3 are empty:"),
        (
            ["", "Oslo and", "Rome and", "x"],
            ["stop", "length", "length", "stop"],
            "Of 4 answers 1 is empty and 2 are cut off",
        ),
        (["<think>Oslo"] * 4, ["length"] * 4, "see --think-tokens"),
        (["Oslo", "Oslo", "", "Rome and"], ["stop", "stop", "stop", "length"], ""),
    ],
)
def test_an_evaluation_whose_answers_are_mostly_none_says_so(
    make_row: Callable[..., dict[str, object]], outputs: list[str], reasons: list[str], words: str
) -> None:
    pairs = zip(outputs, reasons, strict=True)
    rows = [make_row(example_id=f"e{n}", output=output, finish_reason=reason) for n, (output, reason) in enumerate(pairs)]
    said = scores.little_answered(validate(pd.DataFrame(rows)))
    assert words in said
    assert bool(said) == bool(words)
