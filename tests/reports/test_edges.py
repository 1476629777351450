"""Where data are few, rare or seeded: what may be said there, and what may not."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.bootstrap import spread
from reports.check import check
from reports.compare import CompareError, Comparison, compare, compare_methods, verdict, verdicts
from reports.comparison import percent
from reports.hierarchy import Floats, design
from reports.leaderboard import Board, Entry, board
from reports.noise import noise, sentence
from reports.pairs import letters
from reports.permutation import exact, flips, stepdown, tail
from reports.policy import Policy, parse
from reports.power import Shape, detectable, power, questions_for
from reports.tables import json_text

Make = Callable[..., pd.DataFrame]
ONE = (("niah", "recall", ("em",)),)


@pytest.fixture
def scored(make_samples: Make) -> Callable[..., pd.DataFrame]:
    """One task at one length, one row a question, with these scores."""

    def make(scores: Floats | list[float], **columns: object) -> pd.DataFrame:
        frame = make_samples(suite=ONE, questions=len(scores), depths=1, lengths=(512,))
        place = frame["cluster"].str.removeprefix("q").astype(int).to_numpy()
        return frame.assign(score=np.asarray(scores, dtype=float)[place], **columns)

    return make


def overall(found: list[Comparison]) -> Comparison:
    return next(each for each in found if each.scope == "overall" and each.length is None)


def test_a_check_never_passes_a_margin_that_its_questions_could_not_show(scored: Make) -> None:
    equal = scored(np.ones(100))
    for margin, code in ((0.005, 4), (0.028, 4), (0.031, 0)):
        policy = Policy(margin_overall=margin, margin_category=None)
        assert check(equal, equal.assign(model_digest="b"), policy, resamples=1000).exit_code == code
    (found, *_) = check(equal, equal, Policy(margin_overall=0.005)).findings
    assert "at least −3.0" in found.figures
    for questions in (2, 3, 5):
        few = scored(np.linspace(0.4, 0.6, questions))
        better = few.assign(score=few["score"] + np.linspace(0.2, 0.21, len(few)))
        assert check(few, better, Policy(margin_overall=0.3), resamples=200).exit_code == 4


@pytest.mark.parametrize("questions", [30, 100, 200])
def test_a_rare_loss_at_the_margin_rarely_passes(questions: int) -> None:
    """A question in a hundred is lost and the margin is that: at most 5% may pass."""
    names = [f"e{n}" for n in range(questions)]
    frame = pd.DataFrame({"category": "recall", "task": "niah", "metric": "em", "length": 512, "cluster": names, "example_id": names})
    plan = design(frame)
    chances = stats.binom.pmf(np.arange(5), questions, 0.01)
    passed = 0.0
    for lost, chance in enumerate(chances):
        scores = -(np.arange(questions) < lost).astype(float)
        found = spread(plan, scores[:, None], resamples=2000, rng=np.random.default_rng(0), rare=True)
        passed += chance * bool(found.limits(0.05)[0][0, 0] > -0.01)
    assert passed <= 0.06


def test_with_few_differing_questions_the_bound_is_near_the_exact_one() -> None:
    names = [f"e{n}" for n in range(100)]
    frame = pd.DataFrame({"category": "recall", "task": "niah", "metric": "em", "length": 512, "cluster": names, "example_id": names})
    for lost in (0, 1, 3, 8):
        scores = -(np.arange(100) < lost).astype(float)
        found = spread(design(frame), scores[:, None], resamples=20_000, rng=np.random.default_rng(1), rare=True)
        theirs = stats.binomtest(lost, 100).proportion_ci(0.90, "exact").high
        assert -found.limits(0.05)[0][0, 0] == pytest.approx(theirs, rel=0.08)


def test_a_check_fails_only_where_the_loss_is_surely_beyond_the_margin(scored: Make) -> None:
    """Detectably lower, but by less than may be lost or by not surely more: no regression is claimed."""
    rng = np.random.default_rng(0)
    base = scored(np.full(100, 0.6))
    for loss, code in ((0.1, 1), (0.022, 4)):
        lower = base.assign(score=0.6 - loss + rng.normal(0, 0.03, 100))
        assert check(base, lower, Policy(margin_overall=0.02, margin_category=None), resamples=1000).exit_code == code


def test_a_policy_gates_every_length_and_task(make_samples: Make) -> None:
    base = make_samples(suite=ONE, questions=60, lengths=(8192, 131072))
    longest = base["length"] == 131072
    moved = base["score"] - 0.12 * longest + 0.1 * ~longest + np.random.default_rng(0).normal(0, 0.01, len(base))
    lower = base.assign(score=moved.clip(0, 1))
    mean_only = Policy(margin_overall=0.03, margin_category=None)
    assert check(base, lower, mean_only, resamples=500).exit_code == 0, "the mean hides it"
    gated = parse("[margin]\noverall = 3\nlength = 4.0\nlengths = { 131072 = 5.0 }\ntasks = { niah = 5 }\n", "p")
    found = {each.name: each.status for each in check(base, lower, gated, resamples=500).findings}
    assert found["overall at 8K"] == "pass"
    assert found["overall at 128K"] == "fail"
    assert found["niah em at 128K"] == "fail"
    with pytest.raises(CompareError, match="length '4096'; these evaluations have 131072, 8192"):
        check(base, lower, parse("[margin]\nlengths = { 4096 = 5.0 }\n", "p"), resamples=100)


def test_one_training_seed_is_one_checkpoint_and_says_what_a_claim_takes(scored: Make) -> None:
    base = scored(np.full(40, 0.4))
    better = base.assign(score=0.6 + np.random.default_rng(0).normal(0, 0.05, 40))
    said = verdict(compare(base, better, resamples=500), candidate="retmask")
    assert "this trained checkpoint" in said
    assert "takes about 2 training seeds" in said
    noisy = [base.assign(score=0.6 + shift + np.random.default_rng(at).normal(0, 0.05, 40)) for at, shift in enumerate((-0.1, 0.1))]
    two = overall(compare(base, noisy, resamples=500))
    assert two.sign == 0, "two seeds 20 points apart show nothing of the method"
    assert two.p > 0.05, "and the p-value is of the method too"
    assert "cannot be told from two seeds" in verdict([two])


def test_no_effect_is_called_detectable_that_the_interval_would_hold_beside_0(make_samples: Make) -> None:
    """Two seeds that hardly differ from the baseline: by the normal approximation, half a point would be found."""
    base = make_samples(questions=12, depths=1).assign(score=1.0)
    lines = [each for each in compare(base, [base, base.assign(model_digest="b")], resamples=200) if not np.isnan(each.low)]
    moved = [base.assign(model_digest=name, score=np.where(base.index == at, 0.9, 1.0)) for at, name in enumerate("ab")]
    lines += compare(base, moved, resamples=200)
    assert all(each.mde >= (each.high - each.low) / 2 for each in lines)
    assert min(each.mde for each in lines) > 0.02


def test_three_questions_that_differ_promise_no_smaller_effect_than_their_interval(scored: Make) -> None:
    """Of 96: three sizes say little of those to come, and a world in which as few differ may need three times what they suggest."""
    base, moved = np.full(96, 0.5), np.full(96, 0.5)
    moved[:3] += (0.05, 0.1, 0.2)
    few = overall(compare(scored(list(base)), scored(list(moved)), resamples=500))
    assert few.mde >= (few.high - few.low) / 2 > 0.014
    moved[:6] = 0.6
    assert overall(compare(scored(list(base)), scored(list(moved)), resamples=500)).mde < 0.02  # six are enough


@pytest.mark.parametrize(("seeds", "ratio"), [(2, 0.0), (2, 1.0), (2, 10.0), (3, 4.0), (5, 2.0)])
def test_intervals_cover_the_choice_of_seeds(seeds: int, ratio: float) -> None:
    """Training seeds differ by ``ratio`` standard errors of the questions; the method changes nothing."""
    questions, error = 40, 0.2 / np.sqrt(40)
    names = [f"e{n}" for n in range(questions)]
    plan = design(pd.DataFrame({"category": "r", "task": "t", "metric": "m", "length": 512, "cluster": names, "example_id": names}))
    held = 0
    for number in range(150):
        rng = np.random.default_rng([seeds, number])
        scores = rng.normal(0, 0.2, (questions, 1)) + rng.normal(0, ratio * error, seeds)
        mean = scores.mean(axis=1, keepdims=True)
        found = spread(plan, mean, resamples=200, rng=rng, seeds={0: [scores - mean]}, rare=True)
        low, high = found.limits(0.025)
        held += bool(low[0, 0] <= 0 <= high[0, 0])
    assert held / 150 >= 0.90


def test_the_same_evaluation_twice_is_no_second_seed(scored: Make) -> None:
    base = scored(np.linspace(0, 1, 20))
    same = base.assign(score=0.5, model_digest="trained")
    found = compare_methods(base, {"method": [same, same.copy()]}, resamples=50)
    assert found.notes == ("method: the same evaluation is given as several training seeds; it counts as one.",)
    assert overall(found.methods["method"]).n_seeds == 1
    (row, _) = board([Entry("method", [same, same.copy()]), Entry("base", base)], resamples=50).columns[0].rows
    assert row.seeds == 1


def test_a_contrast_says_how_many_seeds_each_side_has(scored: Make) -> None:
    rng = np.random.default_rng(0)
    base = scored(np.full(30, 0.4))
    ours = [base.assign(score=0.6 + rng.normal(0, 0.05, 30)) for _ in range(3)]
    found = compare_methods(base, {"ours": ours, "control": base.assign(score=0.5 + rng.normal(0, 0.05, 30))}, resamples=200)
    contrast = overall(found.contrasts["ours minus control"])
    assert (contrast.n_seeds, contrast.n_seeds_baseline) == (3, 1)
    swapped = compare_methods(base, {"control": base.assign(score=0.5), "ours": ours}, resamples=200)
    assert "1 training seed against 3" in verdicts(swapped)[-1]


def rows(found: Board) -> dict[str, tuple[int, int]]:
    return {row.name: (row.best, row.worst) for row in found.columns[0].rows}


def test_a_difference_on_every_question_is_the_surest_of_all(scored: Make) -> None:
    models = {"ones": np.ones(40), "half": np.full(40, 0.5), "zeros": np.zeros(40)}
    found = board([Entry(name, scored(scores, model_digest=name)) for name, scores in models.items()], resamples=500)
    assert rows(found) == {"ones": (1, 1), "half": (2, 2), "zeros": (3, 3)}
    assert [row.letters for row in found.columns[0].rows] == ["a", "b", "c"]


def test_ten_equal_models_are_rarely_put_in_an_order(scored: Make) -> None:
    """At 8 questions a false order appeared on half of the boards."""
    wrong = 0
    for number in range(20):
        rng = np.random.default_rng(number)
        found = board([Entry(f"m{n}", scored(rng.random(8))) for n in range(10)], resamples=300)
        wrong += set(rows(found).values()) != {(1, 10)}
    assert wrong <= 3  # 5% of 20 and two standard errors; it was 10


def test_tables_of_one_task_under_two_categories_are_not_ranked_together(scored: Make) -> None:
    base = scored(np.linspace(0, 1, 20))
    found = board([Entry("a", base), Entry("b", base.assign(score=0.5)), Entry("c", base.assign(category="rag"))], resamples=100)
    assert set(rows(found)) == {"a", "b"}
    assert dict(found.others)["c"].startswith("other examples")


def test_letters_are_shared_exactly_by_what_cannot_be_told_apart() -> None:
    apart = {(0, 2), (0, 3), (1, 3)}
    found = letters([0, 1, 2, 3], apart)
    for one in range(4):
        for two in range(one + 1, 4):
            assert bool(set(found[one]) & set(found[two])) == ((one, two) not in apart)


def test_marks_and_verdict_follow_one_rule(make_samples: Make) -> None:
    """A loss at the longest length whose interval alone excludes 0: no mark where the verdict does not speak of it."""
    base = make_samples(suite=ONE, questions=60, depths=1, lengths=(8192, 131072)).assign(score=1.0)
    place = base["cluster"].str.removeprefix("q").astype(int)
    worse = base.assign(score=np.where((place < 6) & (base["length"] == 131072), 0.0, 1.0))
    for each in compare(base, worse, resamples=2000):
        assert each.claim == (each.sign if each.p_page < 0.05 else 0)
        assert each.p_page >= each.p


def test_a_family_of_hundreds_can_be_significant() -> None:
    """714 tests, one of them of a large difference: resamples alone could not get below 714 / 10,001."""
    values = np.random.default_rng(0).normal(0.3, 0.2, 60)
    assert tail(values) * 714 < 0.001
    for each in (values[:15] - 0.2, np.full(14, 0.5)):
        assert exact(each) / 1.3 <= tail(each) <= 2.5 * exact(each)


def test_stepping_down_equals_holm_s_bound_or_better_for_equal_tests() -> None:
    names = [f"e{n}" for n in range(30)]
    plan = design(pd.DataFrame({"category": "r", "task": "t", "metric": "m", "length": 512, "cluster": names, "example_id": names}))
    values = np.random.default_rng(2).normal(0.08, 0.2, (30, 1))
    found = flips(plan, np.repeat(values, 5, axis=1), resamples=4000, rng=np.random.default_rng(0))
    adjusted = stepdown(found, np.ones((len(plan.targets), 5), dtype=bool))
    assert adjusted[0, 0] == pytest.approx(stats.permutation_test((values[:, 0],), np.mean, permutation_type="samples").pvalue, abs=0.03)


def test_a_category_of_one_question_is_not_called_equal(make_samples: Make) -> None:
    base = make_samples(suite=(*ONE, ("nq", "rag", ("em",))), questions=12, lengths=(512,))
    small = base[(base["category"] == "recall") | (base["cluster"] == "q0")].reset_index(drop=True)
    said = verdict(compare(small, small.assign(score=(small["score"] + 0.2).clip(0, 1)), resamples=200))
    assert "cannot tell, too few questions: rag" in said
    assert "no detectable difference: rag" not in said


@pytest.mark.parametrize(("level", "text"), [(0.95, "95%"), (0.995, "99.5%"), (0.975, "97.5%"), (0.9999, "99.99%")])
def test_a_level_is_printed_as_it_is(scored: Make, level: float, text: str) -> None:
    assert percent(level) == text
    base = scored(np.linspace(0, 1, 20))
    assert f"({text} interval" in verdict(compare(base, base.assign(score=0.5), confidence=level, resamples=100))


def test_equal_outputs_that_score_otherwise_are_not_the_engine(scored: Make) -> None:
    base = scored(np.zeros(40))
    said = sentence(noise(base, base.assign(score=np.arange(40) % 2)))
    assert said.startswith("All 40 outputs are the same and yet 20 score otherwise")


def test_three_verdicts(scored: Make) -> None:
    rng = np.random.default_rng(0)
    base = scored(np.full(60, 0.5))

    def said(shift: float, noise_: float) -> str:
        candidate = base.assign(score=0.5 + shift + rng.normal(0, noise_, 60))
        return verdict(compare(base, candidate, resamples=500, margin=0.02), candidate="new")

    assert "new improved on the baseline" in said(0.1, 0.05)
    assert said(0.0, 0.02).startswith("new and the baseline are equal within 2 points.")
    assert said(0.0, 0.2).startswith("No detectable difference between new and the baseline, nor is it shown that they are equal within 2")


def test_wins_losses_and_ties_are_counted_in_questions(scored: Make) -> None:
    base = scored([0.5] * 10)
    found = overall(compare(base, base.assign(score=[1.0] * 5 + [0.0] * 2 + [0.5] * 3), resamples=100))
    assert (found.wins, found.losses, found.ties) == (5, 2, 3)
    assert found.improvement == pytest.approx(0.65)
    assert json.loads(json_text({"a": [found]}))[0]["wins"] == 5


def test_no_effect_is_found_with_less_than_six_questions() -> None:
    """And no difference can be larger than the share of questions that differ."""
    five = Shape(np.full(5, 0.2), np.full(5, 0.5), 0.05, 0.95)
    assert power(five, 0.9) == 0
    assert np.isnan(detectable(five))
    rare = Shape(np.full(100, 0.01), np.zeros(100), 0.05, 0.95)
    assert power(rare, 0.03) < 0.1, "three differing questions of a hundred are never a finding"
    assert detectable(rare) > 0.06
    needed = questions_for(rare, 0.5)
    assert needed is not None
    assert needed >= 8
