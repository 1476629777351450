import dataclasses
import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.compare import CompareError, Comparison, compare, compare_methods, points, verdict, verdicts
from reports.comparison import p_words

Make = Callable[..., pd.DataFrame]
Row = Callable[..., dict[str, object]]


def overall(found: list[Comparison], length: int | None = None) -> Comparison:
    return next(each for each in found if each.scope == "overall" and each.length == length)


def test_every_level_is_compared_at_each_length_and_over_lengths(make_samples: Make) -> None:
    found = compare(make_samples(), make_samples(seed=1), resamples=50)
    places = {(each.scope, each.category, each.task, each.metric, each.length) for each in found}
    assert len(places) == len(found) == 3 * (1 + 3 + 4)
    assert ("overall", None, None, None, None) in places
    assert ("category", "cite", None, None, 1024) in places
    assert ("task", "cite", "asqa", "citation_rec", 512) in places


def test_delta_is_candidate_minus_baseline(make_samples: Make) -> None:
    baseline = make_samples()
    found = compare(baseline, baseline.assign(score=(baseline["score"] * 0.5)), resamples=50)
    for each in found:
        assert each.delta == pytest.approx(each.candidate - each.baseline, abs=1e-12)
        assert each.candidate == pytest.approx(each.baseline / 2, abs=1e-12)


def test_a_table_against_itself_shows_no_difference_and_no_certainty(make_samples: Make) -> None:
    """Equal questions exclude what Clopper and Pearson's bound excludes, and never "0.0 to 0.0"."""
    for each in compare(make_samples(), make_samples(), resamples=1000):
        assert (each.delta, each.p, each.sign, each.wins, each.losses) == (0, 1, 0, 0, 0)
        assert each.low == pytest.approx(-each.high)
    alone = make_samples(suite=(("niah", "recall", ("em",)),), questions=100, lengths=(512,))
    same = overall(compare(alone, alone, resamples=1000))
    bound = stats.binomtest(0, 100).proportion_ci(0.95, "exact").high
    assert same.high == pytest.approx(bound, rel=0.01)
    assert same.most == pytest.approx(1 - 0.05 ** (1 / 100), rel=0.01)


def test_row_order_and_run_names_do_not_matter(make_samples: Make) -> None:
    baseline, candidate = make_samples(), make_samples(seed=1)
    shuffled = candidate.sample(frac=1, random_state=0).assign(run="other", model_digest="other")
    assert compare(baseline, candidate, resamples=50) == compare(baseline, shuffled, resamples=50)


def test_the_seed_decides_the_resamples_and_nothing_else_does(make_samples: Make) -> None:
    baseline, candidate = make_samples(), make_samples(seed=1)
    first = compare(baseline, candidate, resamples=50, seed=1)
    np.random.seed(99)
    assert compare(baseline, candidate, resamples=50, seed=1) == first
    assert compare(baseline, candidate, resamples=50, seed=2) != first


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_swapping_the_tables_mirrors_the_result(seed: int) -> None:
    baseline, candidate = (_simple(np.random.default_rng(seed + n).random(12)) for n in (0, 5000))
    for there, back in zip(compare(baseline, candidate, resamples=60), compare(candidate, baseline, resamples=60), strict=True):
        assert (back.delta, back.low, back.high) == pytest.approx((-there.delta, -there.high, -there.low), abs=1e-12)
        assert back.p == there.p


def _simple(scores: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> pd.DataFrame:
    from reports.samples import COLUMNS

    constant = {"string": "x", "int64": 1, "float64": 0.5}
    table = pd.DataFrame({name: [constant[kind]] * len(scores) for name, kind in COLUMNS.items()})
    names = [f"e{n}" for n in range(len(scores))]
    return table.assign(score=scores, example_id=names, cluster=[f"q{n // 2}" for n in range(len(scores))], finish_reason="stop")


def test_it_is_said_in_what_suites_differ(make_samples: Make) -> None:
    base = make_samples()
    other = base.assign(suite_digest="other")
    first = str(base["example_id"].iloc[0])
    few, renamed = other[other["example_id"] != first], other.assign(example_id="x" + other["example_id"])
    for candidate, words in (
        (other.assign(length=other["length"] + 1), r"lengths 512, 1024 and 513, 1025"),
        (other[other["task"] == "asqa"], "tasks asqa, .* and asqa"),
        (few, r"[\d,]+ and [\d,]+ examples"),
        (renamed, "other examples, as another seed draws them"),
    ):
        with pytest.raises(CompareError, match=rf"different suites cannot be compared \({words}\); evaluate both"):
            compare(base, candidate)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite_digest": "other"}, r"different suites .*\(s and other; the same examples in other words: another wording, "),
        ({"backend": "vllm"}, r"different backends .*\(hf and vllm\)"),
    ],
)
def test_other_suites_and_backends_are_refused(make_samples: Make, change: dict[str, str], message: str) -> None:
    with pytest.raises(CompareError, match=message):
        compare(make_samples(), make_samples().assign(**change))


