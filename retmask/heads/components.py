"""Scores of other components than heads: what silencing a neuron of an MLP, or a whole layer, costs the needle's answer.

A score is the mean loss of log-probability (nats a token) of the needle's answer, read after its prompt, when the unit is silenced; 0 where
the answer gains. For layers it is exact, a pass for each. For the neurons, of which there are many, it is the first-order estimate of
attribution patching (Syed et al., arXiv 2310.10348) towards zero: activation times gradient, summed over positions, one pass and its
gradient for each trial. Every trial counts, since nothing is generated.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from retmask.heads.ablate import ablated, projections
from retmask.heads.masks import LAYERS, HeadMask
from retmask.heads.scores import Head, HeadScores, Scores, TrialFacts
from retmask.heads.trials import Trial


def score_units(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trials: Sequence[Trial],
    model_digest: str,
    component: str,
    say: Callable[[str], None] = lambda _: None,
) -> HeadScores:
    """Score every unit of a component: [layers, neurons] of ``mlp``, [layers, 1] of ``layers``."""
    measure = _layers if component == LAYERS else _neurons
    scores = []
    for number, trial in enumerate(trials, start=1):
        answer = tokenizer(f" {trial.needle.answer}", add_special_tokens=False)["input_ids"]
        scores.append(measure(model, [*trial.prompt_ids, *answer], len(answer)))
        if number % max(10, len(trials) // 10) == 0:
            say(f"{component}: {number} of {len(trials)} trials")
    facts = tuple(TrialFacts(True, t.length, len(t.prompt_ids), t.depth, t.realised_depth, None) for t in trials)
    return HeadScores(model_digest, np.stack(scores), facts, f"{component}-attribution" if component != LAYERS else "layers-exact", "grid")


@torch.inference_mode()
def _layers(model: PreTrainedModel, ids: Sequence[int], answer: int) -> Scores:
    """What each layer's silence costs: float32 [layers, 1]."""
    count = int(model.config.get_text_config().num_hidden_layers)
    tokens = torch.tensor([ids], device=model.device)
    intact = float(_log_probability(model(input_ids=tokens, use_cache=False).logits, tokens, answer))
    found = np.zeros((count, 1), np.float32)
    for layer in range(count):
        with ablated(model, HeadMask("layer", (Head(layer, 0),), component=LAYERS)):
            found[layer] = max(0.0, intact - float(_log_probability(model(input_ids=tokens, use_cache=False).logits, tokens, answer)))
    return found


def _neurons(model: PreTrainedModel, ids: Sequence[int], answer: int) -> Scores:
    """What each neuron's silence would cost, by its gradient: float32 [layers, neurons]."""
    tokens = torch.tensor([ids], device=model.device)
    with torch.enable_grad(), _frozen(model), _watched(model) as seen:
        embedded = model.get_input_embeddings()(tokens).detach().requires_grad_()
        found = _log_probability(model(inputs_embeds=embedded, use_cache=False).logits, tokens, answer)
        gradients = torch.autograd.grad(found, seen)
    costs = [(states.detach() * slope).float().sum(dim=(0, 1)) for states, slope in zip(seen, gradients, strict=True)]
    scores: Scores = torch.stack(costs).clamp(min=0).cpu().numpy().astype(np.float32)
    return scores


@contextmanager
def _frozen(model: PreTrainedModel) -> Iterator[None]:
    """The model's parameters without gradients, which would take as much memory again."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, asked in before:
            parameter.requires_grad_(asked)


@contextmanager
def _watched(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """What goes into each layer's MLP projection, [1, tokens, neurons], in order."""
    seen: list[Tensor] = []
    hooks = [each.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for each in projections(model, "mlp")]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _log_probability(logits: Tensor, ids: Tensor, answer: int) -> Tensor:
    """Of the last ``answer`` tokens, nats a token."""
    found = logits[0, -answer - 1 : -1].float().log_softmax(dim=-1)
    return found.gather(1, ids[0, -answer:, None]).mean()
