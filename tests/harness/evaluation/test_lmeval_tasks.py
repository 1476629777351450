"""The suite from lm-eval's own command line: every task is found, and both routes agree example by example."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.root import main
from harness.evaluation.lmeval_tasks import LENGTHS, MEAN, include_path, yaml_files
from harness.models.lookup import resolve
from tasks.suite import EVERY, GROUPS, LONGER_TASKS, TASKS


def test_the_yaml_files_are_what_the_code_says() -> None:
    on_disk = {path.name: path.read_text() for path in include_path().glob("*.yaml")}
    assert on_disk == yaml_files(), "run `python -m harness.evaluation.lmeval_tasks`"


def test_lm_eval_finds_every_task_and_group() -> None:
    from lm_eval.tasks import TaskManager

    found = set(TaskManager(include_path=str(include_path()), include_defaults=False).all_tasks)
    for thousand in LENGTHS:
        assert {f"helmet_{name}_{thousand}k" for name in (*EVERY, *GROUPS["seven"])} <= found
        assert {f"helmet_{thousand}k", f"helmet_seven_{thousand}k"} <= found
    assert {"helmet", "helmet_seven", *(f"helmet_{category}" for category in GROUPS["seven"])} <= found


def test_tasks_path_prints_the_directory_and_list_every_task() -> None:
    assert CliRunner().invoke(main, ["tasks", "path"]).output.strip() == str(include_path())
    listed = CliRunner().invoke(main, ["tasks", "list"]).output
    assert all(name in listed for name in TASKS)


@pytest.mark.parametrize(
    ("group", "framing"),
    [
        ("recall", "chat"),
        ("cite", "chat"),
        ("recall", "task"),
        ("cite", "task"),
        ("icl", "prefill"),
        ("longqa", "task"),
        ("summ", "chat"),
    ],
)
def test_both_routes_agree_example_by_example(group: str, framing: str, tmp_path: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from harness.config import load_preset, override
    from harness.evaluation.evaluate import read_samples
    from harness.pipeline import run_evaluation

    asked = {"tasks": (group,), "lengths": (1024,), "examples": 3, "seed": 7, "framing": framing, "wording": "full"}
    config = override(load_preset("builtin"), asked, {})
    ours = read_samples(run_evaluation(tmp_path / "run", "builtin", config), "ours")
    model = resolve("builtin")
    settings = {"pretrained": str(model.path), "examples": 3, "seed": 7, "framing": framing}
    manager = TaskManager(include_path=str(include_path()), include_defaults=False, metadata=settings)
    results = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model.path), "device": "cpu", "dtype": "float32"},
        tasks=[f"helmet_{group}_1k"],
        task_manager=manager,
        apply_chat_template=framing == "chat",
        bootstrap_iters=0,
        log_samples=True,
    )
    theirs = [sample for samples in results["samples"].values() for sample in samples]
    assert len(theirs) == len(ours["example_id"].unique())
    for sample in theirs:
        rows = ours[ours["example_id"] == sample["doc"]["id"]]
        until = "\n" if framing != "chat" and rows["task"].iloc[0] not in ("niah_mv", "cite_facts", *LONGER_TASKS) else "\0"
        assert rows["output"].unique().tolist() == [sample["resps"][0][0].partition(until)[0]]
        for row in rows.itertuples():
            assert sample[str(row.metric)] == row.score
        assert sample[MEAN] == pytest.approx(rows["score"].mean())
        assert json.loads(sample["doc"]["example"])["id"] == sample["doc"]["id"]
