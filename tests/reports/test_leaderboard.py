import csv
import io
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reports.boardfiles import csv_text, html, markdown
from reports.compare import CompareError, compare, verdict
from reports.leaderboard import Entry, board, ranks
from reports.reference import published
from reports.stopping import Stopping, plan_order

Make = Callable[..., pd.DataFrame]


def shifted(frame: pd.DataFrame, shift: float, seed: int = 0) -> pd.DataFrame:
    moved = frame["score"] + shift + np.random.default_rng(seed).normal(0, 0.05, len(frame))
    return frame.assign(score=moved.clip(0, 1))


@pytest.fixture
def entries(make_samples: Make) -> list[Entry]:
    base = make_samples(questions=25)
    return [
        Entry("worst", shifted(base, -0.2, 1)),
        Entry("middle", shifted(base, 0.0, 2)),
        Entry("twin", shifted(base, 0.0, 3)),
        Entry("best", shifted(base, 0.2, 4)),
    ]


def test_ranks_are_ranges_where_the_data_do_not_tell(entries: list[Entry]) -> None:
    column = board(entries, resamples=500).columns[0]
    assert column.length is None
    found = {row.name: (row.best, row.worst) for row in column.rows}
    assert found == {"best": (1, 1), "middle": (2, 3), "twin": (2, 3), "worst": (4, 4)}
    assert [row.overall for row in column.rows] == sorted((row.overall for row in column.rows), reverse=True)
    assert all(row.low <= row.overall <= row.high for row in column.rows)


def test_every_pair_says_how_often_the_better_one_does_better(make_samples: Make) -> None:
    base = make_samples(questions=20, lengths=(512,), suite=(("niah", "recall", ("em",)),)).assign(score=0.5)
    place = base["cluster"].str.removeprefix("q").astype(int)
    ahead = base.assign(score=np.where(place < 8, 0.9, np.where(place < 11, 0.4, 0.5)), model_digest="b")
    for entries in ([Entry("a", base), Entry("b", ahead)], [Entry("b", ahead), Entry("a", base)]):
        found = board(entries, resamples=100)
        (pair,) = found.columns[0].pairs
        assert (pair.one, pair.improvement) == ("b", pytest.approx((8 + 9 / 2) / 20))
        assert '<span class="range">62%</span>' in html(found)


def test_equal_models_share_all_ranks() -> None:
    draws = np.random.default_rng(0).normal(0, 1, (500, 3))
    assert ranks(np.zeros(3), draws, 0.95) == ([1, 1, 1], [3, 3, 3])
    assert ranks(np.zeros(1), draws[:, :1], 0.95) == ([1], [1])
    assert ranks(np.zeros(2), np.zeros((500, 2)), 0.95) == ([1, 1], [2, 2])


def test_a_rank_is_not_surer_than_the_verdict(make_samples: Make) -> None:
    """Four questions got worse, all of them by the same: the bootstrap excludes 0, the permutation test (p = 2 / 2^4) does not."""
    base = make_samples(questions=20, lengths=(512,), suite=(("niah", "recall", ("em",)),))
    hit = base["cluster"].isin([f"q{n}" for n in range(4)])
    worse = base.assign(score=np.where(hit, base["score"] - 0.3, base["score"]).clip(0, 1))
    (column,) = board([Entry("one", base), Entry("other", worse)], resamples=2000).columns
    assert [(row.best, row.worst) for row in column.rows] == [(1, 2), (1, 2)]
    assert verdict(compare(base, worse, resamples=2000)).startswith("No detectable difference")


def test_a_page_says_where_published_results_are_missing(entries: list[Entry]) -> None:
    found = board(entries, references=published(), resamples=100)
    assert not any(column.references for column in found.columns)
    for text in (html(found), markdown(found)):
        assert "No published HELMET results here for mean over lengths, 512 tokens, 1K tokens: there are some for 8K, 16K" in text
    assert "No published" not in html(board(entries, resamples=100))


def test_true_ranks_lie_in_their_ranges_as_often_as_promised() -> None:
    """Six models, three of them tied: all ranges hold at once in 95% of experiments."""
    truth = np.array([0.0, 0.0, 0.0, 0.1, 0.2, 0.4])
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores = truth + rng.normal(0, 0.3, (60, 6)) + rng.normal(0, 0.5, (60, 1))
        weights = rng.multinomial(60, np.full(60, 1 / 60), size=400) / 60
        best, worst = ranks(scores.mean(axis=0), weights @ scores, 0.95)
        low = [1 + int((truth > each).sum()) for each in truth]
        high = [int((truth >= each).sum()) for each in truth]
        held += all(b <= one and w >= two for b, w, one, two in zip(best, worst, low, high, strict=True))
    assert held / 200 >= 0.92


