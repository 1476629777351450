"""The comparison with HELMET's own code, on a stand-in for it: it must see what is equal and what is not."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.tasks.helmet.beside import load, main
from tests.tasks.helmet.published import DATA_PY, MAKERS, checkout

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program changes for itself is put back."""
    monkeypatch.setattr(datasets.Dataset, "map", datasets.Dataset.map)
    monkeypatch.setitem(sys.modules, "utils", ModuleType("utils"))


#: JSON KV as HELMET loads it, in the words of the stand-in.
LOADER = """
import json
from datasets import Dataset, load_dataset
from utils import calculate_metrics

def load_data(args, dataset, path, demo_path):
    with open(path) as file:
        rows = Dataset.from_list([json.loads(line) for line in file]).shuffle(seed=args.seed)
    def worked(row):
        return {"demos": "".join(f"Key: {key}\\nCorresponding value: {value}\\n\\n" for key, value in row["demos"][:args.shots])}
    rows = rows.map(worked, num_proc=40)
    template = "{context}\\n\\nLook it up.\\n\\n{demos}Key: {question}\\nCorresponding value:"
    return {"data": rows.select(range(args.max_test_samples)), "prompt_template": template}
"""


def stand_in(root: Path, loader: str) -> Path:
    """A checkout whose ``data.py`` can be run."""
    folder = checkout(root / "HELMET")
    (folder / "data.py").write_text(DATA_PY.replace('raise RuntimeError("this file is parsed and never run")', loader))
    return folder


def test_what_is_equal_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MAKERS["json_kv"](tmp_path / "data")
    assert main([str(stand_in(tmp_path, LOADER)), str(tmp_path / "data"), "8k", "3"]) == 0
    printed = capsys.readouterr().out
    assert "json_kv: HELMET 3, ours 3, the same 3" in printed
    assert "kilt_nq: its files are not there" in printed


@pytest.mark.parametrize(("before", "after"), [("Look it up", "Look up"), ("seed=args.seed", "seed=7"), ("max_test_samples)", "shots)")])
def test_what_differs_fails(before: str, after: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MAKERS["json_kv"](tmp_path / "data")
    other = stand_in(tmp_path, LOADER.replace(before, after))
    assert main([str(other), str(tmp_path / "data"), "8k", "3", "json_kv"]) == 1
    assert "the same 3" not in capsys.readouterr().out


def test_its_icl_sets_are_those_on_disk(tmp_path: Path) -> None:
    MAKERS["icl_trec_fine"](tmp_path)
    found = load(stand_in(tmp_path, LOADER), tmp_path).load_dataset("CogComp/trec")
    assert set(found) == {"train", "test"}
    assert found["train"].features["fine_label"].names == [str(number) for number in range(50)]
