"""Scores of one evaluation with their intervals."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reports.compare import CompareError
from reports.estimates import estimated, frame, lines, sentences
from reports.leaderboard import Entry, board

MakeSamples = Callable[..., pd.DataFrame]


def test_scores_are_helmets_means(make_samples: MakeSamples) -> None:
    table = make_samples(questions=8)
    found = {(each.label, each.length): each for each in estimated([table], resamples=100)}
    by_cell = table.groupby(["category", "task", "metric", "length"])["score"].mean()
    by_category = by_cell.groupby(["category", "length"]).mean()
    assert found["cite", 512].score == pytest.approx(by_category["cite", 512])
    assert found["overall", 512].score == pytest.approx(by_category.xs(512, level="length").mean())
    assert found["overall", None].score == pytest.approx(by_category.groupby("length").mean().mean())
    assert found["niah ruler_recall", 1024].n_questions == 8


def test_an_interval_is_the_leaderboards(make_samples: MakeSamples) -> None:
    table = make_samples(questions=30)
    found = next(each for each in estimated([table], resamples=2000, seed=1) if each.scope == "overall" and each.length is None)
    (row,) = board([Entry("a", table)], resamples=2000, seed=1).columns[0].rows
    assert (found.low, found.high) == pytest.approx((row.low, row.high), abs=0.01)
    assert found.low < found.score < found.high


def test_more_questions_narrow_it_and_it_stays_among_the_scores(make_samples: MakeSamples) -> None:
    few, many = (estimated([make_samples(questions=size)], resamples=300)[0] for size in (8, 80))
    assert many.high - many.low < few.high - few.low
    perfect = estimated([make_samples(questions=8).assign(score=1.0)], resamples=300)[0]
    assert perfect.high == 1.0
    assert perfect.low < 1.0, "eight right answers do not show that the ninth will be"


def test_training_seeds_widen_it(make_samples: MakeSamples) -> None:
    tables = [make_samples(questions=40, seed=1).assign(model_digest=str(at)) for at in range(3)]
    apart = [table.assign(score=(table["score"] + gap).clip(0, 1)) for table, gap in zip(tables, (-0.2, 0.0, 0.2), strict=True)]
    one, several = estimated([apart[1]], resamples=300)[0], estimated(apart, resamples=300)[0]
    assert several.high - several.low > one.high - one.low
    with pytest.raises(CompareError, match="same questions"):
        estimated([make_samples(questions=4), make_samples(questions=5)])


def test_what_is_said_and_shown(make_samples: MakeSamples) -> None:
    found = estimated([make_samples(questions=8)], resamples=100)
    outcome, known, *rest = sentences(found)
    assert outcome.startswith("Overall score ")
    assert "As far as" in known
    assert rest[0].startswith("From best to worst: ")
    assert [each.length for each in lines(found)[:3]] == [512, 1024, None]
    (alone,) = {each.length for each in lines(estimated([make_samples(lengths=(512,))], resamples=50))}
    assert alone == 512
    table = frame(found)
    assert table["length"].isna().sum() == sum(each.length is None for each in found)
    assert np.isclose(table["score"].iloc[0], found[0].score)


def test_a_single_question_has_no_interval(make_samples: MakeSamples) -> None:
    found = estimated([make_samples(questions=1)], resamples=50)
    assert math.isnan(found[0].low)
    assert found[0].interval == ""
    assert "No interval" in sentences(found)[1]
