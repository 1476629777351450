"""Several answers to a prompt in a samples table: averaged within their example, never counted as questions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports import generations
from reports.check import check
from reports.compare import CompareError, compare, compare_methods
from reports.leaderboard import Entry, board
from reports.noise import noise
from reports.policy import Policy
from reports.samples import SamplesError, digest, read, validate, write

MakeSamples = Callable[..., pd.DataFrame]


def sampled(table: pd.DataFrame, count: int, temperature: float = 0.7, seed: int = 0, noise: float = 0.1) -> pd.DataFrame:
    """The table with so many answers to each prompt, whose scores scatter around the table's own."""
    rng = np.random.default_rng(seed)
    parts = [
        table.assign(
            generation=number, temperature=temperature, output=f"answer {number}",
            score=(table["score"] + rng.normal(0, noise, len(table))).clip(0, 1),
        )
        for number in range(1, count + 1)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def base(make_samples: MakeSamples) -> pd.DataFrame:
    return make_samples(questions=12)


def test_generations_are_averaged_within_their_example(base: pd.DataFrame) -> None:
    table = validate(sampled(base, 3))
    found = generations.averaged(table)
    assert len(found) == len(base)
    key = ["task", "length", "metric", "example_id"]
    means = table.groupby(key)["score"].mean()
    pd.testing.assert_series_equal(found.set_index(key)["score"].sort_index(), means, check_names=False)
    assert set(found["output"]) == {"answer 1"}
    assert generations.averaged(base) is base


def test_an_example_with_more_answers_weighs_no_more(base: pd.DataFrame) -> None:
    table = sampled(base, 3)
    torn = table[(table["generation"] == 1) | (table["cluster"] == "q0")]
    assert generations.counts(validate(torn)) == (1, 3)
    first = generations.averaged(validate(torn))
    assert len(first) == len(base)
    found = compare(torn, torn.assign(score=torn["score"]), resamples=50)[0]
    assert found.baseline == pytest.approx(compare(first, first, resamples=50)[0].baseline)


def test_greedy_tables_are_the_same_bytes_with_and_without_the_columns(base: pd.DataFrame, tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.parquet", tmp_path / "marked.parquet"
    write(base, plain)
    write(base.assign(generation=0, temperature=0.0), marked)
    assert plain.read_bytes() == marked.read_bytes()
    assert digest(base) == digest(base.assign(generation=0, temperature=0.0))


def test_a_sampled_table_survives_a_file(base: pd.DataFrame, tmp_path: Path) -> None:
    table = sampled(base, 2)
    write(table, tmp_path / "t.parquet")
    again = read(tmp_path / "t.parquet")
    assert {"generation", "temperature"} <= set(again.columns)
    assert digest(again) == digest(table.sample(frac=1, random_state=0))
    assert digest(table) != digest(sampled(base, 3))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.assign(generation=1), "twice"),
        (lambda t: t.assign(generation=-t["generation"]), "generation is negative"),
        (lambda t: t.assign(temperature=np.inf), "temperature is negative or infinite"),
        (lambda t: t[(t["metric"] != "citation_rec") | (t["generation"] == 1)], "lacks some metric's score"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(base: pd.DataFrame, spoil: Callable[[pd.DataFrame], pd.DataFrame], said: str) -> None:
    with pytest.raises(SamplesError, match=said):
        validate(spoil(sampled(base, 2)))


def test_more_answers_are_no_more_questions(base: pd.DataFrame, make_samples: MakeSamples) -> None:
    """Thirty equal answers to a question leave its interval as it is: the bootstrap draws questions."""
    other = make_samples(questions=12, seed=1)
    once = compare(base, other, resamples=400)
    many = compare(sampled(base, 30, noise=0), sampled(other, 30, noise=0), resamples=400)
    for one, thirty in zip(once, many, strict=True):
        assert (thirty.n_examples, thirty.n_clusters) == (one.n_examples, one.n_clusters)
        np.testing.assert_allclose([thirty.delta, thirty.low, thirty.high, thirty.p], [one.delta, one.low, one.high, one.p])


def test_intervals_of_sampled_answers_cover_the_truth(make_samples: MakeSamples) -> None:
    """Two equal models, sampled: questions differ, answers scatter, and the 95% interval errs about as often as it says."""
    suite = (("niah", "recall", ("em",)),)
    wrong = 0
    for at in range(120):
        truth = make_samples(suite=suite, questions=40, lengths=(512,), depths=1, seed=at)
        pair = [sampled(truth, 2, seed=2 * at + side, noise=0.3) for side in (0, 1)]
        found = compare(*pair, resamples=200)[0]
        wrong += not found.low <= 0 <= found.high
    assert wrong <= 14


def test_another_temperature_is_not_compared_without_leave(base: pd.DataFrame) -> None:
    warm, hot = sampled(base, 2), sampled(base, 2, temperature=1.0)
    with pytest.raises(CompareError, match=r"different temperatures cannot be compared \(0.7 and 1\).*--allow-mismatch temperature"):
        compare(warm, hot, resamples=50)
    with pytest.raises(CompareError, match=r"\(greedy and 0.7\)"):
        compare(base, warm, resamples=50)
    found = compare_methods(base, {"x": warm}, resamples=50, allow=("temperature",))
    assert any("--allow-mismatch temperature" in note for note in found.notes)


def test_another_number_of_answers_measures_the_same_and_is_said(base: pd.DataFrame) -> None:
    found = compare_methods(sampled(base, 2), {"x": sampled(base, 5, seed=3)}, resamples=50)
    (note,) = found.notes
    assert "baseline: 2 answers to each prompt, sampled at temperature 0.7" in note
    assert "x: 5 answers" in note
    assert "never count as questions" in note
    same = compare_methods(sampled(base, 2), {"x": sampled(base, 2, seed=3)}, resamples=50)
    assert same.notes[0].startswith("2 answers to each prompt, sampled at temperature 0.7.")
    assert compare_methods(base, {"x": base.assign(model_digest="n")}, resamples=50).notes == ()


def test_the_board_ranks_one_temperature_and_says_so(base: pd.DataFrame, make_samples: MakeSamples) -> None:
    other = make_samples(questions=12, seed=1)
    entries = [Entry("a", sampled(base, 2)), Entry("b", sampled(other, 3, seed=1)), Entry("c", other)]
    found = board(entries, resamples=100)
    assert {row.name for row in found.columns[0].rows} == {"a", "b"}
    assert found.others == (("c", "another temperature (greedy, not 0.7)"),)
    assert "b: 3 answers to each prompt" in found.notes[0]


def test_a_check_counts_each_answer_that_was_cut_off(base: pd.DataFrame) -> None:
    table = sampled(base, 2)
    cut = table.assign(finish_reason=np.where(table["generation"] == 2, "length", "stop"))
    found = check(table, cut, Policy(), resamples=100)
    assert next(each for each in found.findings if each.name == "answers cut off").figures.startswith("50")
    assert "2 answers to each prompt" in found.notes[0]


def test_the_noise_floor_needs_the_same_answers_twice(base: pd.DataFrame) -> None:
    table = sampled(base, 2)
    again = table.assign(output=np.where(table["generation"] == 2, "other", table["output"]))
    found = noise(table, again)
    assert (found.examples, found.outputs_changed, found.scores_changed) == (
        len(base.drop_duplicates(["task", "length", "example_id"])),
    ) * 2 + (0,)
    with pytest.raises(CompareError, match="other numbers of answers"):
        noise(table, sampled(base, 3))


def test_a_reader_of_examples_sees_every_answer(base: pd.DataFrame) -> None:
    found = generations.shown(validate(sampled(base, 2)))
    assert set(found["output"]) == {"[answer 1 of 2]\nanswer 1\n\n[answer 2 of 2]\nanswer 2"}
    assert len(found) == len(base)


def test_every_answer_has_its_place(base: pd.DataFrame) -> None:
    table = validate(sampled(base, 3))
    order = generations.averaged(table)
    found = generations.stacked([table, table[table["generation"] < 3]], order)
    assert found.shape == (len(base), 3, 2)
    np.testing.assert_allclose(found[:, :, 0].mean(axis=1), order["score"])
    assert np.isnan(found[:, 2, 1]).all()
    assert not np.isnan(found[:, :2]).any()
