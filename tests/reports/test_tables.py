import csv
import io
import json
from collections.abc import Callable, Mapping

import pandas as pd
import pytest
from rich.console import Console

from reports.compare import Comparison, MethodComparisons, compare_methods
from reports.comparison import chance
from reports.safe import cell
from reports.tables import csv_text, difference, json_text, legend, length_label, lines, markdown, records, terminal

Make = Callable[..., pd.DataFrame]


@pytest.fixture
def found(make_samples: Make) -> MethodComparisons:
    baseline = make_samples(questions=12)
    up = baseline.assign(score=(baseline["score"] + 0.1).clip(0, 1))
    return compare_methods(baseline, {"retmask": up, "[bold]odd|name": make_samples(seed=1, questions=12)}, resamples=200)


def comparison(**changes: object) -> Comparison:
    values: dict[str, object] = {
        "scope": "overall", "task": None, "category": None, "length": 512, "metric": None, "baseline": 0.5, "candidate": 0.6,
        "delta": 0.1, "low": 0.05, "high": 0.15, "p": 0.01, "mde": 0.07, "n_examples": 10, "n_clusters": 5,
    }  # fmt: skip
    return Comparison(**(values | changes))  # type: ignore[arg-type]


def printed(comparisons: Mapping[str, list[Comparison]], **options: object) -> str:
    console = Console(file=io.StringIO(), width=160, color_system=None)
    console.print(terminal(comparisons, **options))  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_run_through_the_lengths_and_end_with_their_mean(found: MethodComparisons) -> None:
    assert [(line.label, line.length) for line in lines(found.methods)] == [
        (label, length) for label in ("overall", "cite", "rag", "recall") for length in (512, 1024, None)
    ]


def test_a_single_length_has_no_mean(make_samples: Make) -> None:
    found = compare_methods(make_samples(lengths=(512,)), {"a": make_samples(lengths=(512,), seed=1)}, resamples=20)
    assert {line.length for line in lines(found.methods)} == {512}


def test_a_difference_is_marked_by_a_sign_only_if_its_interval_excludes_0() -> None:
    assert difference(comparison(wins=2, losses=1)) == "+10.0 [+5.0, +15.0] 60% ▲"
    assert difference(comparison(delta=-0.1, low=-0.15, high=-0.05, losses=5)) == "−10.0 [−15.0, −5.0] 0% ▼"
    assert difference(comparison(low=-0.01)) == "+10.0 [−1.0, +15.0] 50%"
    assert difference(comparison(low=float("nan"), high=float("nan"))) == "+10.0 [n/a, n/a] 50%"
    assert difference(comparison(always_valid=True)) == "+10.0 [+5.0, +15.0] ▲", "what stopped early is not counted"


@pytest.mark.parametrize(("share", "said"), [(0.5, "50%"), (1.0, "100%"), (0.999, "99%"), (0.001, "1%"), (float("nan"), "")])
def test_a_chance_is_certain_only_where_every_question_agrees(share: float, said: str) -> None:
    assert chance(share) == said


def test_terminal_shows_baseline_candidate_and_interval_and_takes_names_literally(found: MethodComparisons) -> None:
    text = printed(found.methods, title="Scores")
    first = lines(found.methods)[0].comparisons[0]
    row = next(line for line in text.splitlines() if "overall" in line and "512" in line)
    assert f"{100 * first.baseline:.1f}" in row
    assert f"{100 * first.candidate:.1f}  {difference(first)}" in row
    assert "▲" in row
    assert "[bold]odd|name" in text
    assert "\x1b" not in text


def test_many_methods_stand_below_each_other_with_their_whole_names() -> None:
    names = [f"retmask(detection_trials=10, top_k={number})" for number in range(6)]
    columns = {name: [comparison(length=512), comparison(scope="category", category="rag", delta=0.2)] for name in names}
    for contrast in (False, True):
        text = printed(columns, contrast=contrast)
        rows = [line for line in text.splitlines() if "top_k=" in line]
        assert [name for line in rows for name in names if name in line] == 2 * names
        assert sum("overall" in line for line in rows) == 1
        assert sum("+20.0" in line for line in rows) == 6
        assert "difference [interval]" in text
    assert "retmask(detection_trials=10, top_k=5)" in printed(dict(list(columns.items())[5:]))


def test_a_contrast_has_no_baseline_column(found: MethodComparisons) -> None:
    text = printed(found.contrasts, contrast=True)
    assert "baseline" not in text
    assert "retmask minus [bold]odd|name" in text


def test_markdown_has_as_many_cells_in_every_row_and_escapes_pipes(found: MethodComparisons) -> None:
    rows = [line for line in markdown(found.methods).splitlines() if line.startswith("|")]
    assert "\\[bold\\]odd\\|name" in rows[0]
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}
    assert len(rows) == 2 + 4 * 3
    assert markdown(found.contrasts, contrast=True).splitlines()[0].count("length | retmask minus") == 1


def test_json_holds_every_figure_unrounded_and_no_nan(found: MethodComparisons) -> None:
    read = json.loads(json_text(found.methods))
    assert len(read) == sum(len(column) for column in found.methods.values())
    assert read[0]["name"] == "retmask"
    assert read[0]["delta"] == found.methods["retmask"][0].delta
    assert read[0]["improvement"] == found.methods["retmask"][0].improvement > 0.9
    unknown = json.loads(json_text({"a": [comparison(low=float("nan"))]}))
    assert unknown[0]["low"] is None


def test_csv_reads_back_as_the_records(found: MethodComparisons) -> None:
    read = list(csv.DictReader(io.StringIO(csv_text(found.methods))))
    for back, record in zip(read, records(found.methods), strict=True):
        assert back["name"] == record["name"]
        assert float(back["low"]) == record["low"]
        assert back["length"] == ("" if record["length"] is None else str(record["length"]))


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_text_cell_starts_like_a_formula(text: str) -> None:
    assert cell(text) == "'" + text
    row = next(csv.DictReader(io.StringIO(csv_text({text: [comparison(category=text, delta=-0.1)]}), newline="")))
    assert row["name"].startswith("'")
    assert row["category"].startswith("'")
    assert row["delta"] == "-0.1"


@pytest.mark.parametrize(("length", "label"), [(512, "512"), (1024, "1K"), (131072, "128K"), (1000, "1000"), (None, "mean")])
def test_lengths_are_named_as_in_helmet(length: int | None, label: str) -> None:
    assert length_label(length) == label


def test_the_legend_says_which_categories_the_overall_score_is_over(make_samples: Callable[..., pd.DataFrame]) -> None:
    def legend_of(*names: str) -> str:
        suite = [(f"task_{name}", name, ["m"]) for name in names]
        return legend(compare_methods(make_samples(suite=suite), {"m": make_samples(seed=1, suite=suite)}, resamples=100).methods)

    five = ("recall", "rag", "cite", "rerank", "icl")
    assert "verall: " not in legend_of(*five)
    assert legend_of(*five, "longqa", "summ").endswith("Overall: the mean over HELMET's seven categories.")
    assert legend_of(*five, "summ").endswith("Overall: the mean over 6 categories, not HELMET's seven.")
