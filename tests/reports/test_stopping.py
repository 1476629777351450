"""Evaluations that stop early: which questions a round takes, what is then known, and how often the rule as wired is wrong."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports import samples
from reports.compare import CompareError, Comparison, compare_methods, verdict
from reports.hierarchy import design
from reports.stopping import ATTRIBUTE, Order, Stopping, StoppingError, known, look, plan_order, read_order, shared, stopping_of

Make = Callable[..., pd.DataFrame]
Row = Callable[..., dict[str, object]]
SIMULATIONS = 60


def first_rounds(table: pd.DataFrame, order: Order, rounds: int, **looked: object) -> pd.DataFrame:
    """What an evaluation leaves that stopped after ``rounds``."""
    part = table[order.round_of(table) < rounds].reset_index(drop=True)
    examples = len(part.drop_duplicates(["task", "length", "example_id"]))
    return Stopping(order, rounds, examples, examples == order.examples, **looked).attach(part)  # type: ignore[arg-type]


def overall(found: Sequence[Comparison]) -> Comparison:
    return next(each for each in found if each.scope == "overall" and each.length is None)


def test_every_round_takes_as_many_questions_of_every_stratum(make_samples: Make) -> None:
    rows = make_samples(questions=12, depths=3)
    rows = rows[~((rows["task"] == "nq") & rows["cluster"].isin(["q7", "q8", "q9", "q10", "q11"]))].reset_index(drop=True)
    order = plan_order(rows, seed=1)
    assert order.rounds == 7
    number = order.round_of(rows)
    asked = rows.assign(round=number).groupby(["task", "round"])["cluster"].nunique().unstack(0)
    assert (asked.loc[:6] == 1).all(axis=None)
    assert asked.loc[7:, "niah"].to_list() == [1] * 5, "what a larger task has beyond the last round comes after it"
    assert rows.assign(round=number).groupby(["task", "cluster"])["round"].nunique().max() == 1, "a question stays whole"


def test_larger_strata_give_several_questions_a_round(make_samples: Make) -> None:
    rows = pd.concat([make_samples(questions=4), make_samples(questions=13).replace({"task": {"nq": "big"}}).query("task == 'big'")])
    order = plan_order(rows.reset_index(drop=True), seed=0)
    assert (order.rounds, len(order.strata)) == (4, 4)
    counts = rows.assign(round=order.round_of(rows.reset_index(drop=True))).query("task == 'big'").groupby("round")["cluster"].nunique()
    assert counts.to_list() == [3, 3, 3, 3, 1]


def test_the_order_is_the_seeds_and_known_from_the_first_rounds_alone(make_samples: Make) -> None:
    rows = make_samples(questions=9)
    order = plan_order(rows, seed=5)
    part = rows[order.round_of(rows) < 4].sample(frac=1, random_state=0).reset_index(drop=True)
    assert order.round_of(part).max() == 3
    whole = rows.assign(round=order.round_of(rows)).set_index(["task", "length", "metric", "example_id"])["round"]
    again = part.assign(round=order.round_of(part)).set_index(["task", "length", "metric", "example_id"])["round"]
    pd.testing.assert_series_equal(again.sort_index(), whole.loc[again.index].sort_index())
    assert (plan_order(rows, seed=6).round_of(rows) != order.round_of(rows)).any()
    assert plan_order(rows.sample(frac=1, random_state=1), seed=5) == order


def test_after_the_last_round_the_averages_are_helmets(make_samples: Make) -> None:
    base, other = make_samples(questions=8, depths=3), make_samples(questions=8, depths=3, seed=1)
    order, plan = plan_order(base, 0), design(base)
    scores = [table["score"].to_numpy() for table in (base, other)]
    found = known(order, base, scores[0], scores[1], order.rounds, 0.95)
    assert found.targets == plan.targets
    assert found.baseline == pytest.approx(plan.means(scores[0][:, None])[:, 0])
    assert found.candidate == pytest.approx(plan.means(scores[1][:, None])[:, 0])


def test_a_round_is_unbiased_for_every_average(make_samples: Make) -> None:
    """Over many orders, what one round says averages to the truth of the whole suite, also where lengths ask different questions."""
    rows = make_samples(questions=6)
    rows = rows[~((rows["length"] == 1024) & rows["cluster"].isin(["q0", "q1"]))].reset_index(drop=True)
    zero = np.zeros(len(rows))
    found = [known(plan_order(rows, seed), rows, zero, rows["score"].to_numpy(), 1, 0.95).candidate for seed in range(100)]
    truth = design(rows).means(rows[["score"]].to_numpy())[:, 0]
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - truth) <= 4 * error + 1e-9).all()


def test_the_first_look_comes_when_there_is_something_to_see(make_samples: Make) -> None:
    small, large = (plan_order(make_samples(questions=n), 0) for n in (6, 100))
    assert small.looks(0.95) == (6,), "six questions a task cannot stop early"
    assert large.looks(0.95)[-1] == 100
    assert 1 < large.looks(0.95)[0] < 30
    assert all(a < b for a, b in zip(large.looks(0.95), large.looks(0.95)[1:], strict=False))


def test_the_mark_survives_a_file_and_validation(tmp_path: Path, make_samples: Make) -> None:
    base = make_samples(questions=10)
    order = plan_order(base, 3)
    part = first_rounds(base, order, 4, looks=(2, 4), decision="worse", margin=0.01)
    samples.write(part, tmp_path / "part.parquet")
    found = stopping_of(samples.read(tmp_path / "part.parquet"))
    assert found == Stopping(order, 4, found.examples if found else 0, False, (2, 4), 0.95, 0.01, "worse")
    assert found is not None
    assert "stopped early (worse) after 48 of 120 examples, 4 of 10 rounds (looked at after rounds 2, 4)" in found.sentence("a")
    assert "always-valid" in found.sentence("a")
    assert stopping_of(base) is None


@pytest.mark.parametrize(
    "change",
    [{"rounds": 5}, {"rounds": 0}, {"confidence": 2}, {"decision": "good"}, {"looks": None}, {"order": {}}, {"examples": -1}],
    ids=str,
)
def test_a_mark_that_makes_no_sense_is_refused(make_samples: Make, change: dict[str, object]) -> None:
    base = make_samples(questions=10)
    part = first_rounds(base, plan_order(base, 3), 4)
    part.attrs[ATTRIBUTE] = part.attrs[ATTRIBUTE] | change
    with pytest.raises(StoppingError):
        stopping_of(part)
    with pytest.raises(CompareError, match="a: "):
        compare_methods(base, {"a": part}, common=True, resamples=20)


def test_an_order_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        read_order({"seed": 1, "examples": 3, "strata": []})


def test_a_stopped_evaluation_is_compared_only_when_told_and_says_so(make_samples: Make) -> None:
    base = make_samples(questions=30)
    worse = base.assign(score=(base["score"] - 0.4).clip(0, 1), model_digest="w")
    order = plan_order(base, 0)
    part = first_rounds(worse, order, 20, looks=(10, 20), decision="worse")
    with pytest.raises(CompareError, match=r"a: stopped early after 240 of 360 examples.*--common"):
        compare_methods(base, {"a": part}, resamples=50)
    found = compare_methods(base, {"a": part, "b": base.assign(model_digest="b")}, common=True, resamples=50)
    assert found.notes[0].startswith("a: stopped early (worse)")
    stopped = found.methods["a"]
    assert all(each.always_valid for each in stopped)
    assert {overall(stopped).n_examples, overall(stopped).n_clusters} == {240, 60}
    assert all(each.low <= each.delta <= each.high for each in stopped)
    ordinary = overall(compare_methods(base, {"a": worse}, resamples=200).methods["a"])
    assert overall(stopped).high - overall(stopped).low > ordinary.high - ordinary.low
    assert not any(each.always_valid for each in found.methods["b"]), "b was asked everything"
    assert all(each.always_valid for each in found.contrasts["a minus b"])
    assert "always-valid interval" in verdict(stopped)


def test_both_sides_may_have_stopped_at_different_rounds(make_samples: Make) -> None:
    base, other = make_samples(questions=30), make_samples(questions=30, seed=1)
    order = plan_order(base, 0)
    tables = {"a": first_rounds(other, order, 12, looks=(12,)), "b": first_rounds(other, order, 25, looks=(12, 25))}
    found = compare_methods(first_rounds(base, order, 25), tables, common=True, resamples=50)
    counts = {name: overall(each).n_clusters for name, each in (found.methods | found.contrasts).items()}
    assert counts == {"a": 36, "b": 75, "a minus b": 36}
    assert set(shared({"baseline": base, **tables})["b"]["example_id"]) == set(tables["a"]["example_id"])
    other_seed = first_rounds(other, plan_order(base, 9), 12)
    with pytest.raises(CompareError, match="different orders"):
        compare_methods(base, {"a": tables["a"], "b": other_seed}, common=True, resamples=50)
    with pytest.raises(CompareError, match="training seeds"):
        compare_methods(base, {"a": [tables["a"], tables["b"]]}, common=True, resamples=50)


def test_looks_that_did_not_stop_are_paid_for(make_samples: Make) -> None:
    """All questions were asked in the end: the bootstrap gets four fifths of the error rate, and the page says so."""
    base, other = make_samples(questions=30), make_samples(questions=30, seed=1)
    looked = first_rounds(other, plan_order(base, 0), 30, looks=(10, 20))
    plain, paid = (compare_methods(base, {"a": table}, resamples=2000) for table in (other, looked))
    one, two = overall(plain.methods["a"]), overall(paid.methods["a"])
    assert two.high - two.low > one.high - one.low
    assert two.p == pytest.approx(min(1, one.p / 0.8))
    assert not two.always_valid
    assert "corrected for the looks" in paid.notes[0]
    assert not plain.notes


def test_a_table_of_another_suite_is_refused(make_samples: Make) -> None:
    base = make_samples(questions=30)
    part = first_rounds(base, plan_order(base, 0), 12)
    with pytest.raises(CompareError, match="suites"):
        compare_methods(base.assign(suite_digest="other"), {"a": part}, common=True, resamples=20)
    lacking = part[part["cluster"] != part["cluster"].iloc[0]].reset_index(drop=True)
    with pytest.raises(CompareError, match="a: "):
        compare_methods(base, {"a": lacking}, common=True, resamples=20)


def simulated(rng: np.random.Generator, shift: float, make_row: Row, make_table: Callable[..., pd.DataFrame]) -> list[pd.DataFrame]:
    """Two models' 0/1 scores on eight tasks of 40 questions, one of 90; ``shift`` is the true difference."""
    sizes = {f"t{n}": 90 if n == 0 else 40 for n in range(8)}
    keys = [(task, question) for task, size in sizes.items() for question in range(size)]
    chance = rng.beta(2, 2, len(keys))
    tables = []
    for moved in (0.0, shift):
        right = rng.random(len(keys)) < np.clip(chance + moved * rng.choice([0, 2], len(keys)), 0, 1)
        rows = [
            make_row(task=task, category=f"c{task}", cluster=f"{task}-{question}", example_id=f"{task}-{question}", score=float(score))
            for (task, question), score in zip(keys, right, strict=True)
        ]
        tables.append(make_table(rows))
    return tables


