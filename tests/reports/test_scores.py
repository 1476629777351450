"""The table of one evaluation shows HELMET's averages."""

import io

import pandas as pd
from rich.console import Console

from reports import scores


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