def test_a_table_that_mixes_backends_is_refused(make_samples: Make) -> None:
    mixed = make_samples()
    mixed.loc[0, "backend"] = "vllm"
    with pytest.raises(CompareError, match=r"hf\+vllm"):
        compare(mixed, mixed)


def test_missing_and_extra_examples_are_named(make_samples: Make) -> None:
    frame = make_samples(questions=6)
    gone, more = frame["cluster"] != "q5", frame["cluster"] != "q4"
    with pytest.raises(CompareError, match=r"16 missing \(asqa/1024/citation_rec/q5d0, .*, …\); 16 extra \(.*q4d0") as caught:
        compare(frame[more], frame[gone])
    assert "\n" not in str(caught.value)


def test_invalid_tables_are_refused_under_their_name(make_samples: Make) -> None:
    frame = make_samples()
    twice = pd.concat([frame, frame.head(1)])
    with pytest.raises(CompareError, match=r"^randmask: example 'q0d0'.*twice"):
        compare_methods(frame, {"retmask": frame, "randmask": twice})
    with pytest.raises(CompareError, match=r"^baseline: .*twice"):
        compare(twice, frame)


def test_another_clustering_of_the_same_examples_is_refused(make_samples: Make) -> None:
    frame = make_samples()
    with pytest.raises(CompareError, match=r"'q0d0' .* another cluster"):
        compare(frame, frame.assign(cluster=frame["cluster"].str.replace("q", "question")))


@pytest.mark.parametrize("settings_", [{"resamples": 1}, {"confidence": 1.0}, {"confidence": 95.0}])
def test_senseless_settings_are_refused(make_samples: Make, settings_: dict[str, float]) -> None:
    with pytest.raises(CompareError, match="resamples"):
        compare(make_samples(), make_samples(), **settings_)  # type: ignore[arg-type]


def test_no_method_is_refused(make_samples: Make) -> None:
    with pytest.raises(CompareError, match="no method"):
        compare_methods(make_samples(), {})


def test_methods_are_compared_with_the_baseline_and_the_first_with_its_controls(make_samples: Make) -> None:
    baseline, better, same = make_samples(), make_samples(seed=1, shift=0.2), make_samples(seed=2)
    found = compare_methods(baseline, {"retmask": better, "randmask": same, "nonretmask": same}, resamples=80)
    assert list(found.methods) == ["retmask", "randmask", "nonretmask"]
    assert list(found.contrasts) == ["retmask minus randmask", "retmask minus nonretmask"]
    alone = compare(baseline, better, resamples=80)
    for both, one in zip(found.methods["retmask"], alone, strict=True):
        assert (both.delta, both.low, both.high, both.p) == pytest.approx((one.delta, one.low, one.high, one.p), abs=1e-12)
    contrast = found.contrasts["retmask minus randmask"]
    assert contrast == found.contrasts["retmask minus nonretmask"]
    assert overall(contrast).candidate == overall(found.methods["retmask"]).candidate
    assert overall(contrast).baseline == overall(found.methods["randmask"]).candidate
    direct = compare(same, better, resamples=80)
    assert [each.low for each in contrast] == pytest.approx([each.low for each in direct], abs=1e-12)


