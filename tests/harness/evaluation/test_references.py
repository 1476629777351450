"""``--reference-points`` on the shipped model: asked once, kept apart, shown everywhere."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that the helpers below are found however pytest was started

from harness.commands.root import main
from harness.store.find import find_one
from reports.samples import digest
from tests.harness.copying import Copy
from tests.tasks.helmet.published import MAKERS

SUITE = ("--model", "builtin", "--tasks", "niah_mk,icl_coarse", "--lengths", "256,320", "--examples", "4")


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def record(root: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((root / "references.json").read_text())
    return found


def test_reference_points_are_samples_of_their_own_and_change_no_mean(tmp_path: Path) -> None:
    plan = harness("plan", *SUITE, "--reference-points", "--no-probe", "--output", tmp_path / "with")
    assert "generate: reference points  to do" in plan.output
    plain = harness("eval", *SUITE, "--output", tmp_path / "plain")
    both = harness("eval", *SUITE, "--reference-points", "--output", tmp_path / "with")
    assert plain.exit_code == both.exit_code == 0, both.output
    assert digest(find_one(str(tmp_path / "plain")).read()) == digest(find_one(str(tmp_path / "with")).read())
    assert not (tmp_path / "plain" / "references.json").exists()
    tables = [pd.read_parquet(path) for path in (tmp_path / "with").glob("steps/eval-*/samples.parquet")]
    (asked,) = [table for table in tables if table["example_id"].str.contains("-ceiling").any()]
    # two questions of the needle task have four examples; each shot task's example is a question
    assert asked.groupby(["task", "length"])["example_id"].nunique().to_dict() == {
        ("niah_mk", 256): 4,
        ("niah_mk", 320): 4,
        ("icl_coarse", 256): 8,
        ("icl_coarse", 320): 8,
    }
    assert "ceiling: gold passages alone" in both.output
    assert "tasks that can tell something of context" in both.output
    assert record(tmp_path / "with")["telling"] == ["icl_coarse", "niah_mk"]
    again = harness("eval", *SUITE, "--reference-points", "--output", tmp_path / "with")
    assert again.output.count("reused") == 6
    assert "finished" in harness("plan", *SUITE, "--reference-points", "--no-probe", "--output", tmp_path / "with").output


def test_a_run_shows_them_in_its_table_files_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.methods.check_name", lambda name: None)
    monkeypatch.setattr("harness.methods.find_method", lambda name: Copy())
    done = harness("run", *SUITE, "--method", "copy", "--reference-points", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    assert "ceiling: gold passages alone" in done.output
    assert "| overall | 256 |" in (tmp_path / "comparison.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "Ceiling and floor" in page
    assert "ceiling (dashed)" in page
    assert record(tmp_path)["lines"]
    assert harness("report", tmp_path, "--output", tmp_path / "again.html").exit_code == 0
    assert "Ceiling and floor" in (tmp_path / "again.html").read_text()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kilt_nq", "json_kv", "ruler_niah_mk_2", "msmarco_rerank_psg"):
        MAKERS[name](tmp_path / "data")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))


@pytest.mark.usefixtures("published")
def test_published_sets_have_them_where_the_files_say_what_is_gold(tmp_path: Path) -> None:
    names = "kilt_nq,json_kv,ruler_niah_mk_2,msmarco_rerank_psg"
    arguments = ("--model", "builtin", "--data", "helmet", "--tasks", names, "--lengths", "8k", "--examples", "1")
    done = harness("eval", *arguments, "--reference-points", "--output", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "reference points: none for msmarco_rerank_psg" in done.output
    found = record(tmp_path / "run")
    assert found["without"] == ["msmarco_rerank_psg"]
    tables = [pd.read_parquet(path) for path in (tmp_path / "run").glob("steps/eval-*/samples.parquet")]
    asked = next(table for table in tables if table["example_id"].str.contains("-ceiling").any()).drop_duplicates("example_id")
    assert asked.groupby("task")["example_id"].count().to_dict() == {"json_kv": 2, "kilt_nq": 2, "ruler_niah_mk_2": 2}
    assert (asked["prompt_tokens"] < 4000).all()
