"""Sampling by greedy decoding: each row's scores get noise of its own, so that no row depends on which others share its batch.

The arg-max of ``logits / T + Gumbel noise`` is a draw from ``softmax(logits / T)`` (Gumbel 1954). Two models that are given the same noise
answer alike where they agree, so that what they share cancels in their difference.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper


class GumbelNoise(LogitsProcessor):
    """Adds each row's own Gumbel noise to its scores; greedy decoding then samples."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.rows: Sequence[int] = range(len(seeds))
        """Which rows the scores belong to, where some have left the batch."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``scores`` is [batch, vocabulary]; so is what comes back, in float32."""
        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, place in zip(noise, self.rows, strict=True):
            row.exponential_(generator=self.generators[place])
        return scores.float() - noise.log_()


def sampled(temperature: float, seeds: Sequence[int], device: torch.device) -> LogitsProcessorList:
    """Make greedy decoding sample at a temperature, with a seed for each row."""
    return LogitsProcessorList([TemperatureLogitsWarper(float(temperature)), GumbelNoise(seeds, device)])
