"""What to buy: numbers that reach a precision, and no smaller ones."""

import math
from collections.abc import Callable

import pandas as pd
import pytest

from reports import curve
from reports.compare import compare
from reports.precision import Shop, half_width
from reports.variance import Components, decompose

MakeSamples = Callable[..., pd.DataFrame]
NOISY = Components(0.01, 0.0001, 0.001, 0.09, 0.04, questions=50, generations=2, seeds=3)


def test_the_half_width_is_that_of_a_comparison(make_samples: MakeSamples) -> None:
    """Every question differs by its own, so nothing hides; three seeds."""
    base = make_samples(questions=40)
    seeds = [make_samples(questions=40, seed=seed).assign(model_digest=str(seed)) for seed in (1, 2, 3)]
    overall = compare(base, seeds, resamples=4000)[0]
    parts = decompose(seeds, [base])
    assert parts is not None
    expected = half_width(parts, parts.questions, parts.generations, parts.seeds)
    assert (overall.high - overall.low) / 2 == pytest.approx(expected, rel=0.06)


def test_of_equal_questions_it_is_the_room_for_what_was_not_seen(make_samples: MakeSamples) -> None:
    base = make_samples(questions=40)
    overall = compare(base, base.assign(model_digest="n"), resamples=2000)[0]
    parts = decompose([base.assign(model_digest="n")], [base])
    assert parts is not None
    assert half_width(parts, parts.questions, 1, 1) == pytest.approx(overall.high, rel=0.05)


@pytest.mark.parametrize("lever", ["questions", "generations", "training seeds"])
def test_as_many_as_it_says_are_enough_and_one_fewer_are_not(lever: str) -> None:
    shop = Shop(NOISY, 100)
    now = [50, 2, 3]
    place = ["questions", "generations", "training seeds"].index(lever)
    larger = [*now]
    larger[place] *= 2
    wanted = (half_width(NOISY, *now) + half_width(NOISY, *larger)) / 2
    number = shop.alone(wanted)[lever]
    assert number is not None
    enough, fewer = [*now], [*now]
    enough[place], fewer[place] = number, number - 1
    assert half_width(NOISY, *enough) <= wanted < half_width(NOISY, *fewer)


def test_what_no_number_reaches_is_none() -> None:
    only_seeds = Components(0.01, 0.01, 0.0, 0.0, 0.0, questions=50, generations=2, seeds=3)
    found = Shop(only_seeds, 50).alone(0.05)
    assert found["questions"] is None
    assert found["generations"] is None


def test_the_cheapest_reaches_it_with_fewer_answers_than_one_lever_alone() -> None:
    shop, wanted = Shop(NOISY, 50), 0.06
    best = shop.cheapest(wanted, range(2, 21))
    assert best is not None
    assert best.half_width <= wanted
    questions = shop.alone(wanted)["questions"]
    assert questions is not None
    assert best.answers <= shop.offer("", questions, 2, 3).answers


@pytest.mark.parametrize(
    ("parts", "best"),
    [
        (Components(0.1, 0.0, 0.0, 0.0, 0.0, questions=50, generations=2, seeds=3), "questions"),
        (Components(0.0, 0.1, 0.0, 0.0, 0.0, questions=50, generations=2, seeds=3), "training seeds"),
    ],
)
def test_what_helps_most_is_what_blurs_most(parts: Components, best: str) -> None:
    found = curve.doubt("x", parts, 100)
    assert best in found.best.what
    assert found.offers[0].answers == 100 * 2 * 4
    assert max(found.variances, key=lambda name: found.variances[name]) == best


def test_more_generations_are_offered_only_where_their_worth_is_known() -> None:
    for parts in (
        Components(0.1, None, 0.0, None, 0.0, questions=50, generations=1, seeds=1),
        Components(0.1, None, 0.0, 0.0, 0.0, questions=50, generations=1, seeds=1, greedy=True),
    ):
        assert not any("generations" in offer.what for offer in Shop(parts, 50).doubled())
    assert any("generations" in offer.what for offer in Shop(NOISY, 50).doubled())


def test_one_seed_is_taken_to_vary_as_the_questions_blur() -> None:
    parts = Components(0.1, None, 0.0, 0.1, 0.0, questions=50, generations=2, seeds=1)
    shop = Shop(parts, 50)
    assert shop.parts.of_seeds == pytest.approx(0.15 / 50)
    assert math.isnan(parts.of_one_seed(50, 2))