def test_variants_are_compared_with_their_own_controls(make_samples: Make) -> None:
    tables = {f"{name}({option})": make_samples(seed=seed) for seed, (name, option) in enumerate(product("ab", ("k=1", "k=2")))}
    found = compare_methods(make_samples(seed=9), tables, resamples=80)
    assert list(found.contrasts) == ["a(k=1) minus b(k=1)", "a(k=2) minus b(k=2)", "a(k=1) minus a(k=2)"]
    own = next(each for each in found.contrasts["a(k=2) minus b(k=2)"] if each.scope == "overall")
    alone = overall(compare(tables["b(k=2)"], tables["a(k=2)"], resamples=80))
    assert (own.delta, own.low, own.high, own.p) == pytest.approx((alone.delta, alone.low, alone.high, alone.p), abs=1e-12)
    said = verdicts(found)
    assert [line for line in said if "a(k=2)" in line and "b(k=2)" in line]
    assert not [line for line in said if "a(k=1)" in line and "b(k=2)" in line]


def test_a_large_effect_is_found_and_said(make_samples: Make) -> None:
    baseline = make_samples(questions=20)
    found = compare(baseline, baseline.assign(score=(baseline["score"] + 0.2).clip(0, 1)), resamples=500)
    assert overall(found).sign == 1
    said = verdict(found, candidate="retmask")
    assert said.startswith("For this trained checkpoint: retmask improved on the baseline. Overall score ")
    assert "improved: cite (+" in said
    assert "no detectable difference" not in said
    worse = compare(baseline, baseline.assign(score=(baseline["score"] - 0.2).clip(0, 1)), resamples=500)
    assert verdict(worse, candidate="retmask").startswith("For this trained checkpoint: retmask got worse than the baseline.")


def test_no_difference_comes_with_what_could_have_been_found(make_samples: Make) -> None:
    found = compare(make_samples(), make_samples(seed=1), resamples=500)
    said = verdict(found, candidate="randmask")
    assert said.startswith("No detectable difference between randmask and the baseline.")
    assert f"true difference of about {points(overall(found).mde)} points" in said


def test_identical_scores_are_not_given_a_power_of_zero(make_samples: Make) -> None:
    said = verdict(compare(make_samples(), make_samples(), resamples=50))
    assert "question by question" in said
    assert "about 0.0 points" not in said


def test_the_verdict_does_not_claim_what_only_the_interval_shows(make_samples: Make) -> None:
    """Three questions allow no p below 2/8, however clear the interval looks."""
    suite = (("niah", "recall", ("em",)),)
    baseline = make_samples(suite=suite, questions=3, lengths=(512,))
    found = compare(baseline, baseline.assign(score=(baseline["score"] * 0.5)), resamples=500)
    assert overall(found).sign == -1
    assert verdict(found).startswith("Cannot tell whether")


def test_a_single_question_cannot_tell(make_samples: Make) -> None:
    baseline, candidate = (make_samples(seed=n, questions=1) for n in (0, 1))
    found = compare(baseline, candidate, resamples=50)
    assert math.isnan(overall(found).low)
    assert overall(found).sign == 0
    said = verdict(found)
    assert "single question" in said
    assert "n/a" not in said


def test_a_verdict_needs_an_overall_score() -> None:
    with pytest.raises(CompareError, match="overall"):
        verdict([])


@pytest.mark.parametrize(
    ("value", "plain", "signed"), [(0.0284, "2.8", "+2.8"), (-0.031, "−3.1", "−3.1"), (-0.0001, "−0.0", "0.0"), (math.nan, "n/a", "n/a")]
)
def test_points(value: float, plain: str, signed: str) -> None:
    assert points(value, signed=True) == signed
    assert points(value) in (plain, "0.0")


def test_a_comparison_cannot_be_changed(make_samples: Make) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        compare(make_samples(), make_samples(), resamples=10)[0].delta = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("what", "column"), [("suite", "suite_digest"), ("backend", "backend"), ("template", "template"), ("scorer", "scorer")]
)
def test_a_mismatch_is_noted_only_where_it_is_allowed(make_samples: Make, what: str, column: str) -> None:
    other = make_samples(seed=1).assign(**{column: "other"})
    with pytest.raises(CompareError, match=f"--allow-mismatch {what}"):
        compare_methods(make_samples(), {"a": other}, resamples=20)
    found = compare_methods(make_samples(), {"a": other}, resamples=20, allow=[what])
    assert len(found.notes) == 1
    assert f"--allow-mismatch {what}" in found.notes[0]
    assert "other" in found.notes[0]


