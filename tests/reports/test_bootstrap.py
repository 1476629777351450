import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.bootstrap import Estimate, Interval, estimate
from reports.hierarchy import Design, Floats, design

Make = Callable[..., pd.DataFrame]
FIELDS = ("category", "task", "metric", "length", "cluster", "example_id")


def layout(rows: Sequence[tuple[str, str, str, int, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(FIELDS))


def one_stratum(clusters: Sequence[int], length: int = 512) -> pd.DataFrame:
    """One dataset-metric whose i-th cluster has ``clusters[i]`` examples."""
    return layout([("recall", "niah", "em", length, f"q{c}", f"q{c}e{e}") for c, size in enumerate(clusters) for e in range(size)])


def run(rows: pd.DataFrame, differences: Floats, *, resamples: int = 2000, seed: int = 0, expand: bool = True) -> tuple[Design, Estimate]:
    plan = design(rows)
    rng = np.random.default_rng(seed)
    return plan, estimate(plan, differences.reshape(len(rows), -1), resamples=resamples, confidence=0.95, rng=rng, expand=expand)


def at(plan: Design, scope: str, length: int | None = None, name: str | None = None) -> int:
    return next(i for i, t in enumerate(plan.targets) if (t.scope, t.length) == (scope, length) and name in (None, t.category, t.task))


def test_means_are_helmets_averages_worked_by_hand() -> None:
    rows = layout(
        [
            ("recall", "niah", "em", 512, "a", "1"),
            ("recall", "niah", "em", 512, "b", "2"),
            ("recall", "kv", "em", 512, "a", "1"),
            ("cite", "asqa", "str_em", 512, "a", "1"),
            ("cite", "asqa", "rec", 512, "a", "1"),
            ("cite", "qampari", "rec", 512, "a", "1"),
            ("cite", "qampari", "rec", 512, "a", "2"),
            ("cite", "qampari", "rec", 512, "b", "3"),
            ("recall", "niah", "em", 1024, "a", "1"),
        ]
    )
    scores = np.array([1.0, 0.5, 0.25, 0.6, 0.3, 0.0, 0.2, 0.7, 0.1])
    plan = design(rows)
    means = plan.means(scores[:, None])[:, 0]
    assert means[at(plan, "task", 512, "niah")] == pytest.approx(0.75, abs=1e-12)
    assert means[at(plan, "task", 512, "qampari")] == pytest.approx(0.3, abs=1e-12)
    assert means[at(plan, "category", 512, "recall")] == pytest.approx((0.75 + 0.25) / 2, abs=1e-12)
    assert means[at(plan, "category", 512, "cite")] == pytest.approx((0.6 + 0.3 + 0.3) / 3, abs=1e-12)
    assert means[at(plan, "overall", 512)] == pytest.approx((0.5 + 0.4) / 2, abs=1e-12)
    assert means[at(plan, "overall", 1024)] == pytest.approx(0.1, abs=1e-12)
    assert means[at(plan, "overall")] == pytest.approx((0.45 + 0.1) / 2, abs=1e-12)
    assert means[at(plan, "category", None, "cite")] == pytest.approx(0.4, abs=1e-12)


@pytest.mark.parametrize(
    ("categories", "average"),
    [
        ((99.8, 72.6, 77.3, 36.1, 80.8, 35.3, 26.7), 61.2),  # GPT-4o-mini at 8K, as published by HELMET
        ((100.0, 73.9, 82.6, 45.4, 86.9, 41.8, 28.3), 65.5),  # GPT-4o-08
        ((97.3, 65.8, 64.1, 17.3, 46.6, 23.6, 0.1), 45.0),  # Llama-3.1-8B
    ],
)
def test_overall_is_the_published_average_of_the_categories(categories: tuple[float, ...], average: float) -> None:
    rows = layout([(f"c{i}", f"t{i}", "m", 8192, "q", "e") for i in range(len(categories))])
    plan = design(rows)
    assert 100 * plan.means(np.array(categories)[:, None] / 100)[at(plan, "overall", 8192), 0] == pytest.approx(average, abs=0.06)


def test_targets_count_examples_once_and_questions_once_over_lengths(make_samples: Make) -> None:
    plan = design(make_samples(questions=6, depths=2, lengths=(512, 1024)))
    overall, at_512 = plan.targets[at(plan, "overall")], plan.targets[at(plan, "overall", 512)]
    assert (overall.n_examples, overall.n_clusters) == (3 * 2 * 6 * 2, 3 * 6)
    assert (at_512.n_examples, at_512.n_clusters) == (3 * 6 * 2, 3 * 6)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_means_equal_pandas_nested_group_means(seed: int, tasks: int, lengths: int, questions: int) -> None:
    rng = np.random.default_rng(seed)
    rows = layout(
        [
            (f"c{task % 2}", f"t{task}", f"m{metric}", 512 << length, f"q{q}", f"q{q}d{d}")
            for task in range(tasks)
            for length in range(lengths)
            for q in range(questions)
            for d in range(1 + (q + task) % 3)
            for metric in range(1 + task % 2)
        ]
    ).sample(frac=1, random_state=seed)
    scored = rows.assign(score=rng.random(len(rows)))
    cells = scored.groupby(["category", "task", "metric", "length"])["score"].mean()
    overall = cells.groupby(["category", "length"]).mean().groupby("length").mean()
    plan = design(rows)
    means = plan.means(scored["score"].to_numpy()[:, None])[:, 0]
    assert means[at(plan, "overall")] == pytest.approx(overall.mean(), abs=1e-12)
    assert plan.weights.sum(axis=1) == pytest.approx(np.ones(len(plan.targets)), abs=1e-12)


def test_interval_agrees_with_scipy_for_independent_examples() -> None:
    rng = np.random.default_rng(5)
    baseline = rng.beta(2, 2, 80)
    candidate = np.clip(baseline + rng.normal(0.03, 0.1, 80), 0, 1)
    plan, ours = run(one_stratum([1] * 80), candidate - baseline, resamples=20_000, expand=False)
    theirs = stats.bootstrap(
        (candidate, baseline),
        lambda a, b, axis: (a - b).mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(6),
    )
    monte_carlo = 0.12 * theirs.standard_error  # 4.5 standard errors of the difference of two such quantiles
    where = at(plan, "overall", 512)
    assert ours.low[where, 0] == pytest.approx(theirs.confidence_interval.low, abs=monte_carlo)
    assert ours.high[where, 0] == pytest.approx(theirs.confidence_interval.high, abs=monte_carlo)
    assert ours.mde[where, 0] == pytest.approx((1.959964 + 0.841621) * theirs.standard_error, rel=0.03)


def test_spread_of_the_overall_score_adds_up_over_strata() -> None:
    """The strata share a pool of draws; if that correlated them, the variance would not be the sum."""
    rng = np.random.default_rng(1)
    tasks, questions = 12, 40
    rows = layout([(f"c{t % 3}", f"t{t}", "m", 512, f"q{q}", f"e{q}") for t in range(tasks) for q in range(questions)])
    for differences in (rng.normal(0, 0.2, (tasks, questions)), np.tile(rng.normal(0, 0.2, questions), (tasks, 1))):
        plan, found = run(rows, differences, resamples=20_000)
        expected = np.sqrt((differences.var(axis=1) / questions).sum()) / tasks
        assert found.mde[at(plan, "overall", 512), 0] / (1.959964 + 0.841621) == pytest.approx(expected, rel=0.03)


def test_lengths_that_ask_the_same_questions_are_not_independent() -> None:
    rng = np.random.default_rng(2)
    effect = rng.normal(0, 0.2, 40)
    both = np.concatenate([effect, effect])
    same = pd.concat([one_stratum([1] * 40, 512), one_stratum([1] * 40, 1024)], ignore_index=True)
    others = same.assign(cluster=same["cluster"] + "@" + same["length"].astype(str))
    linked, separate = (run(rows, both, resamples=8000) for rows in (same, others))
    single, mean = at(linked[0], "overall", 512), at(linked[0], "overall")
    assert linked[1].mde[mean, 0] == pytest.approx(linked[1].mde[single, 0], rel=1e-9)
    assert separate[1].mde[mean, 0] == pytest.approx(separate[1].mde[single, 0] / np.sqrt(2), rel=0.05)


def test_metrics_of_one_example_share_its_resample() -> None:
    rng = np.random.default_rng(3)
    effect = rng.normal(0, 0.2, 40)
    rows = layout([("cite", "asqa", metric, 512, f"q{q}", f"e{q}") for metric in ("a", "b") for q in range(40)])
    plan, found = run(rows, np.concatenate([effect, -effect]))
    assert found.mde[at(plan, "category", 512), 0] == pytest.approx(0, abs=1e-12)
    assert found.mde[at(plan, "task", 512), 0] > 0.05


def test_lengths_with_partly_the_same_questions_never_divide_by_zero() -> None:
    rows = pd.concat([one_stratum([1] * 12, 512), one_stratum([1] * 2, 1024)], ignore_index=True)
    _, found = run(rows, np.linspace(-0.3, 0.4, len(rows)))
    assert np.isfinite(found.low).all()
    assert np.isfinite(found.high).all()


def coverage(cluster_size: int, *, clustered: bool, simulations: int = 200) -> float:
    """How often the 95% interval holds a true difference of 0, when examples of a question share most of their noise."""
    questions = 40
    rows = one_stratum([cluster_size] * questions)
    plan = design(rows if clustered else rows.assign(cluster=rows["example_id"]))
    held = 0
    for simulation in range(simulations):
        rng = np.random.default_rng(simulation)
        noise = rng.normal(0, 0.2, (questions, 1)) + rng.normal(0, 0.1, (questions, cluster_size))
        found = estimate(plan, noise.reshape(-1, 1), resamples=400, confidence=0.95, rng=rng)
        held += bool(found.low[0, 0] <= 0 <= found.high[0, 0])
    return held / simulations


def test_intervals_cover_the_truth_as_often_as_they_claim() -> None:
    assert 0.89 <= coverage(3, clustered=True) <= 0.99


def test_ignoring_clusters_would_not_cover() -> None:
    assert coverage(3, clustered=False) < 0.87


def exact_p(rows: pd.DataFrame, differences: Floats, length: int | None = None) -> float:
    plan = design(rows)
    units = rows["task"] + rows["cluster"]
    names = sorted(set(units))
    signs = np.array(list(itertools.product([-1, 1], repeat=len(names)))).T
    flipped = differences[:, None] * signs[[names.index(unit) for unit in units]]
    found = np.abs(plan.means(flipped)[at(plan, "overall", length)])
    return float((found >= abs(plan.means(differences[:, None])[at(plan, "overall", length), 0]) - 1e-12).mean())


def test_permutation_p_agrees_with_every_sign_pattern() -> None:
    rng = np.random.default_rng(8)
    rows = pd.concat([one_stratum([1, 3, 2, 1, 2]), one_stratum([2, 1, 1, 3]).assign(task="nq", category="rag")], ignore_index=True)
    differences = rng.normal(0.1, 0.2, len(rows))
    exact = exact_p(rows, differences, 512)
    plan, found = run(rows, differences, resamples=40_000)
    assert 0.02 < exact < 0.6
    assert found.p[at(plan, "overall", 512), 0] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 40_000))


