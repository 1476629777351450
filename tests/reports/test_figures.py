import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage, imread
from matplotlib.patches import Rectangle

from reports import canvas
from reports.compare import MethodComparisons, compare_methods
from reports.figures import forest, length_curves, training_curves
from reports.headfigures import KnockOut, before_after, head_map, knockout_curves, score_curve, score_distribution

Make = Callable[..., pd.DataFrame]
SCORES = [[0.0, 0.1, 0.9, 0.0], [0.05, 0.0, 0.2, 0.6], [0.0, 0.0, 0.0, 0.01]]
MASKS = {"retmask": [(0, 2), (1, 3)], "randmask": [(2, 0), (2, 1)]}


@pytest.fixture
def found(make_samples: Make) -> MethodComparisons:
    baseline = make_samples(questions=12)
    up = baseline.assign(score=(baseline["score"] + 0.1).clip(0, 1))
    return compare_methods(baseline, {"retmask": up, "rand$mask<b>": make_samples(seed=1, questions=12)}, resamples=100)


def words(figure: Figure) -> set[str]:
    root = ET.fromstring(canvas.to_svg(figure, "f", "a figure"))
    return {text for element in root.iter("{http://www.w3.org/2000/svg}text") if (text := "".join(element.itertext()).strip())}


def test_length_curves_have_a_panel_for_each_category_and_a_line_for_each_method(found: MethodComparisons) -> None:
    figure = length_curves(found.methods)
    assert [axes.get_title() for axes in figure.axes] == ["overall", "cite", "rag", "recall"]
    at = {each.length: each for each in found.methods["retmask"] if each.scope == "overall" and each.length}
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    for expected in ([at[n].baseline for n in (512, 1024)], [at[n].candidate for n in (512, 1024)]):
        assert any(np.allclose(np.asarray(line, dtype=float), 100 * np.array(expected)) for line in drawn)
    assert {"baseline", "retmask", "rand$mask<b>", "512", "1K", "overall", "rag"} <= words(figure)


def test_length_curves_show_ceiling_and_floor_where_they_are_known(found: MethodComparisons) -> None:
    plain, figure = length_curves(found.methods), length_curves(found.methods, {"rag": {512: (0.9, 0.1), 1024: (0.8, 0.2)}})
    added = {
        axes.get_title(): [list(line.get_ydata()) for line in axes.lines[len(before.lines) :]]
        for axes, before in zip(figure.axes, plain.axes, strict=True)
    }
    assert added == {"overall": [], "cite": [], "rag": [[90, 80], [10, 20]], "recall": []}


def test_series_differ_without_colour() -> None:
    looks = [canvas.BASELINE, *canvas.METHODS]
    assert len({look.marker for look in looks}) == len({look.dashes for look in looks}) == len(looks)


def test_more_methods_than_colours_look_different_still() -> None:
    looks = [canvas.look(position) for position in range(16)]
    assert looks[:4] == list(canvas.METHODS)
    assert len({(look.colour, look.marker) for look in looks}) == len({(look.colour, look.dashes) for look in looks}) == 16


def test_colours_stand_out_on_white_and_on_black() -> None:
    def luminance(colour: str) -> float:
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgba(colour)[:3])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for look in canvas.METHODS:
        assert 1.05 / (luminance(look.colour) + 0.05) >= 3
        assert (luminance(look.colour) + 0.05) / (luminance("#131517") + 0.05) >= 3


def test_one_length_still_shows_intervals(make_samples: Make) -> None:
    found = compare_methods(make_samples(lengths=(512,)), {"a": make_samples(lengths=(512,), seed=1)}, resamples=50)
    figure = length_curves(found.methods)
    segments = [tuple(segment[:, 1]) for each in figure.axes[0].collections for segment in getattr(each, "get_segments", list)()]
    overall = next(each for each in found.methods["a"] if each.scope == "overall" and each.length == 512)
    expected = (100 * (overall.baseline + overall.low), 100 * (overall.baseline + overall.high))
    assert any(segment == pytest.approx(expected) for segment in segments)


def test_labels_of_many_lengths_do_not_run_into_each_other(make_samples: Make) -> None:
    lengths = [512 * 2**power for power in range(9)]
    frame = make_samples(lengths=lengths, questions=3)
    found = compare_methods(frame, {"a": frame}, resamples=20)
    for narrow in (False, True):
        figure = length_curves(found.methods, narrow=narrow)
        with canvas.style():
            figure.draw_without_rendering()
        for axes in figure.axes:
            boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text() and label.get_visible()]
            assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
        assert "128K" in words(figure)


