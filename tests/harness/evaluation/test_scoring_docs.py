"""Every command of docs/scoring.md runs as it is written, the published judge apart, which is 11 billion parameters."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.import_ import import_command
from harness.commands.root import HarnessGroup
from harness.commands.score import score_command

HARNESS = HarnessGroup(commands={"import": import_command, "score": score_command})
TEXT = (Path(__file__).parents[3] / "docs" / "scoring.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines() if line.strip()]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the files that the commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs.jsonl").write_text(json.dumps({"answers": ["Rome"], "output": "Rome"}) + "\n")
    docs = [{"title": "t", "text": "red drum"}]
    data = [{"question": "q", "docs": docs, "qa_pairs": [{"short_answers": ["red"]}], "output": "Red drum [1]."}]
    args = {"datasets": "alce_asqa_30", "input_max_length": 8192, "model_name_or_path": "m"}
    helmet = tmp_path / "HELMET/output/Llama-3.1-8B-Instruct"
    helmet.mkdir(parents=True)
    for path in (tmp_path / "result.json", helmet / "asqa.json"):
        path.write_text(json.dumps({"args": args, "data": data}))
    results = tmp_path / "results/my-model"
    results.mkdir(parents=True)
    sample = {"doc_id": 0, "doc": {}, "target": "x", "filtered_resps": ["x"], "filter": "none", "metrics": ["acc"], "acc": 1.0}
    (results / "samples_task_8k_2026-01-02T03-04-05.6.jsonl").write_text(json.dumps(sample) + "\n")
    (results / "results_2026-01-02T03-04-05.6.json").write_text('{"model_name": "m"}')
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(workplace: Path, command: str) -> None:
    program, *arguments = shlex.split(command.replace("google/t5_xxl_true_nli_mixture", "exact-words"))
    assert program == "harness"
    result = CliRunner().invoke(HARNESS, arguments)
    assert result.exit_code == 0, result.output
    assert (workplace / arguments[arguments.index("--output") + 1]).exists()


def test_there_are_commands() -> None:
    assert {command.split()[1] for command in COMMANDS} == {"score", "import"}
