"""lm-eval's files: those that 0.4.13 wrote are read, and those that the installed version writes are of the same form."""

import json
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that tests.peers is found however pytest was started

from harness.commands.root import main
from tests.peers import lm_eval_recipe

KEPT = Path(__file__).parent / "lm_eval"
#: What of a results file is read (harness/importing/lm_eval.py), or says which version wrote it.
RESULTS = {"model_name", "config", "higher_is_better", "results", "configs", "n-samples"}
#: Task and metrics of each run, after import.
METRICS = {
    ("peers_filters", "exact_match,first-word"), ("peers_filters", "exact_match,number"), ("peers_exam_2022", "exact_match"),
    ("peers_repeated", "exact_match"), ("peers_choice", "acc"), ("peers_choice", "acc_norm"), ("peers_ruler", "ruler_recall"),
}  # fmt: skip


def imported(folder: Path, output: Path) -> tuple[pd.DataFrame, str]:
    result = CliRunner().invoke(main, ["import", "lm-eval", str(folder), "--length", "512", "--output", str(output)])
    assert result.exit_code == 0, result.output
    (path,) = output.glob("**/samples.parquet")
    return pd.read_parquet(path), result.output


def check(folder: Path, output: Path) -> None:
    table, said = imported(folder, output)
    assert set(zip(table["task"], table["metric"], strict=True)) == METRICS
    assert {task: part["example_id"].nunique() for task, part in table.groupby("task")} == dict.fromkeys({task for task, _ in METRICS}, 3)
    assert table[table["task"] == "peers_exam_2022"]["cluster"].nunique() == 2, "two documents share an id"
    lengths = {task: set(part["length"]) for task, part in table.groupby("task")}
    assert lengths == {task: {4096} if task == "peers_ruler" else {512} for task, _ in METRICS}
    assert "word_perplexity is left out: less is better" in said


@pytest.mark.parametrize("run", lm_eval_recipe.RUNS)
def test_what_0_4_13_wrote_is_read(run: str, tmp_path: Path) -> None:
    check(KEPT / run, tmp_path / "run")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lm-eval")
    lm_eval_recipe.run(root)
    return root


def form(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Every key below ``value`` with the type of what is there; of a list its first entry."""
    yield place, type(value).__name__
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from form(entry, f"{place}.{key}")
    elif isinstance(value, list) and value:
        yield from form(value[0], f"{place}[]")


def forms(folder: Path) -> dict[str, dict[str, str]]:
    """The form of what is in each file, by its name without the time."""
    found = {}
    for path in sorted(folder.rglob("*.json*")):
        name = f"{path.parent.relative_to(folder)}/{path.name.rpartition('_')[0]}{path.suffix}"
        value = json.loads(
            path.read_text(encoding="utf-8").splitlines()[0] if path.suffix == ".jsonl" else path.read_text(encoding="utf-8")
        )
        if path.suffix == ".json":
            value = {key: entry for key, entry in value.items() if key in RESULTS}
            value["config"] = {"model": value["config"]["model"]}
        found[name] = dict(form(value))
    return found


def changes(then: Path, now: Path) -> str:
    """What in ``now`` is of another form than in ``then``, in a sentence; empty if nothing is. What is new is no change."""
    before, after = forms(then), forms(now)
    if gone := sorted(before.keys() - after.keys()):
        return f"it does not write {', '.join(gone)}, but {', '.join(sorted(after))}"
    changed = [
        f"{name}: {place or 'the whole'} is {after[name].get(place, 'gone')} where it was {kind}"
        for name, places in before.items()
        for place, kind in places.items()
        if after[name].get(place) != kind
    ]
    return "; ".join(changed[:5])


@pytest.mark.peers
@pytest.mark.parametrize("run", lm_eval_recipe.RUNS)
def test_what_the_installed_version_writes_is_of_the_same_form(run: str, fresh: Path, tmp_path: Path) -> None:
    found = changes(KEPT / run, fresh / run)
    assert not found, f"lm-eval {version('lm_eval')} writes another form than 0.4.13: {found}; see harness/importing/lm_eval.py"
    check(fresh / run, tmp_path / "run")


def test_another_form_is_a_sentence(tmp_path: Path) -> None:
    shutil.copytree(KEPT / "folder", tmp_path / "now")
    (rows,) = tmp_path.rglob("samples_peers_filters_*.jsonl")
    rows.write_text(rows.read_text(encoding="utf-8").replace('"filter":', '"filter_name":').replace('"doc_id": ', '"doc_id": 1.'))
    found = changes(KEPT / "folder", tmp_path / "now")
    assert "samples_peers_filters.jsonl: .filter is gone where it was str" in found
    assert ".doc_id is float where it was int" in found
    rows.unlink()
    assert "it does not write model/samples_peers_filters.jsonl" in changes(KEPT / "folder", tmp_path / "now")
