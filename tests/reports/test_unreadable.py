"""Scores that are missing because a verdict cannot be read: rows of the file, in no mean, and out of every comparison on all sides."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.check import check
from reports.comparable import alike
from reports.compare import compare_methods
from reports.comparison import CompareError
from reports.leaderboard import Entry, board
from reports.noise import noise
from reports.policy import Policy
from reports.samples import UNREADABLE, SamplesError, read, unreadable, validate, write

Make = Callable[..., pd.DataFrame]
SUITE = [("narrativeqa", "longqa", ["judged_score"]), ("nq", "rag", ["sub_em"])]


def lacking(frame: pd.DataFrame, examples: tuple[str, ...], path: Path, length: int = 512) -> pd.DataFrame:
    """As read again after it was written without a score of these examples of NarrativeQA."""
    lost = (frame["task"] == "narrativeqa") & (frame["length"] == length) & frame["example_id"].isin(examples)
    reasons = lost.map({True: "it holds no JSON object", False: ""})
    write(frame.assign(score=frame["score"].mask(lost), **{UNREADABLE: reasons}), path)
    return read(path)


def test_the_file_has_the_rows_and_the_table_names_them(make_samples: Make, tmp_path: Path) -> None:
    frame = make_samples(suite=SUITE)
    found = lacking(frame, ("q1d0",), tmp_path / "a.parquet")
    assert unreadable(found) == [("narrativeqa", 512, "judged_score", "q1d0")]
    assert len(found) == len(frame) - 1
    whole = pd.read_parquet(tmp_path / "a.parquet")
    assert len(whole) == len(frame)
    assert whole.loc[whole["score"].isna(), UNREADABLE].tolist() == ["it holds no JSON object"]
    assert UNREADABLE not in lacking(frame, (), tmp_path / "b.parquet").columns


def test_a_score_is_missing_with_its_reason_alone(make_samples: Make, tmp_path: Path) -> None:
    frame = make_samples(suite=SUITE)
    with pytest.raises(SamplesError, match="score is missing"):
        validate(frame.assign(score=np.nan))
    with pytest.raises(SamplesError, match="a row has a score, or the reason"):
        write(frame.assign(**{UNREADABLE: "why"}), tmp_path / "x.parquet")
    with pytest.raises(SamplesError, match="score is missing"):
        write(frame.assign(score=np.nan, **{UNREADABLE: ""}), tmp_path / "x.parquet")
    write(frame.assign(score=np.nan, **{UNREADABLE: "why"}), tmp_path / "x.parquet")
    with pytest.raises(SamplesError, match="no verdict on any answer"):
        read(tmp_path / "x.parquet")


def test_a_comparison_leaves_them_out_on_all_sides_and_says_so(make_samples: Make, tmp_path: Path) -> None:
    base = lacking(make_samples(suite=SUITE), ("q1d0",), tmp_path / "a.parquet")
    better = lacking(make_samples(suite=SUITE, seed=1, shift=0.1), ("q2d1", "q3d0"), tmp_path / "b.parquet")
    found = compare_methods(base, {"m": better}, resamples=200)
    assert found.notes[0] == (
        "3 examples are left out on all sides, because a judge's verdict on one side cannot be read (baseline: 1, m: 2)."
    )
    gone = ["q1d0", "q2d1", "q3d0"]

    def kept(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[~((frame["task"] == "narrativeqa") & (frame["length"] == 512) & frame["example_id"].isin(gone))]

    by_hand = compare_methods(kept(make_samples(suite=SUITE)), {"m": kept(make_samples(suite=SUITE, seed=1, shift=0.1))}, resamples=200)
    assert found.methods == by_hand.methods


def test_one_answer_of_several_that_can_be_read_is_enough(make_samples: Make, tmp_path: Path) -> None:
    frame = make_samples(suite=SUITE)
    twice = pd.concat([frame.assign(generation=n, temperature=0.5) for n in (1, 2)], ignore_index=True)
    lost = (twice["task"] == "narrativeqa") & (twice["example_id"] == "q1d0") & (twice["generation"] == 2)
    write(twice.assign(score=twice["score"].mask(lost), **{UNREADABLE: lost.map({True: "why", False: ""})}), tmp_path / "a.parquet")
    tables, notes = alike({"": [read(tmp_path / "a.parquet")]})
    assert notes == []
    assert len(tables[""][0]) == len(twice) - 2


def test_a_task_without_any_readable_verdict_is_not_compared(make_samples: Make, tmp_path: Path) -> None:
    frame = make_samples(suite=SUITE)
    all_of_them = tuple(frame["example_id"].unique())
    torn = lacking(frame, all_of_them, tmp_path / "a.parquet")
    with pytest.raises(CompareError, match="no verdict on narrativeqa at length 512 can be read on all sides"):
        compare_methods(frame, {"m": torn}, resamples=200)


def test_a_check_counts_them_as_missing_and_never_as_zero(make_samples: Make, tmp_path: Path) -> None:
    frame = make_samples(suite=SUITE, questions=40)
    torn = lacking(frame, tuple(f"q{n}d0" for n in range(8)), tmp_path / "a.parquet")
    report = check(frame, torn, Policy(margin_overall=0.2, margin_category=None), resamples=200)
    (missing,) = [each for each in report.findings if each.name == "missing examples"]
    assert missing.status == "fail"
    (margin,) = [each for each in report.findings if each.name == "overall"]
    assert margin.status == "pass", margin
    assert "0.0" in margin.figures, "the same answers: a score of 0 for 8 of them would be a loss"
    assert any("left out on all sides" in each for each in report.notes)


def test_a_board_ranks_those_of_one_judge_on_what_all_of_them_have(make_samples: Make, tmp_path: Path) -> None:
    one = lacking(make_samples(suite=SUITE).assign(model_digest="a"), ("q1d0",), tmp_path / "a.parquet")
    two = make_samples(suite=SUITE, seed=1).assign(model_digest="b")
    found = board([Entry("one", one), Entry("two", two)], resamples=200)
    assert {row.name for row in found.columns[0].rows} == {"one", "two"}
    assert any("1 example is left out" in each for each in found.notes)


def test_the_noise_floor_too(make_samples: Make, tmp_path: Path) -> None:
    frame = make_samples(suite=SUITE)
    found = noise(frame, lacking(frame, ("q1d0",), tmp_path / "a.parquet"))
    assert found.scores_changed == 0
    assert "1 example is left out" in found.notes[0]


@pytest.mark.parametrize("allow", [(), ("scorer",)])
def test_two_judges_are_never_compared(make_samples: Make, allow: tuple[str, ...]) -> None:
    one, two = (make_samples(suite=SUITE).assign(scorer=f"parity-3 judged by {name}") for name in ("a 1", "b 2"))
    with pytest.raises(CompareError, match="same judge"):
        compare_methods(one, {"m": two}, resamples=200, allow=allow)
