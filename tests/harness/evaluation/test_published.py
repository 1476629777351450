"""`--data helmet` from the files to the samples table, on the shipped model: all sixteen sets, in the published format."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that the helpers below are found however pytest was started

from harness.api import Method, Outcome, RunContext
from harness.commands.root import main
from tasks.helmet import DATASETS
from tests.tasks.helmet.published import MAKERS, icl, nq

ASKED = ("--model", "builtin", "--data", "helmet", "--lengths", "8k", "--examples", "1")


def evaluate(output: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["eval", *ASKED, "--output", str(output), *more])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file, with Natural Questions that are too long for 8K on the shipped model's tokenizer."""
    root = tmp_path_factory.mktemp("published")
    for make in MAKERS.values():
        make(root)
    (questions,) = root.rglob("nq-dev*")
    nq(questions, 6, 600, "north")
    return root


@pytest.fixture(autouse=True)
def on_disk(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(published))


@pytest.fixture(scope="module")
def finished(published: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    output = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_DATA", str(published))
        return output, evaluate(output, "--judge", "exact-words", "--framing", "task")


def table(output: Path) -> pd.DataFrame:
    newest = max(output.glob("steps/eval-*/samples.parquet"), key=lambda path: path.stat().st_mtime)
    return pd.read_parquet(newest)


def test_every_set_is_asked_and_scored_by_its_own_metrics(finished: tuple[Path, Result]) -> None:
    output, result = finished
    assert result.exit_code == 0, result.output
    found = table(output).groupby("task")["metric"].agg(lambda names: sorted(set(names)))
    assert found.to_dict() == {name: sorted(set(dataset.metrics)) for name, dataset in DATASETS.items()}
    assert "recall" in result.output
    assert "rerank" in result.output


def test_the_samples_say_how_each_prompt_was_framed_and_each_answer_scored(finished: tuple[Path, Result]) -> None:
    frame = table(finished[0])
    framed = frame[frame["template"] != "none"]
    assert set(framed["category"]) == {"cite"}, "HELMET uses the chat template for cite alone"
    assert framed["template"].nunique() == 1
    assert set(frame[frame["category"] == "cite"]["scorer"].str.partition(" ")[2]) == {"exact-words"}
    assert set(frame[frame["category"] != "cite"]["scorer"].str.partition("-")[0]) == {"parity"}


def test_passages_that_were_left_out_are_counted_and_said(finished: tuple[Path, Result]) -> None:
    output, result = finished
    frame = table(output).drop_duplicates("example_id")
    cut = frame[frame["dropped_passages"] > 0]
    assert set(cut["task"]) == {"kilt_nq"}
    assert (cut["dropped_tokens"] > cut["dropped_passages"]).all()
    assert f"{len(cut)} of {len(frame)} published prompts lost passages" in result.output
    assert (frame["prompt_tokens"] < 8_192).all()
    assert (frame["truncated_tokens"] == 0).all()


def test_golds_that_lost_their_depth_are_counted_and_said(finished: tuple[Path, Result]) -> None:
    output, result = finished
    frame = table(output).drop_duplicates("example_id")
    moved = frame[(frame["task"] == "kilt_nq") & frame["depth"].isna()]
    assert 0 < len(moved) < 6
    assert f"left out of success by depth: kilt_nq at 8192 tokens {len(moved)}\n" in result.output
    (suite,) = output.glob("steps/suite-*/manifest.json")
    assert json.loads(suite.read_text())["facts"]["moved"] == [{"task": "kilt_nq", "length": 8192, "examples": len(moved)}]
    assert "fewer" not in json.loads(suite.read_text())["facts"]


def test_scoring_in_another_way_generates_nothing_anew(finished: tuple[Path, Result]) -> None:
    output, _ = finished
    generated = sorted(output.glob("steps/generate-*"))
    result = evaluate(output, "--judge", "exact-words", "--framing", "task", "--scoring", "strict")
    assert result.exit_code == 0, result.output
    assert sorted(output.glob("steps/generate-*")) == generated
    assert set(table(output)["scorer"].str.partition("-")[0]) == {"strict"}


def test_citations_without_a_judge_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    result = evaluate(tmp_path / "run")
    assert result.exit_code == 2
    assert "--judge" in result.output
    assert not (tmp_path / "run" / "steps").exists() or not list((tmp_path / "run" / "steps").iterdir())


def test_the_manifest_names_data_wordings_and_what_was_left_out(finished: tuple[Path, Result]) -> None:
    output, _ = finished
    (suite,) = output.glob("steps/suite-*/manifest.json")
    manifest = json.loads(suite.read_text())
    assert manifest["facts"]["wordings"] == {"source": "own"}
    assert manifest["facts"]["edition"] == manifest["inputs"]["edition"] == "2025-04"
    assert set(manifest["inputs"]["tasks"]) == set(DATASETS)
    facts = [json.loads(path.read_text())["facts"] for path in output.glob("steps/eval-*/manifest.json")]
    assert all(each["shortened"] > 0 and each["dropped_tokens"] > 0 for each in facts)


class Same(Method):
    """A method that changes nothing, so that the page is there at the price of one evaluation."""

    name = "same"

    def run(self, context: RunContext) -> Outcome:
        return Outcome(context.model.path)


def test_the_page_names_the_edition_and_what_the_files_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.methods.check_name", lambda name: None)
    monkeypatch.setattr("harness.methods.find_method", lambda name: Same())
    for part, rows in (("train", 60), ("test", 2)):
        icl(tmp_path / f"icl/trec/{part}.parquet", {"coarse_label": 6}, rows, part)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    more = ["--tasks", "icl_trec_coarse", "--edition", "2024-12", "--examples", "5", "--method", "same", "--output", str(tmp_path), "--yes"]
    result = CliRunner().invoke(main, ["run", *ASKED, *more])
    assert result.exit_code == 0, result.output
    lacking = "fewer examples than asked for, because the files hold no more: icl_trec_coarse at 8192 tokens 2 of 5"
    (suite,) = tmp_path.glob("steps/suite-*/manifest.json")
    fewer = [{"task": "icl_trec_coarse", "length": 8192, "examples": 2, "asked": 5}]
    assert json.loads(suite.read_text())["facts"]["fewer"] == fewer
    assert json.loads((tmp_path / "manifest.json").read_text())["suite"]["fewer"] == fewer
    assert result.output.count(f"{lacking}\n") == 2, "when the suite is there, and as a note below the table"
    assert json.loads((tmp_path / "report.json").read_text())["settings"]["edition of HELMET"] == "2024-12"
    for name in ("report.html", "comparison.md", "table.txt"):
        assert " ".join(lacking.split()) in " ".join((tmp_path / name).read_text().replace("\\", "").split())
    assert "edition of HELMET" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "manifest.json").read_text())["config"]["edition"] == "2024-12"
