"""Components of variance against the mean squares of balanced data, statsmodels' mixed model on others, and the truth."""

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import mixedlm

from reports.hierarchy import Floats, Ints
from reports.samples import validate
from reports.variance import Components, components, decompose

MakeSamples = Callable[..., pd.DataFrame]
#: Standard deviations of questions, seeds, seeds on single questions, shared answers, a seed's answers.
TRUE = (1.0, 0.5, 0.4, 0.8, 0.6)


def drawn(seed: int, questions: int, answers: int, seeds: int, sizes: tuple[float, ...] = TRUE) -> Floats:
    rng = np.random.default_rng(seed)
    shapes = ((questions, 1, 1), (1, 1, seeds), (questions, 1, seeds), (questions, answers, 1), (questions, answers, seeds))
    return np.asarray(sum(rng.normal(0, size, shape) for size, shape in zip(sizes, shapes, strict=True)), dtype=np.float64)


def torn(values: Floats, seed: int) -> tuple[Floats, Ints]:
    """Some questions with fewer answers."""
    numbers = np.random.default_rng(seed).integers(1, values.shape[1] + 1, len(values))
    return np.where(np.arange(values.shape[1])[None, :, None] < numbers[:, None, None], values, np.nan), numbers


def one_task(values: Floats) -> Ints:
    return np.zeros(len(values), dtype=np.intp)


def found(values: Floats, strata: Ints | None = None) -> Components:
    result = components(values, one_task(values) if strata is None else strata)
    assert result is not None
    return result


@pytest.mark.parametrize(("answers", "seeds"), [(4, 3), (2, 2), (3, 5)])
def test_balanced_data_give_the_mean_squares(answers: int, seeds: int) -> None:
    """Expected mean squares of questions x seeds with answers nested in questions, solved by hand."""
    y = drawn(1, 60, answers, seeds)
    n, g, s = y.shape
    grand, q, z, qz, qg = y.mean(), y.mean((1, 2)), y.mean((0, 1)), y.mean(1), y.mean(2)
    ms_q = g * s * ((q - grand) ** 2).sum() / (n - 1)
    ms_s = n * g * ((z - grand) ** 2).sum() / (s - 1)
    ms_qs = g * ((qz - q[:, None] - z[None] + grand) ** 2).sum() / ((n - 1) * (s - 1))
    ms_g = s * ((qg - q[:, None]) ** 2).sum() / (n * (g - 1))
    ms_r = ((y - qg[:, :, None] - qz[:, None] + q[:, None, None]) ** 2).sum() / (n * (g - 1) * (s - 1))
    result = found(y)
    assert result.of_answers == pytest.approx(ms_r)
    assert result.of_shared_answers == pytest.approx(max(0, (ms_g - ms_r) / s))
    assert result.of_seeds_by_question == pytest.approx(max(0, (ms_qs - ms_r) / g))
    assert result.of_seeds == pytest.approx(max(0, (ms_s - ms_qs) / (n * g)))
    assert result.of_questions == pytest.approx((ms_q - ms_g - ms_qs + ms_r) / (g * s))
    total = sum(result.parts().values())
    assert total == pytest.approx((ms_q + ms_s - ms_qs) / (n * g * s)), "what they say of the mean's variance"


def test_one_seed_is_a_one_way_layout() -> None:
    y = drawn(2, 40, 3, 1)
    within = y[:, :, 0].var(axis=1, ddof=1).mean()
    result = found(y)
    assert result.of_seeds is None
    assert result.of_shared_answers == pytest.approx(within)
    assert result.of_questions == pytest.approx(y.mean((1, 2)).var(ddof=1) - within / 3)


def fitted(formula: str, data: pd.DataFrame, **more: object) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mixedlm(formula, data, **more).fit(reml=True)


@pytest.mark.parametrize("seed", range(4))
def test_other_data_give_the_mixed_model_of_statsmodels(seed: int) -> None:
    y, numbers = torn(drawn(seed, 40, 6, 1), seed)
    strata = np.repeat(np.arange(2), 20)
    y = y + 3.0 * strata[:, None, None]
    data = pd.DataFrame([(q, strata[q], y[q, g, 0]) for q in range(len(y)) for g in range(numbers[q])], columns=["question", "task", "y"])
    model = fitted("y ~ C(task)", data, groups="question")
    result = found(y, strata)
    assert result.of_questions == pytest.approx(float(model.cov_re.iloc[0, 0]), rel=2e-3)  # type: ignore[attr-defined]
    assert result.of_shared_answers == pytest.approx(float(model.scale), rel=2e-3)  # type: ignore[attr-defined]


def test_seeds_and_questions_and_answers_together_are_those_of_statsmodels() -> None:
    y, numbers = torn(drawn(0, 25, 4, 3), 1)
    rows = [(f"q{q}", f"s{s}", f"q{q}s{s}", f"q{q}g{g}", y[q, g, s]) for q in range(len(y)) for g in range(numbers[q]) for s in range(3)]
    data = pd.DataFrame(rows, columns=["q", "s", "qs", "qg", "y"]).assign(all=1)
    names = ("q", "s", "qs", "qg")
    model = fitted("y ~ 1", data, groups="all", re_formula="0", vc_formula={name: f"0 + C({name})" for name in names})
    known = dict(zip(model.model.exog_vc.names, model.vcomp, strict=True))  # type: ignore[attr-defined]
    result = found(y)
    assert result.of_answers == pytest.approx(model.scale, rel=0.01)  # type: ignore[attr-defined]
    mine = (result.of_questions, result.of_seeds, result.of_seeds_by_question, result.of_shared_answers)
    for name, value in zip(names, mine, strict=True):
        assert value == pytest.approx(known[name], rel=0.03), name


