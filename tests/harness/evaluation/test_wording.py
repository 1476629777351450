"""The wording is a setting of the run and a part of the suite."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.api import HarnessError
from harness.commands.root import main
from harness.config import RunConfig, load_preset
from harness.engines.framing import FRAMINGS, Framing
from harness.evaluation.sources import GENERATED, find_source
from harness.evaluation.suite import SuiteConfig, build_examples
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from tasks.suite import TASKS, TERSE


def test_only_the_shipped_model_has_the_terse_wording() -> None:
    assert load_preset("builtin").wording == "terse"
    assert load_preset("default").wording == "full"


def test_an_unknown_wording_is_refused() -> None:
    with pytest.raises(HarnessError, match="choose from full, terse"):
        RunConfig(wording="long")  # type: ignore[arg-type]


def test_two_wordings_are_two_suites_with_budgets_of_their_own() -> None:
    full, terse = (find_source(GENERATED, wording) for wording in ("full", "terse"))
    assert full.identity((), (512,)) != terse.identity((), (512,))
    assert [task.max_new_tokens for task in full.tasks(())] == [task.max_new_tokens for task in TASKS.values()]
    assert [task.max_new_tokens for task in terse.tasks(())] == [task.max_new_tokens for task in TERSE.values()]


def test_the_command_line_chooses(tmp_path: Path) -> None:
    asked = ["--model", "builtin", "--lengths", "512", "--examples", "1", "--tasks", "niah_mk"]
    texts = {}
    for wording in ("full", "terse"):
        root = tmp_path / wording
        result = CliRunner().invoke(main, ["eval", *asked, "--wording", wording, "--output", str(root)])
        assert result.exit_code == 0, result.output
        texts[wording] = "".join(path.read_text() for path in root.rglob("examples.jsonl"))
    assert "Answer it with the digits of the code." in texts["full"]
    assert "Answer it with the digits of the code." not in texts["terse"]


@pytest.mark.model
@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_task_fits_512_tokens_of_a_real_model_and_so_does_its_answer(framing: Framing, smollm2: Path) -> None:
    tokenizer = load_tokenizer(resolve(str(smollm2)))
    found = list(build_examples(SuiteConfig((), (512,), 12, 0, framing=framing), tokenizer))
    assert {example.task for example in found} == set(TASKS)
    for example in found:
        assert len(tokenizer(example.answer)["input_ids"]) < TASKS[example.task].max_new_tokens
