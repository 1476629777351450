"""Detection on a pretrained model against transformers' own step-by-step generation with eager attention."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from retmask.heads.detect import run_trials
from retmask.heads.trials import Trial, build_trials, evenly
from retmask.model import generate, load_model, load_tokenizer

STEPS = 50


def eagerly(model: PreTrainedModel, trial: Trial) -> tuple[list[int], np.ndarray]:
    """Greedy answer, and the share of the needle's tokens that each head copied [layers, heads], from whole attention rows."""
    ids = torch.tensor([trial.prompt_ids])
    output = generate(model)(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=STEPS,
        do_sample=False,
        return_dict_in_generate=True,
        output_attentions=True,
    )
    said = output.sequences[0, ids.shape[1] :].tolist()
    needle = trial.needle_end - trial.needle_start
    copied = np.zeros((len(output.attentions[0]), output.attentions[0][0].shape[1], needle), bool)
    for token, step in zip(said, output.attentions, strict=True):
        for layer, attention in enumerate(step):
            for head, key in enumerate(attention[0, :, -1].argmax(-1).tolist()):
                if trial.needle_start <= key < trial.needle_end and trial.prompt_ids[key] == token:
                    copied[layer, head, key - trial.needle_start] = True
    return said, copied.mean(axis=-1)


@pytest.mark.model
def test_answers_and_counted_scores_equal_eager_attentions(smollm2: Path) -> None:
    """The trials of `heads detect --lengths 512 --trials 24`: all that count, and two that do not."""
    tokenizer = load_tokenizer(smollm2)
    trials = build_trials(tokenizer, [512], 24, evenly(10), 42)
    found = run_trials(load_model(smollm2, "float32", "cpu"), tokenizer, trials)
    counted = [result for result in found if result.success]
    assert len(counted) >= 4
    eager = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32, attn_implementation="eager").eval()
    missed = [result for result in found if not result.success]
    for result in [*counted, *missed[:2]]:
        said, scores = eagerly(eager, result.trial)
        assert list(result.generated_ids) == said
        if result.success:
            np.testing.assert_allclose(result.scores, scores, atol=1e-6)
    assert max(result.scores.max() for result in counted) > 0.5
