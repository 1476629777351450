"""The difficulty of questions as a control variate: what it gives, when it is left out, and that its interval keeps its promise."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reports.compare import CompareError, compare_methods
from reports.difficulty import Adjusted, Known, adjust, adjusted
from reports.export import Exported, as_json, as_text
from reports.hierarchy import Floats, design

Make = Callable[..., pd.DataFrame]
ONE = (("niah", "recall", ("em",)),)
FAST = {"resamples": 400}


def scored(make_samples: Make, scores: Floats, **columns: object) -> pd.DataFrame:
    """One task at one length, one row a question."""
    frame = make_samples(suite=ONE, questions=len(scores), depths=1, lengths=(512,))
    place = frame["cluster"].str.removeprefix("q").astype(int).to_numpy()
    return frame.assign(score=scores[place], **columns)


def experiment(rng: np.random.Generator, questions: int, share: int = 4) -> tuple[Floats, Floats]:
    """Difficulty of ``share`` times the questions, and a candidate's scores that gain on hard ones; the true difference is 0.1."""
    easy = rng.uniform(0.2, 0.8, share * questions)
    return easy, np.clip(easy + 0.1 - 0.5 * (easy - 0.5) + rng.normal(0, 0.04, len(easy)), 0, 1)


def first(make_samples: Make, before: Floats, after: Floats, questions: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    whole = scored(make_samples, before)
    few = scored(make_samples, before[:questions])
    return few, few.assign(score=scored(make_samples, after[:questions])["score"], model_digest="b"), whole


def test_it_is_the_regression_estimator_of_double_sampling(make_samples: Make) -> None:
    """Cochran 1977, section 12.6: difference + slope x (mean difficulty of all - of ours), and its variance."""
    before, after = experiment(np.random.default_rng(1), 60)
    base, candidate, whole = first(make_samples, before, after, 60)
    (found,) = adjust(base, {"ours": candidate}, [whole], **FAST)
    gaps, easy = after[:60] - before[:60], before[:60]
    slope = np.cov(gaps, easy)[0, 1] / easy.var(ddof=1)
    assert found.reason == ""
    assert found.found[0] == pytest.approx(gaps.mean() + slope * (before.mean() - easy.mean()))
    assert found.plain[0] == pytest.approx(gaps.mean())
    share = np.corrcoef(gaps, easy)[0, 1] ** 2
    assert found.gain == pytest.approx(share * (1 - 60 / 240), abs=0.06)
    widths = [high - low for _, low, high in (found.found, found.plain)]
    assert widths[0] < 0.75 * widths[1]
    assert "240 in --history" in found.sentence()
    assert f"{1 / (1 - found.gain):.2g} times as many questions" in found.sentence()


def test_without_more_questions_it_cannot_help_and_says_so(make_samples: Make) -> None:
    before, after = experiment(np.random.default_rng(2), 60)
    base, candidate, _ = first(make_samples, before, after, 60)
    (found,) = adjust(base, {"ours": candidate}, [base], **FAST)
    assert found.found == found.plain
    assert "no more questions than are compared" in found.sentence()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda whole, after: (whole, after, 20), "20 questions are too few"),
        (lambda whole, after: (whole, whole + np.random.default_rng(0).normal(0.05, 0.1, len(whole)), 60), "differences hardly depend"),
        (lambda whole, after: (np.sort(whole), after[np.argsort(whole)], 60), "no random part of them"),
    ],
)  # fmt: skip
def test_it_is_left_out_where_it_does_not_help_or_hold(make_samples: Make, change: Callable[..., object], words: str) -> None:
    before, after, questions = change(*experiment(np.random.default_rng(3), 60))  # type: ignore[misc]
    base, candidate, whole = first(make_samples, np.clip(before, 0, 1), np.clip(after, 0, 1), questions)
    (found,) = adjust(base, {"ours": candidate}, [whole], **FAST)
    assert words in found.sentence()
    assert found.found == found.plain


def test_other_questions_are_refused(make_samples: Make) -> None:
    before, after = experiment(np.random.default_rng(4), 40)
    base, candidate, whole = first(make_samples, before, after, 40)
    with pytest.raises(CompareError, match="5 of 40 scores are of questions that it does not know"):
        adjust(base, {"ours": candidate}, [whole[~whole["cluster"].isin([f"q{n}" for n in range(5)])]], **FAST)
    with pytest.raises(CompareError, match="has another targets there: it is another question"):
        adjust(base, {"ours": candidate}, [whole.assign(targets='["other"]')], **FAST)
    with pytest.raises(CompareError, match="evaluations of different examples"):
        adjust(base, {"ours": candidate}, [whole, whole.iloc[:-3]], **FAST)


def test_its_interval_holds_the_truth_the_choice_to_use_it_included() -> None:
    held = used = 0
    names = [f"q{n:03d}" for n in range(160)]
    frame = pd.DataFrame({"category": "c", "task": "t", "metric": "m", "length": 512, "cluster": names, "example_id": names})
    plan, whole = design(frame[:40]), design(frame)
    for number in range(200):
        rng = np.random.default_rng(number)
        before, after = experiment(rng, 40)
        known = Known(before[:40], whole, before)
        found = adjusted("a", plan, (after - before)[:40], known, resamples=200, rng=rng)
        used += not found.reason
        held += found.found[1] <= 0.1 <= found.found[2]
    assert used > 190
    assert held / 200 > 0.91


def test_training_seeds_widen_it_as_they_widen_the_plain_interval(make_samples: Make) -> None:
    before, after = experiment(np.random.default_rng(6), 60)
    base, candidate, whole = first(make_samples, before, after, 60)
    seeds = [candidate.assign(score=(candidate["score"] + shift).clip(0, 1), model_digest=f"s{shift}") for shift in (-0.02, 0.02)]
    (one,), (two,) = (adjust(base, {"ours": tables}, [whole], **FAST) for tables in (candidate, seeds))
    for alone, several in ((one.found, two.found), (one.plain, two.plain)):
        assert several[2] - several[1] > alone[2] - alone[1] + 0.1, "two seeds 4 points apart, at 12.7 standard errors"


def test_it_is_said_beside_the_verdicts_and_stands_in_files(make_samples: Make) -> None:
    before, after = experiment(np.random.default_rng(5), 60)
    base, candidate, whole = first(make_samples, before, after, 60)
    found = compare_methods(base, {"ours": candidate}, **FAST)
    exported = Exported(found, adjusted=adjust(base, {"ours": candidate}, [whole], **FAST))
    assert "ours, with the difficulty of its 60 questions" in as_text(exported)
    assert '"used": true' in as_json(exported)
    unknown = Adjusted("a", "why", (0.1, np.nan, np.nan), (0.1, np.nan, np.nan), 0.0, 1, 2, 0.95)
    assert '"low": null' in as_json(Exported(found, adjusted=[unknown]))
