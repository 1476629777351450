import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.hierarchy import design
from reports.permutation import exact, flips, holm, p_values, stepdown


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.25, 1.0]), min_size=1, max_size=9))
@settings(max_examples=40, deadline=None)
def test_few_values_are_enumerated(values: list[float]) -> None:
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    expected = np.mean([each >= abs(sum(values)) - 1e-9 for each in sums])
    assert exact(np.array(values)) == pytest.approx(expected, abs=1e-12)


def test_an_exact_value_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 10)
    theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided")
    assert exact(values) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_many_questions_of_which_few_differ_get_the_exact_value() -> None:
    """McNemar's exact test is the same question for 0/1 scores: 7 of 8 discordant questions favour the candidate."""
    rows = pd.DataFrame(
        [("recall", "niah", "em", 512, f"q{n}", f"e{n}") for n in range(200)],
        columns=["category", "task", "metric", "length", "cluster", "example_id"],
    )
    differences = np.zeros((200, 1))
    differences[:8, 0] = [1, 1, 1, 1, 1, 1, 1, -1]
    found = p_values(design(rows), differences, resamples=1000, rng=np.random.default_rng(0))
    assert found == pytest.approx(stats.binomtest(7, 8).pvalue, abs=1e-12)


def test_few_questions_are_flipped_in_every_way_together() -> None:
    """The corrected p-values of two tasks and their mean are those of all 2**10 arrangements, whatever the seed."""
    rows = pd.DataFrame(
        [("recall", task, "em", 512, f"{task}{n}", f"{task}{n}") for task, count in (("a", 4), ("b", 6)) for n in range(count)],
        columns=["category", "task", "metric", "length", "cluster", "example_id"],
    )
    values = np.random.default_rng(1).normal(0.4, 1, (10, 1))
    plan = design(rows)
    found = [flips(plan, values, resamples=1024, rng=np.random.default_rng(seed)) for seed in (0, 1)]
    assert found[0].exact
    assert not flips(plan, values, resamples=1023, rng=np.random.default_rng(0)).exact
    members = np.array([[each.length is None] for each in plan.targets])
    corrected = [stepdown(each, members) for each in found]
    assert np.array_equal(corrected[0], corrected[1], equal_nan=True)
    signs = np.array(list(itertools.product((1, -1), repeat=10)))
    parts = {
        each.task: np.where([name == each.task for name in rows["task"]], 1 / each.n_clusters, 0) for each in plan.targets if each.task
    }
    parts[None] = (parts["a"] + parts["b"]) / 2
    shares = {at: parts[each.task] * values[:, 0] for at, each in enumerate(plan.targets) if each.length is None}
    distance = {at: np.abs(signs @ each) / np.sqrt((each**2).sum()) for at, each in shares.items()}
    observed = {at: abs(each.sum()) / np.sqrt((each**2).sum()) for at, each in shares.items()}
    left, before = dict(distance), 0.0
    for at in sorted(observed, key=lambda name: -observed[name]):
        before = max(before, float((np.max(list(left.values()), axis=0) >= observed[at] - 1e-9).mean()))
        assert corrected[0][at, 0] == pytest.approx(before, abs=1e-12)
        del left[at]


def test_holm_steps_down() -> None:
    assert holm([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_holm_lies_between_no_correction_and_bonferronis(p: list[float]) -> None:
    for adjusted, plain in zip(holm(p), p, strict=True):
        assert plain <= adjusted <= min(1, plain * len(p)) + 1e-12
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(holm(p))[order]) >= 0).all()
