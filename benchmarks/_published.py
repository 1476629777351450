"""The published detector's loop, written from its definition, as the thing to compare with.

Prefill with fast attention; then decode one token at a time with every layer's full attention rows returned, and for every head take the
top key of its row in Python. Prompts, rules and model are the caller's, so that only the loop differs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from retmask.heads.trials import Trial


@torch.inference_mode()
def published_scores(model: PreTrainedModel, trials: Sequence[Trial], stops: Sequence[int], steps: int) -> np.ndarray:
    """float64 [trials, layers, heads], counted at each step."""
    return np.array([_trial(model, trial, stops, steps) for trial in trials])


def _trial(model: PreTrainedModel, trial: Trial, stops: Sequence[int], steps: int) -> list[list[float]]:
    config = model.config
    scores = [[0.0] * config.num_attention_heads for _ in range(config.num_hidden_layers)]
    prompt = torch.tensor([trial.prompt_ids], device=model.device)
    model.set_attn_implementation("sdpa")
    cache = model(input_ids=prompt[:, :-1], use_cache=True, logits_to_keep=1).past_key_values
    model.set_attn_implementation("eager")
    token = prompt[0, -1]
    for _ in range(steps):
        output = model(input_ids=token.view(1, 1), past_key_values=cache, use_cache=True, output_attentions=True)
        token = output.logits[0, -1].argmax()
        for layer, attention in enumerate(output.attentions):
            for head in range(attention.shape[1]):
                for place in attention[0, head, -1].topk(1).indices:
                    if trial.needle_start <= place < trial.needle_end and token.item() == prompt[0, place].item():
                        scores[layer][head] += 1 / (trial.needle_end - trial.needle_start)
        if token.item() in stops:
            break
    model.set_attn_implementation("sdpa")
    return scores
