"""The figure of one option: values in order, a line for each method, and nothing drawn of what is not known."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reports import canvas, studies
from reports.compare import MethodComparisons, compare_methods
from reports.studies import Study, from_records

Make = Callable[..., pd.DataFrame]
RECORD = {
    "option": "threshold",
    "lines": {"retmask": {"retmask(threshold=0.3)": 0.3, "retmask": 0.02}, "randmask": {"randmask": 0.02}},
    "masked": {"retmask(threshold=0.3)": 2, "retmask": 9},
}


@pytest.fixture
def found(make_samples: Make) -> MethodComparisons:
    baseline = make_samples(questions=12)
    up = {
        name: baseline.assign(score=(baseline["score"] + gain).clip(0, 1))
        for name, gain in (("retmask(threshold=0.3)", 0.1), ("retmask", 0.3))
    }
    return compare_methods(baseline, {**up, "randmask": baseline}, resamples=100)


def test_points_are_in_the_order_of_the_option(found: MethodComparisons) -> None:
    (study,) = from_records([RECORD])
    points = studies.points(study, "retmask", found.methods)
    assert [value for value, _ in points] == [0.02, 0.3]
    assert points[0][1].delta > points[1][1].delta > 0
    assert [each.scope for _, each in points] == ["overall", "overall"]


def test_gain_and_mask_size_are_drawn(found: MethodComparisons) -> None:
    (study,) = from_records([RECORD])
    for narrow in (False, True):
        above, below = studies.gain(study, found.methods, narrow=narrow).axes
        assert above.get_xscale() == "log"
        (sizes,) = (line for line in below.lines if len(line.get_xdata()) == 2)
        assert np.asarray(sizes.get_xydata()).tolist() == [[0.02, 9], [0.3, 2]]
        assert below.get_xlabel() == "threshold"
        assert canvas.to_svg(studies.gain(study, found.methods, narrow=narrow), "study", "a figure")


def test_without_masks_there_is_one_panel(found: MethodComparisons) -> None:
    study = Study("strength", {"retmask": {"retmask": 0.0, "retmask(threshold=0.3)": 0.5}})
    (only,) = studies.gain(study, found.methods).axes
    assert only.get_xscale() == "linear"


@pytest.mark.parametrize("broken", [{"lines": []}, {"masked": 3}, {"lines": {"a": {"b": float("nan")}}}, {"lines": {"a": {"b": "many"}}}])
def test_a_damaged_record_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"tables|numbers|could not convert"):
        from_records([{**RECORD, **broken}])


def test_intervals_at_one_value_stand_beside_each_other(found: MethodComparisons) -> None:
    (study,) = from_records([RECORD])
    figure = studies.gain(study, found.methods)
    figure.canvas.draw()
    bars = [line for line in figure.axes[0].lines if line.get_marker() == "_" and line.get_xdata()[0] == 0.02]
    places = sorted(float(line.get_transform().transform(line.get_xydata())[0, 0]) for line in bars)
    assert len(places) == 2
    assert places[1] - places[0] == pytest.approx(studies._BESIDE_INCHES * figure.dpi, rel=1e-3)
    low, high = figure.axes[0].get_ylim()
    reaches = [each for method in study.lines for _, each in studies.points(study, method, found.methods)]
    assert low <= min(100 * each.low for each in reaches)
    assert high >= max(100 * each.high for each in reaches)
