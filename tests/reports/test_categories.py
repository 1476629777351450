"""Five categories or seven: one kind of mean in a table."""

import numpy as np
import pandas as pd
import pytest

from reports.categories import FIVE, LONGER, counted, only_five, said
from reports.hierarchy import design

SEVEN = (*FIVE, *LONGER)
#: Category -> its score, so that means tell which are in them.
SCORES = {name: float(2**at) for at, name in enumerate(SEVEN)}


def table(categories: dict[int, tuple[str, ...]]) -> pd.DataFrame:
    """Two questions of each category at each length."""
    rows = [
        {"category": name, "task": name, "metric": "m", "length": length, "example_id": f"{name}{n}", "cluster": f"{name}{n}"}
        for length, names in categories.items()
        for name in names
        for n in range(2)
    ]
    return pd.DataFrame(rows)


def overall(frame: pd.DataFrame) -> dict[int | None, float]:
    plan = design(frame)
    means = plan.means(frame["category"].map(SCORES).to_numpy(dtype=np.float64)[:, None])[:, 0]
    return {target.length: mean for target, mean in zip(plan.targets, means, strict=True) if target.scope == "overall"}


def mean(names: tuple[str, ...]) -> float:
    return sum(SCORES[name] for name in names) / len(names)


@pytest.mark.parametrize("names", [FIVE, SEVEN, (*FIVE, "longqa"), LONGER, ("recall", "summ")])
def test_categories_that_are_everywhere_count(names: tuple[str, ...]) -> None:
    expected = pytest.approx(mean(names))
    assert overall(table({8_192: names, 16_384: names})) == {None: expected, 8_192: expected, 16_384: expected}


@pytest.mark.parametrize(("there", "left"), [(SEVEN, FIVE), ((*FIVE, "summ"), FIVE)])
def test_a_category_that_comes_and_goes_is_in_no_overall_score(there: tuple[str, ...], left: tuple[str, ...]) -> None:
    found = overall(table({8_192: left, 16_384: there}))
    assert found == dict.fromkeys((None, 8_192, 16_384), pytest.approx(mean(left))), "or means over five and seven stood side by side"
    plan = design(table({8_192: left, 16_384: there}))
    assert {target.category for target in plan.targets if target.scope == "category"} == set(there), "it keeps its own lines"


def test_a_length_with_nothing_else_keeps_what_it_has() -> None:
    frame = table({8_192: FIVE, 16_384: LONGER})
    assert len(counted(frame)) == len(frame)


def test_the_mean_over_five_stays_available() -> None:
    frame = table({8_192: SEVEN})
    assert overall(only_five(frame))[None] == pytest.approx(mean(FIVE))


def test_a_table_says_what_its_overall_score_is() -> None:
    assert said(FIVE) == ""
    assert said(SEVEN) == "overall: the mean over HELMET's seven categories"
    assert said(["recall", "longqa"]) == "overall: the mean over 2 categories, not HELMET's seven"
    assert said(["longqa"]) == "overall: one category, not HELMET's seven"