def run_to_its_end(tables: list[pd.DataFrame], seed: int) -> tuple[Comparison, int, bool]:
    """The rule as a run applies it: looks, then the comparison that the report shows. Also examples asked, and ordinary peeks."""
    base, candidate = (table.sort_values(list(samples.KEY), ignore_index=True) for table in tables)
    order = plan_order(base, seed)
    number = order.round_of(base)
    looks: list[int] = []
    peeked = False
    for rounds in order.looks(0.95):
        inside = number < rounds
        left, right = base[inside].reset_index(drop=True), candidate[inside].reset_index(drop=True)
        looks.append(rounds)
        difference = (right["score"] - left["score"]).to_numpy()
        peeked |= bool(abs(difference.mean()) > 1.96 * difference.std() / np.sqrt(len(difference)))
        found = look(order, left, right, rounds, 0.95, 0.0)
        if found.decision:
            part = first_rounds(candidate, order, rounds, looks=tuple(looks), decision=found.decision)
            claimed = overall(compare_methods(base, {"a": part}, common=True).methods["a"])
            assert claimed.claim == {"better": 1, "worse": -1}[found.decision], "the report claims what stopped the run"
            return claimed, len(part), peeked
    whole = Stopping(order, order.rounds, order.examples, True, tuple(looks)).attach(candidate)
    return overall(compare_methods(base, {"a": whole}, resamples=400, seed=seed).methods["a"]), len(base), peeked


