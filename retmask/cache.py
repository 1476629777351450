"""A key-value cache with room to grow: appending writes what is new, cutting back and branching off copy nothing twice.

``DynamicCache`` copies every layer's whole cache for every token (``torch.cat``), which at 128K tokens is most of the time of a step.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

LayerState: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values, each [batch, kv heads, tokens, width]."""


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values as views of larger buffers. Sliding layers keep everything, too, so that any prefix can be gone back to."""

    _buffers: LayerState | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> LayerState:
        """Append; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        buffers = self._buffers
        if buffers is None or end > buffers[0].shape[-2]:
            room = max(end + 64, end * 5 // 4)  # a quarter more, so that growing copies each key about four times at most
            grown = _empty(key_states, room), _empty(value_states, room)
            if buffers is not None:
                for new, old in zip(grown, buffers, strict=True):
                    new[:, :, :start] = old[:, :, :start]
            self._buffers = buffers = grown
        buffers[0][:, :, start:end], buffers[1][:, :, start:end] = key_states, value_states
        self.keys, self.values = buffers[0][:, :, :end], buffers[1][:, :, :end]
        return self.keys, self.values

    def contents(self) -> LayerState:
        """All keys and values."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values


def _empty(like: Tensor, room: int) -> Tensor:
    return like.new_empty(*like.shape[:2], room, like.shape[3])


class RoomyCache(Cache):
    """A cache of such layers."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=RoomyLayer)

    def cut(self, length: int) -> None:
        """Keep the first ``length`` tokens."""
        surplus = self.get_seq_length() - length
        if surplus > 0:
            for layer in self._rooms():
                layer.crop(-surplus)

    def state(self) -> list[LayerState]:
        """A copy of every layer's keys and values."""
        return [(keys.clone(), values.clone()) for keys, values in (layer.contents() for layer in self._rooms())]

    def _rooms(self) -> Iterator[RoomyLayer]:
        for layer in self.layers:
            assert isinstance(layer, RoomyLayer)
            yield layer


def stack(states: Sequence[Sequence[LayerState]]) -> RoomyCache:
    """One batch from states of a single row each, aligned at their ends; what is before a shorter one is zeros, to be masked."""
    cache = RoomyCache()
    width = max(state[0][0].shape[2] for state in states)
    for number in range(len(states[0])):
        keys, values = (torch.cat([_aligned(state[number][part], width) for state in states]) for part in (0, 1))
        cache.update(keys, values, number)
    return cache


def _aligned(states: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(states, (0, 0, width - states.shape[2], 0))