def test_only_comparable_runs_are_ranked_together(entries: list[Entry], make_samples: Make) -> None:
    strangers = [
        Entry("other suite", make_samples().assign(suite_digest="other")),
        Entry("other engine", entries[0].table.assign(backend="vllm")),
        Entry("half", entries[0].table.iloc[::2]),
    ]
    found = board([strangers[0], *entries, *strangers[1:]], resamples=100)
    assert {row.name for row in found.columns[0].rows} == {entry.name for entry in entries}
    assert dict(found.others) == {
        "other suite": "another suite (other, not s)",
        "other engine": "another backend (vllm, not hf)",
        "half": "other examples of the same suite",
    }


def test_published_rows_are_those_of_the_paper() -> None:
    rows = published()
    assert len(rows) == 95
    assert len({row.model for row in rows}) == 19
    llama = next(row for row in rows if row.model == "Llama-3.1-8B-Inst" and row.length == 131072)
    assert llama.overall(tuple(llama.scores)) == pytest.approx(llama.average, abs=0.0006)
    assert llama.overall(("recall", "magic")) is None


def test_references_stand_beside_runs_of_their_length_without_a_rank(make_samples: Make) -> None:
    base = make_samples(lengths=(512, 8192), questions=8)
    found = board([Entry("a", base), Entry("b", shifted(base, 0.1))], references=published(), resamples=100)
    at = {column.length: column for column in found.columns}
    assert len(at[8192].references) == 19
    assert at[512].references == at[None].references == ()
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    gpt = next(row for row in rows if row["model"] == "GPT-4o-mini")
    assert (gpt["kind"], gpt["rank_best"], gpt["reason"]) == ("published", "", "not re-run")
    assert float(gpt["overall"]) == pytest.approx((0.998 + 0.726 + 0.361) / 3)
    text = markdown(found)
    assert "GPT-4o-mini (published)" in text
    assert "not re-run" in text
    assert html(found).count('class="published"') == 19


def test_hostile_names_stay_text(make_samples: Make) -> None:
    name = "=1+1<script>alert(1)</script>|"
    found = board([Entry(name, make_samples())], resamples=100)
    assert "<script>alert" not in html(found)
    assert next(csv.DictReader(io.StringIO(csv_text(found))))["model"].startswith("'=")
    assert {line.replace("\\|", "").count("|") for line in markdown(found).splitlines() if line.startswith("|")} == {8}


def test_nothing_and_two_of_a_name_are_refused(make_samples: Make) -> None:
    with pytest.raises(CompareError, match="nothing to rank"):
        board([])
    with pytest.raises(CompareError, match="two evaluations"):
        board([Entry("a", make_samples()), Entry("a", make_samples(seed=1))])


def test_what_stopped_early_has_no_rank(entries: list[Entry]) -> None:
    table = entries[0].table
    order = plan_order(table, 0)
    part = table[order.round_of(table) < 15].reset_index(drop=True)
    stopped = Entry("short", Stopping(order, 15, 180, False, (15,), decision="worse").attach(part))
    found = board([*entries, stopped], resamples=100)
    assert found.others == (("short", "stopped early after 180 of 300 examples"),)
    assert "short" not in {row.name for row in found.columns[0].rows}
    with pytest.raises(CompareError, match="nothing to rank: short stopped early"):
        board([stopped], resamples=100)


def test_intervals_are_drawn_on_one_scale(make_samples: Make) -> None:
    """From the lowest end to the highest; what is drawn is where the numbers say."""
    entries = [Entry(name, make_samples(shift=shift, questions=12)) for name, shift in (("low", -0.1), ("high", 0.1))]
    found = board(entries, resamples=200)
    text = html(found)
    rows = found.columns[0].rows
    left, right = min(row.low for row in rows), max(row.high for row in rows)
    ends = re.search(r"drawn from ([\d.]+) to ([\d.]+) points", text)
    assert ends is not None
    assert float(ends[1]) <= 100 * left < float(ends[1]) + 1
    assert float(ends[2]) - 1 < 100 * right <= float(ends[2])
    drawn = re.findall(r"--low:([\d.]+)%;--at:([\d.]+)%;--size:([\d.]+)%", text)[: len(rows)]
    scale = (float(ends[2]) - float(ends[1])) / 100
    for row, (low, at, size) in zip(rows, drawn, strict=True):
        assert float(ends[1]) + float(low) * scale == pytest.approx(100 * row.low, abs=0.1)
        assert float(ends[1]) + float(at) * scale == pytest.approx(100 * row.overall, abs=0.1)
        assert float(size) * scale == pytest.approx(100 * (row.high - row.low), abs=0.1)