def test_the_rule_as_wired_keeps_its_error_rate(make_row: Row, make_table: Callable[..., pd.DataFrame]) -> None:
    """Equal models: a difference is claimed in about 4% of the runs (level 5%), where ordinary intervals at each look claim far more."""
    claims = peeks = 0
    for seed in range(SIMULATIONS):
        found, _, peeked = run_to_its_end(simulated(np.random.default_rng([1, seed]), 0.0, make_row, make_table), seed)
        claims += bool(found.sign) and found.p < 0.05
        peeks += peeked
    assert claims / SIMULATIONS <= 0.05 + 1.65 * np.sqrt(0.05 * 0.95 / SIMULATIONS)
    assert peeks / SIMULATIONS > 0.10


def test_a_large_difference_stops_early_and_its_interval_holds_the_truth(make_row: Row, make_table: Callable[..., pd.DataFrame]) -> None:
    runs = [run_to_its_end(simulated(np.random.default_rng([2, seed]), -0.4, make_row, make_table), seed) for seed in range(20)]
    assert all(found.sign == -1 for found, _, _ in runs)
    assert np.mean([asked for _, asked, _ in runs]) < 0.7 * 370
    truth = np.mean([np.clip(np.random.default_rng(0).beta(2, 2, 200_000) - 0.8 * on, 0, 1).mean() - 0.5 for on in (0, 1)])
    assert sum(found.low <= truth <= found.high for found, _, _ in runs) >= 19