def test_a_panel_without_one_below_it_labels_its_axis() -> None:
    points = [{"step": 1.0, "a": 1.0, "b": 1.0, "c": 1.0}, {"step": 2.0, "a": 2.0, "b": 2.0, "c": 2.0}]
    figure = training_curves({"m": points})
    figure.draw_without_rendering()
    assert [any(label.get_visible() for label in axes.get_xticklabels()) for axes in figure.axes] == [False, True, True]


def test_steps_of_a_training_are_whole_numbers() -> None:
    figure = training_curves({"m": [{"step": step, "loss": 1 / step} for step in (1.0, 2.0, 3.0)]})
    ticks = figure.axes[0].get_xticks()
    assert [tick for tick in ticks if tick != int(tick)] == []


def test_a_legends_marker_is_as_it_is_drawn(found: MethodComparisons) -> None:
    """Hollow where the method claims nothing, with the bar of its interval."""
    figure = forest(found.methods)
    claimed = [any(each.claim for each in column if each.length is None and each.scope != "task") for column in found.methods.values()]
    assert True in claimed
    handles = figure.legends[0].get_lines()
    assert [handle.get_markerfacecolor() != "none" for handle in handles] == claimed
    assert all(handle.get_linestyle() == "-" for handle in handles)


def test_forest_fills_a_marker_only_where_a_difference_is_claimed(found: MethodComparisons) -> None:
    figure = forest(found.methods)
    markers = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    expected = {
        round(100 * each.delta, 9): each.claim != 0
        for column in found.methods.values()
        for each in column
        if each.scope != "task" and each.length is None
    }
    drawn = {round(float(np.asarray(line.get_xdata())[0]), 9): line.get_markerfacecolor() != "none" for line in markers}
    assert drawn == expected
    assert set(expected.values()) == {True, False}
    assert {"overall", "cite", "retmask"} <= words(figure)


def test_long_names_over_a_head_map_do_not_meet() -> None:
    figure = head_map(SCORES, {f"retmask(detector=attribution, threshold={x})": [(0, 0)] for x in (0.05, 0.1, 0.2)})
    figure.canvas.draw()
    boxes = [axes.title.get_window_extent() for axes in figure.axes[:3]]
    assert boxes[0].x1 < boxes[1].x0
    assert boxes[2].y1 < figure.axes[0].get_window_extent().y0
    assert min(box.x0 for box in boxes) >= 0


def test_a_head_map_outlines_exactly_the_masked_heads() -> None:
    figure = head_map(SCORES, {**MASKS, "none": []})
    panels = [axes for axes in figure.axes if any(isinstance(child, AxesImage) for child in axes.get_children())]
    assert [axes.get_title().replace("\n", " ") for axes in panels] == ["retmask: 2 of 12 heads masked", "randmask: 2 of 12 heads masked"]
    for axes, heads in zip(panels, MASKS.values(), strict=True):
        frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert {(patch.get_y() + 0.5, patch.get_x() + 0.5) for patch in frames} == set(heads)
        assert np.array_equal(np.asarray(axes.images[0].get_array()), np.array(SCORES))


def test_the_sorted_curve_counts_the_heads_above_the_threshold_and_places_the_masks() -> None:
    figure = score_curve(SCORES, MASKS, 0.2)
    assert "threshold 0.2: 3 of 12 heads" in words(figure)
    assert "masked by randmask" in words(figure)
    curve, strip = figure.axes
    assert list(np.asarray(curve.lines[0].get_ydata())) == sorted(np.ravel(SCORES), reverse=True)
    assert sorted(np.asarray(strip.lines[0].get_xdata())) == [1, 2]