def test_p_is_never_zero_and_one_without_any_difference() -> None:
    rows = one_stratum([1] * 30)
    plan, found = run(rows, np.column_stack([np.full(30, 0.5), np.zeros(30)]), resamples=999)
    assert found.p[at(plan, "overall", 512)] == pytest.approx([1 / 1000, 1.0])


def test_p_values_are_uniform_without_a_true_difference() -> None:
    rows = one_stratum([2] * 25)
    differences = np.repeat(np.random.default_rng(4).normal(0, 0.2, (25, 400)), 2, axis=0)
    _, found = run(rows, differences, resamples=500)
    assert 0.02 <= (found.p[0] < 0.05).mean() <= 0.085
    assert stats.kstest(found.p[0], "uniform").pvalue > 0.001


def test_a_single_question_has_no_interval() -> None:
    rows = pd.concat([one_stratum([4]), one_stratum([1] * 9).assign(task="nq", category="rag")], ignore_index=True)
    plan, found = run(rows, np.linspace(-1, 1, len(rows)))
    assert np.isnan(found.low[at(plan, "overall", 512), 0])
    assert np.isnan(found.mde[at(plan, "category", 512, "recall"), 0])
    assert np.isfinite(found.low[at(plan, "category", 512, "rag"), 0])


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6), st.floats(-0.5, 0.5))
@settings(max_examples=30, deadline=None)
def test_intervals_shift_and_mirror_with_the_differences(values: list[float], shift: float) -> None:
    rows = one_stratum([2, 1, 3])
    differences = np.array(values)
    _, found = run(rows, np.column_stack([differences, differences + shift, -differences]), resamples=200)
    assert found.low[:, 1] == pytest.approx(found.low[:, 0] + shift, abs=1e-9)
    assert found.low[:, 2] == pytest.approx(-found.high[:, 0], abs=1e-9)
    assert found.p[:, 2] == pytest.approx(found.p[:, 0])
    assert (found.low[:, 0] <= found.high[:, 0]).all()
    assert found.low.min() >= np.minimum(differences.min() + min(shift, 0), -differences.max()) - 1e-9


