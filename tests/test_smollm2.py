"""A real language model from its name to a report, and that it is read as transformers reads its file.

`make test-model` runs these: some minutes on one core.
"""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.commands.root import main
from harness.models.catalogue import entries
from harness.models.footprint import context_length
from harness.models.lookup import resolve
from harness.models.named import fetched

pytestmark = pytest.mark.model
NAME = "smollm2-135m"
TEXT = "The note about the tall hare says:  hello\nworld, 1234 Zoë."
#: As little as makes every step run: eight prompts of 512 tokens to find heads with, six questions, one step of training.
SMALL = {
    "detection_lengths": "[512]",
    "detection_trials": 8,
    "prompts_from": "generated",
    "prompts": 8,
    "max_new_tokens": 12,
    "batch_size": 8,
    "micro_batch_size": 2,
    "epochs": 1,
}


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_it_is_read_as_transformers_reads_its_file(smollm2: Path) -> None:
    found, entry = resolve(NAME), entries()[NAME]
    assert found.path == smollm2.resolve()
    step = fetched(entry)
    assert step is not None
    own = AutoModelForCausalLM.from_pretrained(step.path, gguf_file=entry.file, dtype=torch.float32)
    own_tokens = AutoTokenizer.from_pretrained(step.path, gguf_file=entry.file)
    ours, tokens = AutoModelForCausalLM.from_pretrained(found.path), AutoTokenizer.from_pretrained(found.path)
    assert tokens(TEXT).input_ids == own_tokens(TEXT).input_ids
    assert tokens.chat_template == own_tokens.chat_template is not None
    assert sum(tensor.numel() for tensor in ours.parameters()) == entry.parameters
    assert context_length(found) == entry.context
    ids = torch.tensor([tokens(TEXT).input_ids])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, own(ids).logits, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("smollm2")
def test_from_a_name_to_a_report(tmp_path: Path) -> None:
    """The main job at its smallest; the same command again computes nothing."""
    options = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    command = (
        "run", "--model", NAME, "--preset", "small", "--method", "retmask", "--lengths", "512", "--examples", "3", "--tasks",
        "niah_mk,niah_mv", "--device", "cpu", "--yes", "--output", tmp_path, *options,
    )  # fmt: skip
    done = harness(*command)
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["model"]["name"] == NAME
    assert (tmp_path / "report.html").is_file()
    steps = {path: path.stat().st_mtime_ns for path in (tmp_path / "steps").iterdir()}
    assert {path.name.rpartition("-")[0] for path in steps} >= {"suite", "eval", "heads", "chosen", "pairs", "dpo", "report"}
    again = harness(*command)
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "steps").iterdir()} == steps