def test_missing_examples_cannot_be_allowed(make_samples: Make) -> None:
    with pytest.raises(CompareError, match="missing"):
        compare_methods(make_samples(), {"a": make_samples().iloc[1:]}, allow=["suite", "backend", "template", "scorer"])


def test_training_seeds_are_averaged_and_widen_the_interval(make_samples: Make) -> None:
    baseline = make_samples(questions=30)
    seeds = [baseline.assign(score=(baseline["score"] + shift).clip(0, 1)) for shift in (-0.1, 0.0, 0.1)]
    several = overall(compare(baseline, seeds, resamples=400))
    alone = [overall(compare(baseline, each, resamples=400)) for each in seeds]
    assert several.n_seeds == 3
    assert several.delta == pytest.approx(np.mean([each.delta for each in alone]), abs=1e-12)
    assert several.high - several.low > 3 * max(each.high - each.low for each in alone)
    assert "3 training seeds" in verdict([several])


def test_holm_covers_every_line_of_a_table_once(make_samples: Make) -> None:
    baseline = make_samples(lengths=(512,), questions=12)
    better = baseline.assign(score=(baseline["score"] + 0.2).clip(0, 1))
    found = compare_methods(baseline, {"a": better, "b": make_samples(lengths=(512,), seed=1, questions=12)}, resamples=5000)
    shown = [each for column in (*found.methods.values(), *found.contrasts.values()) for each in column if each.scope != "task"]
    assert all(each.p <= each.p_holm <= 1 for each in shown)
    smallest = min(shown, key=lambda each: each.p)
    assert smallest.p_holm == pytest.approx(min(1, smallest.p * 3 * 4)), "3 comparisons of the overall score and three categories"


def test_the_verdicts_hold_the_first_method_against_its_controls(make_samples: Make) -> None:
    """A gain that a control shares says nothing about the method."""
    baseline = make_samples(questions=20)
    gained = baseline.assign(score=(baseline["score"] + 0.2).clip(0, 1))
    said = verdicts(compare_methods(baseline, {"retmask": gained, "randmask": gained, "worse": baseline}, resamples=200))
    assert [text.partition(". ")[0] for text in said] == [
        "For this trained checkpoint: retmask improved on the baseline",
        "For this trained checkpoint: randmask improved on the baseline",
        "No detectable difference between worse and the baseline",
        "No detectable difference between retmask and randmask",
        "For this trained checkpoint: retmask did better than worse",
    ]
    assert len(verdicts(compare_methods(baseline, {"retmask": gained}, resamples=20))) == 1


def test_the_verdict_corrects_the_categories_it_names(make_samples: Make) -> None:
    found = [dataclasses.replace(each, low=0.01, high=0.05, p=0.03) for each in compare(make_samples(), make_samples(seed=1), resamples=20)]
    assert "no detectable difference: cite" in verdict(found), "0.03 times three categories is no finding"


def test_tasks_may_be_scored_differently_if_both_evaluations_do_it_alike(make_samples: Make) -> None:
    """Citations need a judge, other tasks do not; some tasks are not framed as a chat."""
    base = make_samples()
    judged = base["task"] == "asqa"
    mixed = base.assign(scorer=judged.map({True: "parity judge", False: "parity"}), template=judged.map({True: "none", False: "t"}))
    assert compare(mixed, mixed, resamples=20)
    swapped = mixed.assign(scorer=judged.map({True: "parity", False: "parity judge"}))
    with pytest.raises(CompareError, match="different scorers"):
        compare(mixed, swapped, resamples=20)
    suites = mixed.assign(suite_digest=judged.map({True: "one", False: "two"}))
    with pytest.raises(CompareError, match="different suites"):
        compare(suites, suites, resamples=20)


@pytest.mark.parametrize(("p", "words"), [(0.021, "p = 0.021"), (1.0, "p = 1"), (1e-4, "p = 0.0001"), (9e-5, "p < 0.0001")])
def test_a_p_value_within_a_sentence(p: float, words: str) -> None:
    assert p_words(p) == words