def test_bca_agrees_with_scipy_on_skewed_scores() -> None:
    rng = np.random.default_rng(7)
    differences = (rng.random(90) < 0.08).astype(float) - 0.3 * rng.random(90) ** 4
    plan = design(one_stratum([1] * 90))
    ours = estimate(
        plan, differences[:, None], resamples=40_000, confidence=0.95, rng=np.random.default_rng(0), interval="bca", expand=False
    )
    theirs = stats.bootstrap((differences,), np.mean, method="BCa", n_resamples=40_000, rng=np.random.default_rng(1))
    plain = estimate(plan, differences[:, None], resamples=40_000, confidence=0.95, rng=np.random.default_rng(0), expand=False)
    where, monte_carlo = at(plan, "overall", 512), 0.08 * theirs.standard_error
    assert ours.low[where, 0] == pytest.approx(theirs.confidence_interval.low, abs=monte_carlo)
    assert ours.high[where, 0] == pytest.approx(theirs.confidence_interval.high, abs=monte_carlo)
    assert ours.low[where, 0] > plain.low[where, 0] + monte_carlo, "the correction moves a skewed interval"


def test_bca_of_identical_scores_is_a_point() -> None:
    plan = design(one_stratum([2] * 10))
    found = estimate(plan, np.zeros((20, 1)), resamples=50, confidence=0.9, rng=np.random.default_rng(0), interval="bca")
    assert (found.low == 0).all()
    assert (found.high == 0).all()


