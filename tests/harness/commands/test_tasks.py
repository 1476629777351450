"""``harness tasks examples`` shows what an evaluation asks, to the letter."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that the helpers below are found however pytest was started

from harness.commands.root import main
from harness.evaluation.suite import SuiteConfig, build_examples
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from tests.tasks.helmet.published import MAKERS, nq

FIELDS = ["id", "task", "length", "question", "prompt", "answer_prefix", "targets", "depth", "prompt_tokens", "dropped_tokens"]


def test_it_writes_the_prompts_that_an_evaluation_asks(tmp_path: Path) -> None:
    out = tmp_path / "prompts.jsonl"
    result = CliRunner().invoke(
        main, ["tasks", "examples", "--tasks", "niah_mv,rag_qa", "--lengths", "512", "--examples", "2", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    asked = list(build_examples(SuiteConfig(("niah_mv", "rag_qa"), (512,), 2, 42), load_tokenizer(resolve("builtin"))))
    assert [each["prompt"] for each in written] == [example.prompt for example in asked]
    assert [each["targets"] for each in written] == [list(example.targets) for example in asked]
    assert [list(each) for each in written] == [FIELDS] * len(asked)
    assert all(0 < each["prompt_tokens"] < 512 for each in written)
    assert all(each["question"].endswith("?") and each["prompt"].endswith(f"\n\n{each['question']}") for each in written)


def test_on_a_terminal_it_shows_both_ends_and_says_what_lies_between() -> None:
    result = CliRunner().invoke(main, ["tasks", "examples", "--tasks", "niah_mv", "--lengths", "1k", "--examples", "1"])
    assert result.exit_code == 0, result.output
    assert "== niah_mv at 1024 tokens" in result.output
    assert "characters ...]" in result.output
    assert "-- right: [" in result.output


def test_published_prompts_are_whole_unless_a_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["kilt_nq"](tmp_path)
    (questions,) = tmp_path.rglob("nq-dev*")
    nq(questions, 6, 600, "north")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    asked = ["tasks", "examples", "--data", "helmet", "--tasks", "kilt_nq", "--lengths", "8k", "--examples", "1"]
    whole, fitted = tmp_path / "whole.jsonl", tmp_path / "fitted.jsonl"
    assert CliRunner().invoke(main, [*asked, "--out", str(whole)]).exit_code == 0
    assert CliRunner().invoke(main, [*asked, "--model", "builtin", "--out", str(fitted)]).exit_code == 0
    first, other = (json.loads(path.read_text(encoding="utf-8").splitlines()[0]) for path in (whole, fitted))
    assert first["prompt_tokens"] is None
    assert first["dropped_tokens"] == 0
    assert first["question"]
    assert first["prompt"].endswith(f"Question: {first['question']}")
    assert first["answer_prefix"] == "Answer:", "the newline between is the joint of HELMET's templates"
    assert 0 < other["prompt_tokens"] <= 8192
    assert len(first["prompt"]) >= len(other["prompt"])