def test_the_distribution_counts_every_head_once() -> None:
    figure = score_distribution(SCORES, 0.2)
    bars = [patch.get_height() for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert sum(bars) == 12
    assert not any("mathdefault" in word for word in words(figure))


def test_figures_without_masks_or_threshold_can_be_drawn() -> None:
    assert "retrieval score" in words(head_map(SCORES, {}))
    assert not any("threshold" in word for word in words(score_curve(SCORES, {}, None)) | words(score_distribution(SCORES, None)))


@pytest.mark.parametrize(("scores", "heads"), [([[0.1, 0.2]], [(0, 2)]), ([[0.1, 0.2]], [(-1, 0)]), ([[float("nan")]], []), ([], [])])
def test_impossible_scores_and_heads_are_refused(scores: list[list[float]], heads: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="head"):
        head_map(scores, {"m": heads})


def test_svg_is_deterministic_and_two_figures_can_share_a_page() -> None:
    first, again = (canvas.to_svg(score_distribution(SCORES, 0.2), "one", "d") for _ in range(2))
    assert first == again
    other = canvas.to_svg(score_distribution(SCORES, 0.2), "two", "d")
    ids = [{element.get("id") for element in ET.fromstring(svg).iter() if element.get("id")} for svg in (first, other)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_svg_follows_the_theme_and_escapes_names(found: MethodComparisons) -> None:
    svg = canvas.to_svg(forest(found.methods), "f", 'say "<b>"')
    assert svg.startswith('<svg role="img" aria-label="say &quot;&lt;b&gt;&quot;"')
    assert "currentColor" in svg
    assert canvas.INK not in svg
    assert "<b>" not in svg


def test_no_text_leaves_the_figure(found: MethodComparisons) -> None:
    curves = [{"step": step, "loss": 1 / (step + 1), "learning_rate": 1e-5 * step} for step in range(5)]
    drawings = (
        partial(forest, found.methods),
        partial(forest, found.contrasts),
        partial(length_curves, found.methods),
        partial(head_map, SCORES, MASKS),
        partial(score_curve, SCORES, MASKS, 0.2),
        partial(score_distribution, SCORES, 0.2),
        partial(training_curves, {"retmask": curves, "smaller-model": curves}),
    )
    for draw, narrow in product(drawings, (False, True)):
        figure = draw(narrow=narrow)
        assert figure.get_figwidth() <= (canvas.NARROW if narrow else 7.6)
        with canvas.style():
            figure.draw_without_rendering()
            drawn = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert drawn.x0 >= -0.02
        assert drawn.y0 >= -0.02
        assert drawn.x1 <= width + 0.02
        assert drawn.y1 <= height + 0.02


def test_save_writes_svg_and_png_and_leaves_the_settings_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    svg, png = canvas.save(score_distribution(SCORES, 0.2), tmp_path / "figures" / "heads.v1", "d")
    assert (svg.name, png.name) == ("heads.v1.svg", "heads.v1.png")
    assert ET.parse(svg).getroot().tag.endswith("svg")
    assert imread(png).shape[:2] == (480, 1280)
    assert dict(mpl.rcParams) == before


CURVES: dict[str, KnockOut] = {
    "retrieval": [(0, (0.9, 0.8, 1.0), (1.0, 1.0, 1.0)), (4, (0.2, 0.1, 0.3), (1.1, 1.0, 1.2))],
    "random<b>": [(0, (0.9, 0.8, 1.0), (1.0, 1.0, 1.0)), (4, (0.8, 0.7, 0.9), (5.0, 4.5, 6.0))],
}


def test_knockout_curves_have_a_line_with_intervals_for_each_kind_of_mask() -> None:
    figure = knockout_curves(CURVES, chosen=4)
    accuracy, perplexity = figure.axes
    values = [np.asarray(bars.lines[0].get_ydata()).tolist() for bars in accuracy.containers]
    assert values == [[90.0, 20.0], [90.0, 80.0]]
    assert len({line[0].get_marker() for line in accuracy.containers}) == 2
    reach = [segment[:, 1].tolist() for segment in accuracy.containers[0].lines[2][0].get_segments()]
    assert reach == [pytest.approx([80, 100]), pytest.approx([10, 30])]
    assert [label.get_text() for label in accuracy.get_xticklabels()] == ["0", "4"]
    assert perplexity.get_yscale() == "log"
    assert {"retrieval", "random<b>", "chosen: 4", "heads masked"} <= words(figure)
    assert not any("mathdefault" in word for word in words(figure))


def test_knockout_curves_need_curves() -> None:
    with pytest.raises(ValueError, match="no knock-out curves"):
        knockout_curves({}, None)


def test_before_and_after_separate_masked_heads_from_others() -> None:
    after = np.array(SCORES) + 0.05
    figure = before_after(SCORES, after, 0.2)
    _, masked, other, *_ = figure.axes[0].lines
    assert sorted(np.asarray(masked.get_xdata())) == [0.2, 0.6, 0.9]
    assert len(np.asarray(other.get_xdata())) == 9
    assert "masked heads (3): mean change +0.050" in words(figure)
    with pytest.raises(ValueError, match="different models"):
        before_after(SCORES, [[0.1]], 0.2)
