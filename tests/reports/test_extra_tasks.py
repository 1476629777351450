"""Extra tasks before and after: paired intervals, groups, perplexities, and what gets no interval."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports import extra_tables, extra_tasks
from reports.compare import CompareError
from reports.extra_tasks import Change, ExtraScores, Figure

SETTINGS = {"resamples": 4000, "seed": 1, "confidence": 0.95}


def model(values: dict[str, list[float]], aggregation: str = "mean", weights: list[float] | None = None) -> ExtraScores:
    """Tasks with a document for each value."""
    rows = [
        {"task": task, "metric": "acc", "filter": "none", "document": at, "hash": f"{task}{at}", "value": value, "weight": weight}
        for task, scores in values.items()
        for at, (value, weight) in enumerate(zip(scores, weights or [1.0] * len(scores), strict=True))
    ]
    figures = [figure(task, value_of(scores, aggregation, weights), aggregation) for task, scores in values.items()]
    return ExtraScores(tuple(figures), pd.DataFrame(rows))


def value_of(scores: list[float], aggregation: str, weights: list[float] | None) -> float:
    mean = sum(scores) / sum(weights or [1.0] * len(scores))
    return {"mean": mean, "weighted_perplexity": math.exp(-mean), "bits_per_byte": -mean / math.log(2), "other": 0.5}[aggregation]


def figure(name: str, value: float, aggregation: str, members: tuple[str, ...] = ()) -> Figure:
    better = aggregation not in ("weighted_perplexity", "bits_per_byte")
    return Figure(name, "acc", "none", value, 0.01, better, 1.0, 0, True, aggregation, members)


def draws(count: int, seed: int, mean: float = 0.6) -> list[float]:
    return [float(each) for each in (np.random.default_rng(seed).random(count) < mean)]


def only(found: dict[str, list[Change]], name: str = "task") -> Change:
    (change,) = [each for each in found["method"] if each.name == name]
    return change


def test_the_interval_is_that_of_the_paired_difference() -> None:
    before = draws(400, 1)
    after = [1.0 - value if at % 10 == 0 and value else value for at, value in enumerate(before)]
    change = only(extra_tasks.compare(model({"task": before}), {"method": [model({"task": after})]}, **SETTINGS))
    differences = np.array(after) - np.array(before)
    half = 1.96 * differences.std(ddof=1) / math.sqrt(len(differences))
    assert change.delta == pytest.approx(differences.mean())
    assert change.high - change.low == pytest.approx(2 * half, rel=0.1)
    unpaired = 1.96 * math.sqrt((np.var(before) + np.var(after)) / len(before))
    assert change.high - change.low < unpaired, "the same documents tell more than two samples would"
    assert change.sign == -1
    assert change.p < 0.01


@pytest.mark.parametrize("better", [True, False])
def test_the_probability_of_improvement_counts_documents(better: bool) -> None:
    """Three better and one worse of ten, however much: (3 + 6/2) / 10; where lower is better the other way round."""
    before, after = [0.5] * 10, [0.9, 0.6, 0.7, 0.1] + [0.5] * 6
    first, second = (
        replace(each, figures=tuple(replace(one, higher_is_better=better) for one in each.figures))
        for each in (model({"task": before}), model({"task": after}))
    )
    change = only(extra_tasks.compare(first, {"method": [second]}, **SETTINGS))
    assert change.improvement == pytest.approx(0.6 if better else 0.4)
    shown = extra_tables.markdown({"method": [change]})
    assert ("60%" if better else "40%") in shown


def test_a_groups_probability_of_improvement_is_over_all_its_documents() -> None:
    def group(scores: dict[str, list[float]]) -> ExtraScores:
        made = model(scores)
        return replace(
            made, figures=(figure("group", float(np.mean([each.value for each in made.figures])), "unweighted", ("a", "b")), *made.figures)
        )

    found = extra_tasks.compare(group({"a": [0.0] * 6, "b": [0.0] * 4}), {"method": [group({"a": [1.0] * 6, "b": [0.0] * 4})]}, **SETTINGS)
    assert only(found, "group").improvement == pytest.approx(0.8)
    assert [only(found, name).improvement for name in ("a", "b")] == [1.0, 0.5]


@pytest.mark.parametrize(("aggregation", "expected"), [("weighted", (90 * 0.5 + 10 * 1.0) / 100), ("unweighted", 0.75)])
def test_a_groups_figure_follows_from_its_tasks_as_lm_eval_has_it(aggregation: str, expected: float) -> None:
    def group(scores: dict[str, list[float]]) -> ExtraScores:
        made = model(scores)
        values, sizes = [each.value for each in made.figures], [len(each) for each in scores.values()]
        value = float(np.average(values, weights=sizes if aggregation == "weighted" else None))
        return replace(made, figures=(figure("group", value, aggregation, ("large", "small")), *made.figures))

    before = {"large": [0.0] * 90, "small": [0.0] * 10}
    after = {"large": [0.0, 1.0] * 45, "small": [1.0] * 10}
    change = only(extra_tasks.compare(group(before), {"method": [group(after)]}, **SETTINGS), "group")
    assert change.delta == pytest.approx(expected)
    assert change.low < expected < change.high
    assert change.documents == 100
    share = 0.9 if aggregation == "weighted" else 0.5
    assert change.high - change.low == pytest.approx(2 * 1.96 * share * 0.5 / math.sqrt(90), rel=0.15)


def test_a_perplexity_is_computed_anew_in_each_resample() -> None:
    rng = np.random.default_rng(3)
    lengths = [float(each) for each in rng.integers(20, 200, 300)]
    before = [-length * float(rng.normal(2.0, 0.2)) for length in lengths]
    after = [value - length * 0.05 for value, length in zip(before, lengths, strict=True)]
    sides = [model({"task": values}, "weighted_perplexity", lengths) for values in (before, after)]
    change = only(extra_tasks.compare(sides[0], {"method": [sides[1]]}, **SETTINGS))
    draw = rng.integers(0, 300, (4000, 300))
    values = [np.exp(-np.array(side)[draw].sum(axis=1) / np.array(lengths)[draw].sum(axis=1)) for side in (before, after)]
    low, high = np.quantile(values[1] - values[0], [0.025, 0.975])
    assert (change.low, change.high) == (pytest.approx(low, rel=0.05), pytest.approx(high, rel=0.05))
    assert math.isnan(change.p)
    assert change.sign == -1, "a higher perplexity is worse"


def test_what_is_no_mean_over_documents_gets_no_interval() -> None:
    found = extra_tasks.compare(model({"task": draws(30, 1)}, "other"), {"method": [model({"task": draws(30, 2)}, "other")]}, **SETTINGS)
    change = only(found)
    assert math.isnan(change.low)
    assert change.sign == 0
    assert "no interval: task acc" in extra_tables.sentence(found["method"], "method")


def test_a_figure_that_its_documents_do_not_give_gets_no_interval() -> None:
    odd = model({"task": draws(30, 1)})
    odd = replace(odd, figures=(replace(odd.figures[0], value=0.123),))
    assert math.isnan(only(extra_tasks.compare(odd, {"method": [model({"task": draws(30, 2)})]}, **SETTINGS)).low)


def test_training_seeds_widen_the_interval() -> None:
    before = draws(300, 1)
    seeds = [model({"task": draws(300, seed, mean)}) for seed, mean in ((2, 0.4), (3, 0.8))]
    one = only(extra_tasks.compare(model({"task": before}), {"method": seeds[:1]}, **SETTINGS))
    both = only(extra_tasks.compare(model({"task": before}), {"method": seeds}, **SETTINGS))
    assert both.candidate == pytest.approx(np.mean([seed.figures[0].value for seed in seeds]))
    assert both.high - both.low > one.high - one.low
    assert (both.n_seeds, both.candidate_stderr, one.candidate_stderr) == (2, None, 0.01)


def test_other_documents_are_refused() -> None:
    other = model({"task": draws(20, 1)})
    other.documents.loc[3, "hash"] = "changed"
    with pytest.raises(CompareError, match="not the same documents of task as the baseline \\(document 3\\)"):
        extra_tasks.compare(model({"task": draws(20, 1)}), {"method": [other]}, **SETTINGS)
    with pytest.raises(CompareError, match="not the same documents"):
        extra_tasks.compare(model({"task": draws(20, 1)}), {"method": [model({"task": draws(19, 1)})]}, **SETTINGS)


def test_many_figures_are_corrected_for_their_number() -> None:
    rng = np.random.default_rng(0)
    names = [f"task{at}" for at in range(30)]
    before = {name: [float(each) for each in rng.random(40) < 0.5] for name in names}
    after = {name: [float(each) for each in rng.random(40) < 0.5] for name in names}
    found = extra_tasks.compare(model(before), {"method": [model(after)]}, **SETTINGS)["method"]
    assert "worse: " not in extra_tables.sentence(found, "method")
    assert "improved: " not in extra_tables.sentence(found, "method")


def test_records_are_what_the_page_is_made_of_again() -> None:
    found = extra_tasks.compare(model({"task": draws(30, 1)}, "other"), {"method": [model({"task": draws(30, 2)}, "other")]}, **SETTINGS)
    again = extra_tasks.from_records(extra_tasks.records(found))
    assert repr(again) == repr(found)
    assert extra_tables.cells(again, top=True) == extra_tables.cells(found, top=True)


def test_names_from_files_are_harmless_in_tables(tmp_path: Path) -> None:
    scores = draws(30, 1)
    found = extra_tasks.compare(model({"[red]a|b": scores}), {"method": [model({"[red]a|b": scores})]}, **SETTINGS)
    assert "a\\|b" in extra_tables.markdown(found)
    assert "[red]" in str(next(iter(extra_tables.terminal(found).columns[0].cells)))


def test_a_perplexity_that_has_run_away_stays_readable() -> None:
    before = model({"task": [-3.0] * 20}, "weighted_perplexity")
    after = model({"task": [-30.0] * 20}, "weighted_perplexity")
    found = extra_tasks.compare(before, {"method": [after]}, **SETTINGS)
    ((left, ((shown, _),)),) = extra_tables.cells(found, top=True)
    assert left[-1].startswith("20.0855")
    assert shown.startswith("1.069e+13")
    assert "task acc (+1.069e+13)" in extra_tables.sentence(found["method"], "method")
