import dataclasses
import re
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser

import pandas as pd
import pytest

from reports import canvas
from reports.compare import MethodComparisons, compare_methods
from reports.contents import ReportData, Step
from reports.page import render
from reports.tables import difference

Make = Callable[..., pd.DataFrame]
HOSTILE = "<script>alert('x')</script>\"&"
VOID = {"meta", "br", "path", "use", "rect", "image", "circle"}


class Outline(HTMLParser):
    """Checks that tags are balanced; collects tags, ids and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and value:
                self.addresses.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def data(found: MethodComparisons) -> ReportData:
    return ReportData(
        title=f"run {HOSTILE}",
        verdict=[[f"first {HOSTILE}.", "More."], ["second $title"]],
        methods=tuple(found.methods),
        comparisons=found.methods,
        contrasts=found.contrasts,
        settings={HOSTILE: HOSTILE, "lengths": [512, 1024]},
        head_scores=((0.0, 0.9), (0.2, 0.0)),
        masked_heads={HOSTILE: ((0, 1),)},
        threshold=0.1,
        instructions=(f"Name a river. {HOSTILE}", "Which lake\nis deepest?"),
        facts={HOSTILE: {"pairs": 512, HOSTILE: {"nested": HOSTILE}}},
        steps=(Step(HOSTILE, 3.25, reused=True), Step("train", 3725, reused=False)),
        notes=(f"warning {HOSTILE}",),
    )


def hostile_methods(make_samples: Make) -> MethodComparisons:
    frames = [make_samples(seed=n, questions=8) for n in range(3)]
    frames = [frame.assign(category=frame["category"] + HOSTILE, task=frame["task"] + HOSTILE) for frame in frames]
    return compare_methods(frames[0], {HOSTILE: frames[1], "randmask": frames[2]}, resamples=50)


def test_a_page_is_safe_complete_and_needs_no_network(make_samples: Make) -> None:
    found = hostile_methods(make_samples)
    text = render(data(found))
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert "script" not in outline.tags
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in outline.addresses)
    assert not re.search(r"url\((?!#)|@import|<link", text)
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.tags.count("svg") == 2 * 6, "each figure for a wide and for a narrow screen"
    for heading in ("Scores", "Differences", "Score by length", "Heads", "Instructions", "Methods", "Cost", "Settings"):
        assert f"<h2>{heading}</h2>" in text
    assert f"<p><strong>first {escape(HOSTILE)}.</strong> More.</p>" in text, "the outcome stands out"
    assert "<strong>second $title</strong>" in text
    assert "warning &lt;script&gt;" in text
    assert f"<li><div>Name a river. {escape(HOSTILE)}</div></li>" in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    for each in found.methods["randmask"]:
        assert difference(each) in text
    assert text == render(data(found))


def test_costs_count_only_what_this_command_spent(make_samples: Make) -> None:
    text = render(dataclasses.replace(data(hostile_methods(make_samples)), head_scores=None, contrasts={}))
    assert "<td>3.2 s</td><td>reused</td>" in text
    assert "<strong>1 h 02 min</strong>" in text
    assert "<h2>Heads</h2>" not in text
    assert "Between methods" not in text


def test_a_minimal_report(make_samples: Make) -> None:
    found = compare_methods(make_samples(), {"a": make_samples(seed=1)}, resamples=20)
    text = render(ReportData(title="t", verdict="v", methods=("a",), comparisons=found.methods))
    assert "<h2>Scores</h2>" in text
    assert "<h2>Cost</h2>" not in text
    assert "<h2>Instructions</h2>" not in text
    assert "<h2>Settings</h2>" not in text


@pytest.mark.parametrize(("count", "folded"), [(8, False), (9, True)])
def test_of_many_verdicts_the_small_print_is_folded(count: int, folded: bool, make_samples: Make) -> None:
    found = compare_methods(make_samples(), {"a": make_samples(seed=1)}, resamples=80)
    said = [["No difference.", "Figures.", "Small print."]] * count
    text = render(ReportData(title="t", verdict=said, methods=("a",), comparisons=found.methods))
    assert text.count("Small print.") == count
    assert text.count("<summary>What else there is to know</summary>") == (count if folded else 0)


def test_what_the_page_shows_of_some_methods_alone_it_says(make_samples: Make) -> None:
    more = {"instructions": ("First?",), "other_instructions": {"b(x=<1>)": ("Second?",)}, "unmapped": ("c(components=layers)",)}
    text = render(dataclasses.replace(data(hostile_methods(make_samples)), **more))
    assert "The first of those that the models but b(x=&lt;1&gt;) were trained on." in text
    assert text.index("Of b(x=&lt;1&gt;):") < text.index("Second?")
    assert "Not on these maps, because they mask by other scores, or no heads: c(components=layers)." in text


def test_a_method_without_comparisons_is_refused() -> None:
    with pytest.raises(ValueError, match="none for b"):
        ReportData(title="t", verdict="v", methods=("b",), comparisons={"a": ()})


def test_one_length_has_no_curve_and_says_which_length_it_is(make_samples: Make) -> None:
    found = compare_methods(make_samples(lengths=(1024,)), {"a": make_samples(lengths=(1024,), seed=1)}, resamples=20)
    text = render(ReportData(title="t", verdict="v", methods=("a",), comparisons=found.methods))
    assert "Score by length" not in text
    assert "with intervals, 1K tokens." in text
    assert "mean over lengths" not in text


def test_methods_look_the_same_in_every_figure(make_samples: Make) -> None:
    """Whatever the order of the curves, and where a method logged none."""
    found = compare_methods(make_samples(), {"first": make_samples(seed=1), "second": make_samples(seed=2)}, resamples=20)
    curves = {"second": [{"step": 1.0, "loss": 0.7}, {"step": 2.0, "loss": 0.6}], "first": []}
    text = render(ReportData(title="t", verdict="v", methods=("first", "second"), comparisons=found.methods, curves=curves))
    training = text.split("<h2>Training</h2>")[1]
    assert canvas.look(1).colour in training
    assert canvas.look(0).colour not in training


def test_facts_are_printed_with_the_digits_that_matter(make_samples: Make) -> None:
    found = compare_methods(make_samples(), {"a": make_samples(seed=1)}, resamples=20)
    facts = {"a": {"final loss": 0.5700154304504395, "change": -0.0008, "pairs": 169}}
    text = render(ReportData(title="t", verdict="v", methods=("a",), comparisons=found.methods, facts=facts))
    assert all(f"<code>{shown}</code>" in text for shown in ("0.57", "−0.0008", "169"))
