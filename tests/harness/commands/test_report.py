"""`harness report` on a run directory, and its page in a real browser: filters, texts on demand, hostile model output, both screens."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.report import report
from harness.commands.root import HarnessGroup
from harness.store.steps import seal

MakeSamples = Callable[..., pd.DataFrame]
MakeRun = Callable[..., Path]
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'></script>\u2028]]>${title}"


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(HarnessGroup(commands={"report": report}), ["report", *map(str, arguments)])


@pytest.fixture
def run(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> Path:
    """A run whose model writes markup; two methods; a suite with prompts; heads and training curves."""
    base = make_samples(questions=30, depths=3).assign(output=HOSTILE, targets=json.dumps([HOSTILE, "gold"]))
    better = base.assign(score=(base["score"] + 0.1).clip(0, 1), output="an answer")
    root = make_run(tmp_path / "run", base, retmask=better, randmask=base.assign(output="the same"))
    suite = root / "steps" / "suite-1"
    suite.mkdir()
    with (suite / "examples.jsonl").open("w") as file:
        for row in base.drop_duplicates(["task", "length", "example_id"]).itertuples():
            prompt = f"START {HOSTILE} " + "word " * 2000 + f"END {row.example_id}?"
            file.write(json.dumps({"task": row.task, "length": row.length, "id": row.example_id, "prompt": prompt}) + "\n")
    seal(suite, {"step": "suite", "facts": {"digest": "s"}})
    manifest = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps({**manifest, "suite": {"digest": "s"}, "config": {"resamples": 200, "seed": 3}}))
    description = {
        "title": f"tiny {HOSTILE}",
        "settings": {"model": "tiny"},
        "head_scores": [[0.0, 0.9, 0.1], [0.2, 0.0, 0.4]],
        "masked_heads": {"retmask": [[0, 1]]},
        "threshold": 0.1,
        "facts": {"retmask": {"pairs": 512, "note": HOSTILE}},
        "steps": [{"name": "eval", "seconds": 3.0, "reused": False}],
        "curves": {"retmask": [{"step": 1, "loss": 0.7, "margin": 0.0}, {"step": 2, "loss": 0.6, "margin": 0.1}], "randmask": []},
    }
    (root / "report.json").write_text(json.dumps(description))
    return root


def test_the_page_is_rebuilt_from_the_run_alone(run: Path) -> None:
    result = harness(run, "--prompt-budget", "0")
    assert result.exit_code == 0, result.output
    text = (run / "report.html").read_text()
    for heading in ("Scores", "Differences", "Success by depth", "Examples", "Heads", "Training", "Cost", "Settings"):
        assert f"<h2>{heading}</h2>" in text
    assert text.count("<script") == 2
    assert "hacked = 1</script>" not in text
    assert not (run / "report_files").exists(), "everything fitted into the page"
    first = text
    assert harness(run, "--prompt-budget", "0").exit_code == 0
    assert (run / "report.html").read_text() == first


def test_texts_beyond_the_budget_lie_beside_the_page(run: Path, tmp_path: Path) -> None:
    assert harness(run, "--output", tmp_path / "small" / "page.html", "--text-budget", "0").exit_code == 0
    page, files = tmp_path / "small" / "page.html", sorted((tmp_path / "small" / "page_files").glob("*.js"))
    assert files
    starts = {file.name.partition("-")[0]: file.read_text().partition("(")[0] for file in files}
    assert starts == {"texts": "harnessTexts", "prompts": "harnessPrompts"}
    assert harness(run).exit_code == 0
    assert page.stat().st_size < (run / "report.html").stat().st_size


def test_two_pages_in_one_folder_have_files_of_their_own(run: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name in ("a", "b"):
        assert harness(run, "--output", site / f"{name}.html", "--text-budget", "0").exit_code == 0
    assert sorted(path.name for path in site.iterdir()) == ["a.html", "a_files", "b.html", "b_files"]


def test_a_folder_of_somebody_elses_is_neither_emptied_nor_written_to(run: Path, tmp_path: Path) -> None:
    for name in ("a_files", "report_files"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.jpg").write_text("wedding")
    result = harness(run, "--output", tmp_path / "a.html")
    assert result.exit_code == 2
    assert "a_files is there and was not written by the harness" in result.output.replace("\n", "")
    assert [path.name for path in tmp_path.rglob("*.*") if path.is_file() and run not in path.parents] == ["photo.jpg"] * 2


def test_a_file_of_another_page_is_not_shown(run: Path, tmp_path: Path, browser: Any) -> None:
    """As after copying a page over another one."""
    assert harness(run, "--output", tmp_path / "a.html", "--text-budget", "0").exit_code == 0
    text = (tmp_path / "a.html").read_text()
    digest = text.partition('"digest":"')[2][:16]
    assert all(digest in path.read_text() for path in (tmp_path / "a_files").glob("*.js"))
    (tmp_path / "a.html").write_text(text.replace(digest, "0123456789abcdef"))
    page = browser.new_page()
    page.goto((tmp_path / "a.html").as_uri())
    page.locator("#examples-list summary").first.click()
    page.get_by_text("that file belongs to another page").wait_for()
    assert page.locator("#examples-list pre").count() == 0
    page.close()


def test_what_cannot_be_seen_in_an_output_is_shown(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun, page: Any) -> None:
    base = make_samples().assign(output="good\u200bbye\U000e0041 \u202eevil")
    root = make_run(tmp_path / "run", base, a=base)
    assert harness(root).exit_code == 0
    page.goto((root / "report.html").as_uri())
    page.locator("#examples-list summary").first.click()
    page.get_by_text("good[U+200B]bye[U+E0041] [U+202E]evil").first.wait_for()


def test_a_run_without_a_description_still_has_a_page(run: Path) -> None:
    (run / "report.json").unlink()
    result = harness(run)
    assert result.exit_code == 0, result.output
    assert "<h2>Heads</h2>" not in (run / "report.html").read_text()


def test_a_damaged_description_is_one_line(run: Path) -> None:
    (run / "report.json").write_text('{"steps": [{"name": "eval"}]}')
    result = harness(run)
    assert result.exit_code == 2
    assert "report.json" in result.output.replace("\n", "")


def test_a_page_of_long_outputs_stays_small(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> None:
    base = make_samples(questions=100, depths=6).assign(output="long output " * 800)
    root = make_run(tmp_path / "run", base, a=base)
    assert harness(root, "--text-budget", "4").exit_code == 0
    assert (root / "report.html").stat().st_size < 6 << 20
    assert all(file.stat().st_size < 3 << 20 for file in (root / "report_files").iterdir())


@pytest.fixture
def alone(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> Path:
    """A run that holds one evaluation, of a model that writes markup."""
    base = make_samples(questions=12, depths=3).assign(output=f"well, {HOSTILE} gold", targets=json.dumps(["gold", HOSTILE]))
    root = make_run(tmp_path / "alone", base)
    manifest = json.loads((root / "manifest.json").read_text())
    about = {"config": {"resamples": 200}, "command": f"harness eval {HOSTILE}", "started": 1764547200.0, "versions": {"torch": "2.13.0"}}
    (root / "manifest.json").write_text(json.dumps({**manifest, **about}))
    return root


def test_one_evaluation_has_a_page_of_its_own(alone: Path) -> None:
    result = harness(alone)
    assert result.exit_code == 0, result.output
    text = (alone / "report.html").read_text()
    for heading in ("Scores", "Score by length", "Success by depth", "Examples", "Settings", "Words"):
        assert f"<h2>{heading}</h2>" in text
        assert f'<a href="#section-{heading.lower().replace(" ", "-")}">{heading}</a>' in text, "and the contents lead there"
    assert "<h2>Differences</h2>" not in text
    assert re.search(r"Overall score \d+\.\d of 100\.", text)
    assert re.search(r"\[\d+\.\d, \d+\.\d\]", text), "scores have intervals"
    assert "2025-12-01 00:00 UTC" in text
    assert "torch 2.13.0" in text
    assert "harness eval &lt;script&gt;" in text
    refused = harness(alone, "--history", alone)
    assert refused.exit_code == 2
    assert "holds one evaluation" in refused.output


def test_the_page_of_one_evaluation_is_browsed_and_its_gold_is_marked(alone: Path, page: Any) -> None:
    assert harness(alone).exit_code == 0
    page.goto((alone / "report.html").as_uri() + "#examples?task=niah&length=512")
    assert page.locator("#examples-count").inner_text() == "36 of 216 examples", "the address says what is shown"
    assert page.locator("#filter-change").is_hidden()
    page.select_option("#filter-length", "1024")
    assert page.evaluate("location.hash") == "#examples?task=niah&length=1024"
    page.select_option("#filter-task", "")
    page.select_option("#filter-length", "")
    assert page.evaluate("location.hash") == ""
    page.locator("#examples-list summary").first.click()
    output = page.locator("#examples-list .example pre").last
    output.wait_for()
    marks = output.locator("mark")
    assert marks.count() == 2
    assert marks.last.inner_text() == "gold"
    assert output.locator(":not(mark)").count() == 0, "and it stays text"
    assert page.evaluate("window.hacked") is None


def test_words_are_explained_to_pointer_and_keyboard(alone: Path, page: Any) -> None:
    assert harness(alone).exit_code == 0
    page.goto((alone / "report.html").as_uri())
    term = page.locator("#section-scores .term").filter(has_text="recall").first
    tip = term.locator(".tip")
    assert tip.is_hidden()
    term.focus()
    assert tip.is_visible()
    assert "hidden in a long text" in tip.inner_text()
    term.blur()
    assert tip.is_hidden()
    term.hover()
    assert tip.is_visible()


def test_warnings_stand_beside_the_verdict(run: Path) -> None:
    description = json.loads((run / "report.json").read_text())
    description["facts"]["retmask"]["warnings"] = f"pairs are few {HOSTILE}"
    (run / "report.json").write_text(json.dumps(description))
    assert harness(run).exit_code == 0
    text = (run / "report.html").read_text()
    said = text.index('<p class="note">retmask: pairs are few &lt;script&gt;')
    assert text.index('class="verdict"') < said < text.index("<h2>")


def test_filters_choose_examples_and_texts_stay_text(run: Path, page: Any) -> None:
    assert harness(run).exit_code == 0
    page.goto((run / "report.html").as_uri())
    count = page.locator("#examples-count")
    assert count.inner_text() == "540 of 540 examples"
    page.select_option("#filter-task", label="recall: niah")
    assert count.inner_text() == "180 of 540 examples"
    page.select_option("#filter-length", "512")
    page.select_option("#filter-depth", "4")
    assert count.inner_text() == "30 of 540 examples"
    page.select_option("#filter-change", "worse")
    assert count.inner_text() == "0 of 540 examples"
    page.select_option("#filter-change", "better")
    page.fill("#filter-text", "q7")
    assert page.locator("#examples-list li").count() == 1
    page.select_option("#filter-method", label="randmask")
    assert count.inner_text() == "0 of 540 examples"
    page.select_option("#filter-change", "same")
    page.locator("#examples-list summary").click()
    opened = page.locator("#examples-list .example")
    opened.locator("pre").first.wait_for()
    text = opened.inner_text()
    assert "<script>window.hacked = 1</script>" in text
    assert "END q7d2?" in text
    assert "gold" in text
    assert "the same" in text
    assert opened.locator("img, script").count() == 0


def test_the_keyboard_is_enough(run: Path, page: Any) -> None:
    assert harness(run).exit_code == 0
    page.goto((run / "report.html").as_uri())
    page.locator("#examples-list summary").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.evaluate("[...document.querySelectorAll('#examples-list details')].findIndex((e) => e.open)") == 1
    page.locator("#examples-more").focus()
    page.keyboard.press("Enter")
    assert page.locator("#examples-list li").count() == 40


def test_texts_beside_the_page_load_when_they_are_opened(run: Path, tmp_path: Path, page: Any) -> None:
    assert harness(run, "--text-budget", "0").exit_code == 0
    page.goto((run / "report.html").as_uri())
    page.locator("#examples-list summary").first.click()
    opened = page.locator("#examples-list .example pre").first
    opened.wait_for()
    assert opened.inner_text().startswith("START <script>")


def test_a_whole_prompt_is_shown_on_demand_and_stays_text(run: Path, page: Any) -> None:
    assert harness(run).exit_code == 0
    page.goto((run / "report.html").as_uri())
    assert page.locator("script[src]").count() == 0, "nothing is loaded before it is asked for"
    page.locator("#examples-list summary").nth(3).click()
    page.get_by_role("button", name="Show the whole prompt").click()
    shown = page.locator("#examples-list pre.whole")
    shown.wait_for()
    text = shown.inner_text()
    name = page.locator("#examples-list .example .caption").first.inner_text().split()[1].rstrip(",")
    assert text.startswith("START <script>window.hacked = 1</script>")
    assert text.count("word") == 2000
    assert text.endswith(f"END {name}?")
    assert shown.locator(":not(mark)").count() == 0
    assert page.get_by_role("button", name="Show the whole prompt").count() == 0


def test_a_page_without_its_files_says_where_the_prompt_is(run: Path, tmp_path: Path, browser: Any) -> None:
    """Moved away from its folder, or beyond the budget: the page names the file and the line of the run directory."""
    assert harness(run).exit_code == 0
    alone = tmp_path / "alone.html"
    alone.write_text((run / "report.html").read_text())
    small = tmp_path / "none.html"
    assert harness(run, "--output", small, "--prompt-budget", "0").exit_code == 0
    assert not (tmp_path / "none_files").exists()
    page = browser.new_page()  # its own: here a file is missing on purpose, which the console says
    for file in (alone, small):
        page.goto(file.as_uri())
        page.locator("#examples-list summary").first.click()
        opened = page.locator("#examples-list .example")
        opened.locator("pre").first.wait_for()
        if file == alone:
            page.get_by_role("button", name="Show the whole prompt").click()
        opened.get_by_text("not beside this page").wait_for()
        assert "of steps/suite-1/examples.jsonl in the run directory" in opened.inner_text()
    page.close()


def test_the_page_can_be_read_on_its_screen(run: Path, page: Any) -> None:
    """Blocks lie one below the other; the outcomes come first; every figure is shown once, whole and in letters of 9 pixels or more."""
    assert harness(run).exit_code == 0
    page.goto((run / "report.html").as_uri())
    overlaps = """() => {
      const shown = [...document.querySelectorAll("main > *, section > *")].filter((e) => e.offsetParent);
      const boxes = shown.map((e) => [e, e.getBoundingClientRect()]);
      return boxes.flatMap(([a, one]) => boxes.filter(([b, other]) => a !== b && !a.contains(b) && !b.contains(a)
        && Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 1
        && Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1).map(([b]) => a.tagName + " " + b.tagName));
    }"""
    assert page.evaluate(overlaps) == []
    outcomes = page.locator(".verdict strong")
    assert outcomes.last.inner_text() == "For this trained checkpoint: retmask did better than randmask."
    assert outcomes.first.evaluate("(e) => e.getBoundingClientRect().bottom < window.innerHeight / 2")
    shown = page.locator("figure svg:visible")
    assert shown.count() == page.locator("figure").count() > 0
    boxes = shown.evaluate_all("""(all) => all.map((svg) => [svg.parentElement.scrollWidth - svg.parentElement.clientWidth,
      Math.min(...[...svg.querySelectorAll("text")].map((text) => parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a))])""")
    assert all(hidden <= 0 and letters >= 9 for hidden, letters in boxes), boxes


def test_the_figures_as_files(run: Path, tmp_path: Path) -> None:
    done = harness(run, "--figures", tmp_path / "paper")
    assert done.exit_code == 0, done.output
    page = (run / "report.html").read_text()
    names = {"forest", "contrasts", "curves", "heads", "ranks", "distribution", "training"}
    assert {file.name for file in (tmp_path / "paper").iterdir()} == {f"{name}.{ending}" for name in names for ending in ("svg", "png")}
    assert page.count("<figure>") == len(names), "every figure of the page is there"
    (tmp_path / "taken").write_text("")
    refused = harness(run, "--figures", tmp_path / "taken" / "paper")
    assert refused.exit_code == 2
    assert "taken" in refused.output
