"""`harness leaderboard` over run directories, and its page in a real browser."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.leaderboard import leaderboard
from harness.commands.root import HarnessGroup

MakeSamples = Callable[..., pd.DataFrame]
MakeRun = Callable[..., Path]


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(
        HarnessGroup(commands={"leaderboard": leaderboard}), ["leaderboard", *map(str, arguments), "--resamples", "200"]
    )


@pytest.fixture
def runs(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> tuple[Path, Path]:
    base = make_samples(lengths=(4096, 8192), questions=20)
    better = base.assign(score=(base["score"] + 0.15).clip(0, 1), model_digest="better")
    one = make_run(tmp_path / "one", base, model="models/tiny", retmask=better)
    other = make_samples(lengths=(4096, 8192), questions=20, seed=3).assign(model_digest="other")
    return one, make_run(tmp_path / "two", base, model="models/tiny", randmask=other)


def test_the_baseline_that_runs_share_appears_once(runs: tuple[Path, Path], tmp_path: Path) -> None:
    files = [tmp_path / f"board.{suffix}" for suffix in ("html", "md", "csv")]
    result = harness(*runs, "--reference", "published", *(part for file in files for part in ("--output", file)))
    assert result.exit_code == 0, result.output
    rows = [row for row in csv.DictReader(io.StringIO(files[2].read_text())) if row["length"] == "mean"]
    assert next(row["model"] for row in rows if row["kind"] == "run") == "tiny + retmask"
    assert {row["model"] for row in rows} == {"tiny", "tiny + retmask", "tiny + randmask"}
    assert "8K tokens" in files[1].read_text()


def test_a_length_can_be_chosen_and_another_is_refused(runs: tuple[Path, Path]) -> None:
    assert "8K tokens" in harness(*runs, "--length", "8k").output
    refused = harness(*runs, "--length", "16k")
    assert refused.exit_code == 2
    assert "there are mean, 4K, 8K" in refused.output


def test_bad_input_is_one_line(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for arguments, words in (((tmp_path / "none",), "no evaluation at"), ((*runs, "--output", "board.pdf"), ".html, .md, .csv")):
        result = harness(*arguments)
        assert result.exit_code == 2
        assert words in result.output.strip().splitlines()[-1]


def test_the_page_sorts_and_switches_lengths(runs: tuple[Path, Path], tmp_path: Path, page: Any) -> None:
    assert harness(*runs, "--reference", "published", "--output", tmp_path / "board.html").exit_code == 0
    page.goto((tmp_path / "board.html").as_uri())
    assert page.locator("section:visible h2").inner_text() == "mean over lengths"
    page.select_option("#board-length", label="8K tokens")
    table = page.locator("section:visible table")
    names = "th[scope=row]"
    assert table.locator(names).first.inner_text() == "tiny + retmask"
    assert table.locator(names).count() == 3 + 19
    table.get_by_role("button", name="model").click()
    found = table.locator(names).all_inner_texts()
    assert found == sorted(found, key=str.lower)
    table.get_by_role("button", name="rank").press("Enter")
    assert table.locator(names).first.inner_text() == "tiny + retmask"
    assert "published" in table.locator(names).last.inner_text(), "what has no rank stays last"
    assert table.locator("thead th").first.get_attribute("aria-sort") == "ascending"