@pytest.mark.parametrize("balanced", [True, False])
def test_components_are_right_on_average(balanced: bool) -> None:
    results = []
    for seed in range(150):
        y = drawn(seed, 50, 4, 5)
        results.append(found(y if balanced else torn(y, seed)[0]))
    columns = [[r.of_questions, r.of_seeds or 0.0, r.of_seeds_by_question, r.of_shared_answers or 0.0, r.of_answers] for r in results]
    means, errors = np.mean(columns, axis=0), np.std(columns, axis=0) / len(results) ** 0.5
    np.testing.assert_array_less(np.abs(means - np.square(TRUE)), 4 * errors)


def test_the_variance_of_the_mean_is_what_experiments_show() -> None:
    """Predicted from one experiment's shape for others of another size."""
    result = Components(1.0, 0.25, 0.16, 0.64, 0.36, questions=50, generations=4, seeds=5)
    means = [drawn(seed, 30, 2, 3).mean() for seed in range(1500)]
    assert np.var(means) == pytest.approx(sum(result.parts(30, 2, 3).values()), rel=0.12)


def scored(values: Floats, table: pd.DataFrame, rng: np.random.Generator, temperature: float = 0.7) -> pd.DataFrame:
    """A table of one task, a row a question, with ``values`` (questions, answers) as scores."""
    parts = [table.assign(score=values[:, g], generation=g + 1, temperature=temperature) for g in range(values.shape[1])]
    return validate(pd.concat(parts, ignore_index=True).sample(frac=1, random_state=int(rng.integers(99))))


def test_tables_are_taken_apart_as_their_scores_are(make_samples: MakeSamples) -> None:
    """Differences to a sampled baseline, paired by the number of the answer; rows in any order."""
    table = make_samples(suite=(("niah", "recall", ("em",)),), questions=30, lengths=(512,), depths=1)
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.7, (30, 3))
    trained = np.clip(base[:, :, None] + 0.05 * drawn(3, 30, 3, 2), 0, 1)
    candidate = [scored(trained[:, :, seed], table, rng) for seed in range(2)]
    result = decompose(candidate, [scored(base, table, rng)])
    assert result is not None
    expected = found(trained - base[:, :, None])
    for name in (
        "of_questions",
        "of_seeds",
        "of_seeds_by_question",
        "of_shared_answers",
        "of_answers",
        "questions",
        "generations",
        "seeds",
    ):
        assert getattr(result, name) == pytest.approx(getattr(expected, name), abs=1e-12), name


def test_the_parts_add_up_to_the_variance_over_tasks_and_lengths(make_samples: MakeSamples) -> None:
    """With one seed: what the questions' means show, summed as the overall score weighs them."""
    base, other = make_samples(questions=15), make_samples(questions=15, seed=1)
    rng = np.random.default_rng(0)
    pair = []
    for table in (other, base):
        parts = [
            table.assign(generation=g, temperature=1.0, score=(table["score"] + rng.normal(0, 0.05, len(table))).clip(0, 1)) for g in (1, 2)
        ]
        pair.append(validate(pd.concat(parts, ignore_index=True)))
    result = decompose(pair[:1], pair[1:])
    assert result is not None
    from reports.comparable import ordered
    from reports.hierarchy import design

    left, right = (ordered(each) for each in pair)
    plan, differences = design(left), (left["score"] - right["score"]).to_numpy()[:, None]
    expected = 0.0
    for stratum in plan.strata:
        pull = stratum.sums(differences)[:, :, 0] / stratum.counts().sum(axis=0) @ plan.weights[0, stratum.cells]
        expected += ((pull - pull.mean()) ** 2).sum() * len(pull) / (len(pull) - 1)
    assert sum(result.parts().values()) == pytest.approx(expected, rel=1e-9)


def test_greedy_answers_add_nothing_and_one_sampled_answer_tells_nothing(make_samples: MakeSamples) -> None:
    base, other = make_samples(questions=10), make_samples(questions=10, seed=1)
    greedy = decompose([other], [base])
    assert greedy is not None
    assert greedy.greedy
    assert greedy.of_shared_answers == 0
    once = [table.assign(generation=1, temperature=0.7) for table in (other, base)]
    sampled = decompose(once[:1], once[1:])
    assert sampled is not None
    assert not sampled.known


def test_a_baseline_with_seeds_of_its_own_leaves_its_share(make_samples: MakeSamples) -> None:
    base = make_samples(questions=10)
    seeds = [base.assign(score=(base["score"] + shift).clip(0, 1), model_digest=str(shift)) for shift in (0.0, 0.1)]
    result = decompose([make_samples(questions=10, seed=1)], seeds)
    assert result is not None
    assert result.fixed > 0
    assert result.parts()["training seeds"] == pytest.approx(result.fixed)


def test_single_questions_show_no_variance(make_samples: MakeSamples) -> None:
    assert decompose([make_samples(questions=1)]) is None
