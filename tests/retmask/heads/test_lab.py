"""A model under masks: what is measured is what writing every answer out would show."""

import numpy as np
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.builtin import MODEL_DIR
from retmask.heads.ablate import ablated
from retmask.heads.detect import run_trials
from retmask.heads.lab import Lab, _longest_answer
from retmask.heads.masks import HeadMask
from retmask.heads.scores import Head
from retmask.heads.trials import Trial, build_trials, evenly
from retmask.model import load_model, load_tokenizer

HEADS = [Head(layer, head) for layer in range(5) for head in range(8)]


@pytest.fixture(scope="module")
def shipped() -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[Trial]]:
    """The shipped model, which finds most needles."""
    tokenizer = load_tokenizer(MODEL_DIR)
    return load_model(MODEL_DIR, "float32", "cpu"), tokenizer, build_trials(tokenizer, (200,), 8, evenly(4), 3)


def test_needles_are_found_as_when_every_answer_is_written_out(
    shipped: tuple[PreTrainedModel, PreTrainedTokenizerBase, list[Trial]],
) -> None:
    model, tokenizer, trials = shipped
    rules = _longest_answer(trials)
    lab = Lab(model, tokenizer, trials, 0)
    intact = np.array([result.success for result in run_trials(model, tokenizer, trials, rules=rules)])
    assert lab.found.tolist() == intact.tolist()
    assert intact.any()
    seen = set()
    for start in range(0, 40, 8):  # a layer at a time
        mask = HeadMask("layer", tuple(HEADS[start : start + 6]), 0)
        found, loss = lab.measure(mask)
        with ablated(model, mask):
            written = np.array([result.success for result in run_trials(model, tokenizer, trials, rules=rules)])
        assert found.tolist() == (intact & written).tolist()
        assert (loss != lab.loss).any()
        seen.add(found.sum())
    assert len(seen) > 1
