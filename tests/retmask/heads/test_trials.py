"""Trials: the needle is where it should be, in every kind of tokenizer."""

import pytest
from transformers import PreTrainedTokenizerBase

from harness.api import HarnessError
from retmask.heads.trials import build_trials, evenly
from tests.retmask.small import TEMPLATE, TOKENIZERS, byte_bpe

DEPTHS = evenly(5)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_span_holds_the_answer_and_the_depth_is_within_a_sentence(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    for trial in build_trials(tokenizer, [200, 420], 5, DEPTHS, seed=1):
        assert tokenizer.decode(trial.needle_ids).split() == trial.needle.answer.split()
        body = trial.prompt.partition("Remember them.\n\n")[2].rpartition("\n\n")[0]
        before, found, after = body.partition(trial.needle.text)
        assert found
        assert not before or before.endswith(". ")
        sizes = [len(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in (before, after)]
        longest = max(len(tokenizer(f" {part}.", add_special_tokens=False)["input_ids"]) for part in (before + after).split("."))
        realised = sizes[0] / sum(sizes)
        assert abs(realised - trial.depth) * sum(sizes) <= longest
        assert trial.realised_depth == pytest.approx(realised, abs=0.02)


def test_the_ends_are_reached(tokenizer: PreTrainedTokenizerBase) -> None:
    first, last = build_trials(tokenizer, [300], 2, (0.0, 1.0), seed=0)
    assert (first.realised_depth, last.realised_depth) == (0.0, 1.0)
    assert f"Remember them.\n\n{first.needle.text}" in first.prompt
    assert f"{last.needle.text}\n\n{last.needle.question}" in last.prompt


def test_the_template_is_applied_once_and_thinking_is_off(tokenizer: PreTrainedTokenizerBase) -> None:
    trial = build_trials(tokenizer, [200], 1, (0.5,), seed=0)[0]
    assert trial.prompt.startswith("<|user|>Some notes")
    assert trial.prompt.endswith("<|end|><|assistant|><|nothink|>")
    assert tokenizer.decode(trial.prompt_ids) == trial.prompt


@pytest.mark.parametrize("length", [150, 200, 500, 1000])
def test_prompts_fill_their_length_to_within_a_sentence(tokenizer: PreTrainedTokenizerBase, length: int) -> None:
    for trial in build_trials(tokenizer, [length], 4, DEPTHS, seed=2):
        assert length - 40 < len(trial.prompt_ids) <= length


def test_trials_differ_from_each_other_and_repeat_with_the_seed(tokenizer: PreTrainedTokenizerBase) -> None:
    trials = build_trials(tokenizer, [200], 8, (0.5,), seed=0)
    assert len({trial.prompt for trial in trials}) == 8
    assert trials == build_trials(tokenizer, [200], 8, (0.5,), seed=0)
    assert trials != build_trials(tokenizer, [200], 8, (0.5,), seed=1)


def test_a_length_without_room_is_an_error(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(HarnessError, match="30 tokens leave no room for a haystack"):
        build_trials(tokenizer, [30], 1, (0.5,), seed=0)


def test_a_template_that_changes_the_text_is_an_error() -> None:
    upper = byte_bpe(TEMPLATE.replace("| trim", "| upper"))
    with pytest.raises(HarnessError, match="alters the user's text"):
        build_trials(upper, [200], 1, (0.5,), seed=0)


def test_evenly() -> None:
    assert evenly(1) == (0.5,)
    assert evenly(5) == (0.0, 0.25, 0.5, 0.75, 1.0)
