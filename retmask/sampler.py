"""Sampling whose outcome depends on the prompt's number and the seed alone.

The arg-max of ``logits / T + Gumbel noise`` is a draw from ``softmax(logits / T)`` (Gumbel 1954). With one generator for each row,
a row's draws do not depend on which others share its batch, as they would with one generator for the whole batch.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from retmask.pairs import Sampling


class GumbelNoise(LogitsProcessor):
    """Adds each row's own Gumbel noise to its scores; greedy decoding then samples."""

    def __init__(self, seed: int, rows: Sequence[int], device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(_row_seed(seed, row)) for row in rows]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``scores`` is [batch, vocabulary]; so is what comes back, in float32."""
        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores.float() - noise.log_()


def warpers(settings: Sampling, rows: Sequence[int], device: torch.device) -> LogitsProcessorList:
    """The logits processors that make greedy decoding sample as ``settings`` say. ``rows`` are the prompts' numbers."""
    if settings.temperature == 0:
        return LogitsProcessorList()
    processors = LogitsProcessorList([TemperatureLogitsWarper(settings.temperature)])
    if settings.top_p < 1:
        processors.append(TopPLogitsWarper(settings.top_p))
    processors.append(GumbelNoise(settings.seed, rows, device))
    return processors


def _row_seed(seed: int, row: int) -> int:
    return int.from_bytes(blake2b(f"{seed}:{row}".encode(), digest_size=7).digest(), "big")
