"""Causal detection: how much less likely the needle's answer is when a head is silent.

A head that looks at the needle need not be one that the answer depends on. Here each head is silenced, and the answer's log-probability
is compared with the intact model's. Exactly, that is one short pass a head on the prompt's keys and values; where heads are many, one pass
forward and one back estimates all of them (attribution patching, arXiv 2310.10348). No answer is written, so every trial counts.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from retmask.heads.detectors import TrialResult
from retmask.heads.forced_answers import FORMS, GRADIENT, ForcedAnswer, forced_answers
from retmask.heads.scores import Scores
from retmask.heads.trial_scoring import TrialScoring
from retmask.heads.trials import Trial

#: Heads of a model, at most, that are silenced one by one.
FEW_HEADS: Final = 512


class CausalDetector:
    """Heads without which the answer is less likely: measured one by one in models of few heads, estimated in others."""

    name = "causal"

    def forced(self, heads: int) -> int:
        """Count how many times a trial's answer is put to the model: once for each head, or for a gradient."""
        return (GRADIENT if heads > FEW_HEADS else 1 + heads) + FORMS

    def measure(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        trials: Sequence[Trial],
        rules: TrialScoring,
        say: Callable[[str], None],
    ) -> list[TrialResult]:
        """Silence each head while the answer is produced."""
        text = model.config.get_text_config()
        heads = int(text.num_hidden_layers) * int(text.num_attention_heads)
        if heads > FEW_HEADS:
            say(f"heads: {heads} heads, so what silencing each one costs is estimated by its gradient, not measured")
        return _measure(model, trials, estimated if heads > FEW_HEADS else measured, say)


class AttributionDetector:
    """The same, always estimated."""

    name = "attribution"

    def forced(self, heads: int) -> int:
        """Count a gradient's passes over a trial's answer."""
        return GRADIENT + FORMS

    def measure(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        trials: Sequence[Trial],
        rules: TrialScoring,
        say: Callable[[str], None],
    ) -> list[TrialResult]:
        """Take the answer's gradient by every head's gate."""
        return _measure(model, trials, estimated, say)


def measured(answer: ForcedAnswer) -> Tensor:
    """Compute what silencing each head costs, nats a needle token, [layers, heads]; below 0 where it helps."""
    layers, heads = answer.shape
    each = torch.eye(layers * heads, dtype=torch.bool).view(-1, layers, heads)
    found = answer.log_probabilities(torch.cat([torch.zeros_like(each[:1]), each]))
    return (found[0] - found[1:]).view(layers, heads)


def estimated(answer: ForcedAnswer) -> Tensor:
    """Estimate the same to first order."""
    return answer.gradient(torch.zeros(answer.shape, dtype=torch.bool))


def lost(cost: Tensor) -> Scores:
    """Compute scores from costs in nats a token: the share of a token's probability that goes, in [0, 1]; 0 where it grows.

    >>> lost(torch.tensor([0.0, 0.693147, -1.0])).round(3).tolist()
    [0.0, 0.5, 0.0]
    """
    found: Scores = (-torch.expm1(-cost.clamp(min=0))).float().numpy()
    return found


def _measure(
    model: PreTrainedModel, trials: Sequence[Trial], cost: Callable[[ForcedAnswer], Tensor], say: Callable[[str], None]
) -> list[TrialResult]:
    found: dict[int, TrialResult] = {}
    every = max(10, len(trials) // 10)
    for index, answer in forced_answers(model, trials):
        found[index] = TrialResult(trials[index], (), "", None, lost(cost(answer)))
        if len(found) % every == 0:
            say(f"heads: {len(found)} of {len(trials)} trials")
    return [found[index] for index in range(len(trials))]