@pytest.mark.parametrize("n_seeds", [2, 3, 8])
def test_training_seeds_add_their_own_variance(n_seeds: int) -> None:
    """Var(mean) = questions' variance / n + seeds' variance / seeds, the seeds' estimated without bias."""
    rng = np.random.default_rng(n_seeds)
    effect = rng.normal(0, 0.05, n_seeds)
    scores = rng.normal(0, 0.2, (100, 1)) + effect
    plan = design(one_stratum([1] * 100))
    mean = scores.mean(axis=1, keepdims=True)
    found = estimate(plan, mean, resamples=20_000, confidence=0.95, rng=np.random.default_rng(0), seeds={0: [scores - mean]})
    expected = np.sqrt(mean.var() / 100 + effect.var(ddof=1) / n_seeds)
    assert found.mde[at(plan, "overall", 512), 0] / (1.959964 + 0.841621) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("interval", ["percentile", "bca"])
def test_few_questions_get_student_s_interval(interval: Interval) -> None:
    """With normal differences the expanded interval of one dataset is the t interval (here within the noise of its far quantiles)."""
    values = stats.norm.ppf((np.arange(12) + 0.5) / 12) * 0.1
    plan = design(one_stratum([1] * 12))
    rng = np.random.default_rng(0)
    found = estimate(plan, values[:, None], resamples=40_000, confidence=0.95, rng=rng, interval=interval)
    student = stats.t.ppf(0.975, 11) * values.std(ddof=1) / np.sqrt(12)
    assert found.high[0, 0] == pytest.approx(student, rel=0.06)
    assert found.low[0, 0] == pytest.approx(-student, rel=0.06)


def test_many_questions_are_not_widened() -> None:
    rows = one_stratum([1] * 3000)
    differences = np.random.default_rng(0).normal(0, 0.2, 3000)
    ours, plain = (run(rows, differences, resamples=3000, expand=each)[1] for each in (True, False))
    assert ours.high == pytest.approx(plain.high, rel=0.01, abs=1e-4)
