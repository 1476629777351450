"""A judge beside people: kappa as other libraries have it, and a corrected mean whose interval covers the truth."""

import math

import numpy as np
import pytest

from reports.agreement import AgreementError, agreement, corrected_mean


def test_kappa_of_a_table_by_hand() -> None:
    """Twenty answers: 9 right for both, 6 wrong for both, 3 and 2 apart. Po .75, Pe .6 * .55 + .4 * .45."""
    judged, labels = [1.0] * 12 + [0.0] * 8, [1.0] * 9 + [0.0] * 3 + [1.0] * 2 + [0.0] * 6
    found = agreement(judged, labels)
    by_chance = 0.6 * 0.55 + 0.4 * 0.45
    assert found.alike == 0.75
    assert found.kappa == pytest.approx((0.75 - by_chance) / (1 - by_chance))
    assert found.weighted == pytest.approx(found.kappa), "two grades have one distance"
    assert found.interval[0] < found.kappa < found.interval[1]


def test_kappa_and_its_weights_are_those_of_statsmodels() -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    rng = np.random.default_rng(1)
    truth = rng.integers(4, size=80)
    judged = np.clip(truth + rng.integers(-1, 2, size=80), 0, 3)
    table = np.zeros((4, 4))
    np.add.at(table, (judged, truth), 1)
    found = agreement((judged / 3).tolist(), (truth / 3).tolist())
    assert found.kappa == pytest.approx(cohens_kappa(table).kappa)
    weighted = cohens_kappa(table, wt="linear")
    assert found.weighted == pytest.approx(weighted.kappa)
    assert found.interval == pytest.approx((weighted.kappa_low, weighted.kappa_upp), abs=0.03)


def test_one_grade_says_nothing_about_agreement() -> None:
    found = agreement([1.0] * 12, [1.0] * 12)
    assert found.alike == 1
    assert math.isnan(found.kappa)


@pytest.mark.parametrize("labels", [0, 1, 9])
def test_few_labels_are_refused(labels: int) -> None:
    with pytest.raises(AgreementError, match="too few"):
        agreement([1.0] * labels, [0.0] * labels)
    with pytest.raises(AgreementError, match="too few"):
        corrected_mean([0.5] * 100, [1.0] * labels, [0.0] * labels)


def test_a_judge_that_is_right_is_worth_labels_and_one_that_guesses_is_not() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(400)
    right = corrected_mean(truth[40:].tolist(), truth[:40].tolist(), truth[:40].tolist())
    assert right.corrected.high - right.corrected.low < 0.5 * (right.labels.high - right.labels.low)
    assert right.weight == pytest.approx(360 / 400)
    guess = rng.random(400)
    wrong = corrected_mean(guess[40:].tolist(), guess[:40].tolist(), truth[:40].tolist())
    assert wrong.weight < 0.4
    assert wrong.corrected.value == pytest.approx(wrong.labels.value, abs=0.05)


def test_without_verdicts_on_others_the_labels_alone_count() -> None:
    found = corrected_mean([], [1.0, 0.0] * 6, [1.0, 1.0, 0.0] * 4)
    assert found.corrected == found.labels
    assert found.weight == 0


@pytest.mark.parametrize("lenient", [0.0, 0.15])
@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_the_interval_covers_the_truth_however_lenient_the_judge(lenient: float, noise: float) -> None:
    """Thirds, as NarrativeQA's grades are; 30 labels of 150 answers. The nominal share is .95; 800 experiments tell it to .015."""
    rng, covered = np.random.default_rng(3), 0
    p = np.array([0.3, 0.2, 0.2, 0.3])
    for _ in range(800):
        truth = rng.choice(4, p=p, size=150) / 3
        judged = np.clip(truth + lenient + rng.normal(0, noise, 150), 0, 1)
        found = corrected_mean(judged[30:].tolist(), judged[:30].tolist(), truth[:30].tolist())
        covered += found.corrected.low <= float(p @ np.arange(4)) / 3 <= found.corrected.high
    assert 0.92 <= covered / 800 <= 0.98
