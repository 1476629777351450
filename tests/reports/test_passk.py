"""pass@k against counting all subsets of answers, and against the definition in the paper."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import passk
from reports.samples import validate

MakeSamples = Callable[..., pd.DataFrame]
SUITE = (("kv", "recall", ("em",)), ("mv", "recall", ("share",)))


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.lists(st.booleans(), min_size=n, max_size=n), st.integers(1, n))))
def test_it_is_the_share_of_subsets_with_a_right_answer(drawn: tuple[list[bool], int]) -> None:
    right, k = drawn
    subsets = list(combinations(right, k))
    assert passk.pass_at(len(right), sum(right), k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@given(st.integers(1, 200), st.data())
def test_it_is_the_product_of_the_published_code(n: int, data: st.DataObject) -> None:
    """Chen et al. 2021, figure 3."""
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    published = 1.0 if n - c < k else 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))
    assert passk.pass_at(n, c, k) == pytest.approx(published)


def test_it_is_unbiased() -> None:
    rng, p, n, k = np.random.default_rng(0), 0.3, 5, 3
    estimates = [passk.pass_at(n, int(c), k) for c in rng.binomial(n, p, 20_000)]
    assert np.mean(estimates) == pytest.approx(1 - (1 - p) ** k, abs=4 * np.std(estimates) / 20_000**0.5)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 1, 0), (3, 4, 1), (3, -1, 1)])
def test_what_cannot_be_told_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        passk.pass_at(n, c, k)


@pytest.fixture
def table(make_samples: MakeSamples) -> pd.DataFrame:
    base = make_samples(suite=SUITE, questions=6, lengths=(512,), depths=1)
    many = pd.concat([base.assign(generation=number, temperature=1.0) for number in (1, 2, 3, 4)], ignore_index=True)
    rng = np.random.default_rng(0)
    score = np.where(many["metric"] == "em", rng.integers(0, 2, len(many)), many["score"])
    return validate(many.assign(score=score.astype(float)))


def test_tables_keep_only_metrics_that_are_right_or_wrong(table: pd.DataFrame) -> None:
    (found,), left = passk.at([table], 2)
    assert left == ["mv share"]
    assert set(found["task"]) == {"kv"}
    right = table[table["task"] == "kv"].groupby("example_id")["score"].sum()
    for example, score in zip(found["example_id"], found["score"], strict=True):
        assert score == pytest.approx(passk.pass_at(4, int(right[example]), 2))
    (mean,), _ = passk.at([table], 1)
    assert mean["score"].mean() == pytest.approx(table[table["task"] == "kv"]["score"].mean())


def test_too_few_answers_and_no_such_metric_are_said(table: pd.DataFrame) -> None:
    with pytest.raises(passk.PassError, match="takes 5 answers to each prompt, and some have 4"):
        passk.at([table], 5)
    with pytest.raises(passk.PassError, match="none here is"):
        passk.at([table[table["task"] == "mv"]], 2)
    assert passk.terminal(table.drop(columns="generation").drop_duplicates(["task", "example_id"])) is None


def test_the_shown_numbers_of_tries() -> None:
    assert [passk.shown(n) for n in (1, 2, 3, 8, 10)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 10]]
