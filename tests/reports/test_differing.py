"""Single examples on a terminal: what changed most comes first, with what was read as the answer."""

import pandas as pd
import pytest

from reports.comparison import CompareError
from reports.differing import differing, terminal


def table(scores: list[float], outputs: list[str], parsed: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": "nq",
            "length": 8192,
            "metric": "em",
            "example_id": [f"e{number}" for number in range(len(scores))],
            "score": scores,
            "output": outputs,
            "parsed": parsed,
            "targets": '["Paris"]',
        }
    )


def test_the_largest_change_comes_first_and_says_what_was_read() -> None:
    before = table([1.0, 0.0, 0.5], ["Answer: Paris\nso", "x", "y"], ["Paris", "x", "y"])
    after = table([0.0, 0.0, 0.25], ["Answer: Rome\nno", "x", "z"], ["Rome", "x", "z"])
    found = differing(before, after, 5)
    assert [each.example for each in found] == ["e0", "e2"], "e1 did not change"
    said = terminal(found, ("baseline", "ours")).plain
    assert "nq, 8K, example e0: em 100.0 -> 0.0" in said
    assert "ours: Answer: Rome no" in said
    assert "read as  Rome" in said
    assert "read as  z" not in said, "the whole output was read"
    assert len(differing(before, after, 1)) == 1


def test_tables_of_other_examples_are_refused() -> None:
    other = table([1.0], ["a"], [""]).assign(example_id="other")
    with pytest.raises(CompareError, match="share no example"):
        differing(table([1.0], ["a"], [""]), other, 3)
