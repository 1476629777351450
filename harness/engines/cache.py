"""A key-value cache with room to grow: appending writes what is new, cutting back and branching off copy nothing twice.

transformers' own copies every layer's whole cache for every token (``torch.cat``), which at 128K tokens is most of the time of a step.
"""

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import TypeAlias

from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

LayerState: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values, each [batch, kv heads, tokens, width]."""


class RoomyLayer(DynamicLayer):
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

    @classmethod
    def holding(cls, buffers: LayerState, length: int) -> "RoomyLayer":
        """Make a layer whose first ``length`` tokens are in these buffers."""
        layer = cls()
        layer.lazy_initialization(*buffers)
        layer._buffers = buffers
        layer.keys, layer.values = buffers[0][:, :, :length], buffers[1][:, :, :length]
        return layer

    def keep(self, rows: Tensor) -> None:
        """Drop every row of the batch but these."""
        assert self._buffers is not None
        length = self.get_seq_length()
        keys, values = self._buffers
        self._buffers = buffers = keys[rows], values[rows]
        self.keys, self.values = buffers[0][:, :, :length], buffers[1][:, :, :length]

    def contents(self) -> LayerState:
        """List all keys and values."""
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

    def keep(self, rows: Tensor) -> None:
        """Drop every row of the batch but these indices."""
        for layer in self._rooms():
            layer.keep(rows)

    def contents(self) -> list[LayerState]:
        """List every layer's keys and values."""
        return [layer.contents() for layer in self._rooms()]

    def state(self) -> list[LayerState]:
        """Copy every layer's keys and values."""
        return [(keys.clone(), values.clone()) for keys, values in self.contents()]

    def _rooms(self) -> Iterator[RoomyLayer]:
        for layer in self.layers:
            assert isinstance(layer, RoomyLayer)
            yield layer


class Stack:
    """One batch, put together row by row and aligned at the ends: no more than it and a row is in memory.

    ``width`` is the longest row's tokens, and there is room for ``more``. What is before a shorter row is zeros, to be masked.
    """

    def __init__(self, rows: int, width: int, more: int = 64) -> None:
        self._rows, self._width, self._more = rows, width, more
        self._layers: list[LayerState] = []

    def put(self, row: int, state: Sequence[LayerState]) -> None:
        """Copy a single row's keys and values, layer by layer."""
        if not self._layers:
            self._layers = [(self._empty(keys), self._empty(values)) for keys, values in state]
        for layer, own in zip(self._layers, state, strict=True):
            for whole, part in zip(layer, own, strict=True):
                start = self._width - part.shape[2]
                whole[row, :, :start] = 0  # what memory holds by chance may be no number, and no number times 0 is none
                whole[row, :, start : self._width] = part[0]

    def cache(self) -> RoomyCache:
        """Give the batch, with room to grow."""
        cache = RoomyCache()
        for layer in self._layers:
            cache.layers.append(RoomyLayer.holding(layer, self._width))
        return cache

    def _empty(self, like: Tensor) -> Tensor:
        return like.new_empty(self._rows, like.shape[1], self._width + self._more, like.shape[3])


def stack(states: Sequence[Sequence[LayerState]]) -> RoomyCache:
    """Make one batch of states of a single row each."""
    whole = Stack(len(states), max(state[0][0].shape[2] for state in states))
    for row, state in enumerate(states):
        whole.put(row, state)
    return whole.cache()


def has_plain_cache(model: PreTrainedModel) -> bool:
    """Say whether all the model remembers of a text is keys and values, which a :class:`RoomyCache` can hold."""
    if model.config.is_encoder_decoder or "logits_to_keep" not in signature(model.forward).parameters:
        return False
    kinds = {type(layer) for layer in DynamicCache(config=model.config.get_text_config(decoder=True)).layers}
    return kinds <= {DynamicLayer, DynamicSlidingWindowLayer}