def test_a_run_of_two_methods_stops_when_their_page_claims(make_row: Row, make_table: Callable[..., pd.DataFrame]) -> None:
    """Three comparisons share the page's error rate, so each has to be known more surely than the only one of another page."""
    stopped = sooner = 0
    for seed in range(12):
        base, candidate = simulated(np.random.default_rng([3, seed]), -0.4, make_row, make_table)
        base, candidate = (table.sort_values(list(samples.KEY), ignore_index=True) for table in (base, candidate))
        order = plan_order(base, seed)
        number = order.round_of(base)
        for rounds in order.looks(0.95):
            left, right = (table[number < rounds].reset_index(drop=True) for table in (base, candidate))
            sooner += bool(
                look(order, left, right, rounds, 0.95, 0.0).decision and not look(order, left, right, rounds, 0.95, 0.0, 3).decision
            )
            if look(order, left, right, rounds, 0.95, 0.0, 3).decision:
                part = first_rounds(candidate, order, rounds, looks=(rounds,), decision="worse")
                page = compare_methods(base, {"a": part, "b": first_rounds(base, order, rounds, looks=(rounds,))}, common=True)
                assert [overall(page.methods[name]).claim for name in ("a", "b")] == [-1, 0]
                stopped += 1
                break
    assert stopped > 6
    assert sooner > 0, "one comparison alone would have stopped some of them a look sooner"
