"""Reading many prompts that share their beginnings, each distinct beginning once.

The cache holds the sequence read last. Read in lexicographic order (:func:`reading_order`), a sequence shares with the one before it at
least as much as with any earlier one, so every distinct prefix of all sequences is computed exactly once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.engines.cache import LayerState, RoomyCache
from retmask.heads.attention_probe import Probe, attention_probe

_CHUNK_CPU: Final = 256
_CHUNK_GPU: Final = 4096


def reading_order(prompts: Sequence[tuple[int, ...]]) -> list[int]:
    """Order the indices of the prompts in lexicographic order."""
    return sorted(range(len(prompts)), key=lambda index: prompts[index])


def shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Measure the length of the common prefix."""
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return length
    low, high = 0, length  # first[:low] is common, first[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle)
    return low


class Reader:
    """A model with the keys and values of the last sequence read. Made by :func:`reading`."""

    def __init__(self, model: PreTrainedModel, probe: Probe, chunk: int | None) -> None:
        self.model = model
        self.probe = probe
        self.chunk = chunk or (_CHUNK_CPU if model.device.type == "cpu" else _CHUNK_GPU)
        self.layers = int(model.config.get_text_config().num_hidden_layers)
        self.tokens_read = 0
        """Tokens that went through the model."""
        self._cache = RoomyCache()
        self._ids: tuple[int, ...] = ()

    def read(self, ids: tuple[int, ...], rows: int) -> tuple[Tensor, Tensor]:
        """Read a sequence. For its last ``rows`` positions: the logits, [rows, vocabulary], and what the probe saw, [layers, heads, ...].

        In chunks, so that the mask of a windowed layer, too, takes memory in proportion to the length.
        """
        start = min(shared(self._ids, ids), len(ids) - rows)
        self._cache.cut(start)
        self.tokens_read += len(ids) - start
        self._ids = ()  # not valid while under way
        while len(ids) - start > max(self.chunk, rows):
            stop = min(start + self.chunk, len(ids) - rows)
            self._pass(ids[start:stop], 0)
            start = stop
        logits = self._pass(ids[start:], rows)
        self._ids = ids
        return logits, self.probe.take(self.layers)[0]

    def state(self, length: int) -> list[LayerState]:
        """Copy the first ``length`` tokens' keys and values; the sequence is cut there."""
        self._cache.cut(length)
        self._ids = self._ids[:length]
        return self._cache.state()

    def _pass(self, ids: tuple[int, ...], rows: int) -> Tensor:
        self.probe.rows = rows
        tokens = torch.tensor([ids], device=self.model.device)
        logits: Tensor = self.model(input_ids=tokens, past_key_values=self._cache, use_cache=True, logits_to_keep=max(rows, 1)).logits
        return logits[0, -max(rows, 1) :]


@contextmanager
def reading(model: PreTrainedModel, *, mass: bool = False, chunk: int | None = None) -> Iterator[Reader]:
    """Open a reader of ``model``, whose attention is probed inside the block."""
    with torch.inference_mode(), attention_probe(model, rows=0) as probe:
        probe.mass = mass
        yield Reader(model, probe, chunk)
