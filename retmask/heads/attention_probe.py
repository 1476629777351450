"""The attention probe: which key each head looks at most, on any architecture that uses transformers' attention interface.

``AttentionInterface`` lets a function stand in for a model's attention. Ours computes the output exactly as the model did before
and, for the last query rows only, takes the arg-max over the masked q·k of those rows. Softmax and logit soft-capping are monotone,
so neither is needed to know the arg-max; the cost is rows x context per head, never context x context.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask, sdpa_mask

from harness.api import HarnessError
from harness.engines.attention import attend

_SDPA: Final = "retmask-probe-sdpa"
_EAGER: Final = "retmask-probe-eager"
_CHUNK: Final = 1 << 26
"""Most scores held at once, in elements: 256 MiB of float32."""


@dataclass
class Probe:
    """What the heads looked at in the forward pass just made."""

    rows: int | None = None
    """How many of the last query rows to record; None for all, 0 for none."""
    mass: bool = False
    """Record the mean attention weights of those rows instead of each row's arg-max."""
    _layers: dict[int, Tensor] = field(default_factory=dict)

    def take(self, layers: int) -> Tensor:
        """Compute the arg-max key positions, int64 [batch, layers, heads, rows], of the pass since the last call.

        With ``mass``, the mean over the rows of each key's attention weight instead: float32 [batch, layers, heads, keys].
        HarnessError if a layer was not seen (it has no softmax attention, or hides it from transformers' interface), or if the
        layers differ in heads.
        """
        seen, self._layers = self._layers, {}
        missing = sorted(set(range(layers)) - set(seen))
        if missing:
            raise HarnessError(
                f"layers {', '.join(map(str, missing[:8]))} of {layers} show no attention through transformers' attention "
                "interface, so their heads cannot be scored"
            )
        if len({tensor.shape for tensor in seen.values()}) != 1:
            raise HarnessError("the model's layers have different numbers of heads, which head scores cannot hold")
        return torch.stack([seen[layer].cpu() for layer in range(layers)], dim=1)

    def record(self, module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, options: Mapping[str, Any]) -> None:
        """Note what one layer's heads look at. ``query`` [batch, heads, queries, width], ``key`` [batch, kv heads, keys, width]."""
        rows = query.shape[2] if self.rows is None else min(self.rows, query.shape[2])
        if rows == 0:
            return
        visible = _last_rows(mask, query.shape[2], key.shape[2], rows, query.device)
        parts = _scores(query[:, :, -rows:], key, visible)
        found = [_mass(part, module, options) if self.mass else part.argmax(dim=-1) for part in parts]
        self._layers[int(getattr(module, "layer_idx"))] = torch.cat(found, dim=1)  # noqa: B009


_active: ContextVar[Probe | None] = ContextVar("retmask_probe", default=None)


@contextmanager
def attention_probe(model: PreTrainedModel, rows: int | None = None) -> Iterator[Probe]:
    """Record the arg-max of the last ``rows`` query rows of every forward pass inside the block.

    The model keeps computing what it computed before (eager stays eager, anything else runs as SDPA), and gets its own attention
    back at the end.
    """
    before = model.config._attn_implementation
    probe = Probe(rows)
    token = _active.set(probe)
    try:
        model.set_attn_implementation(_EAGER if before == "eager" else _SDPA)
        yield probe
    finally:
        model.set_attn_implementation(before)
        _active.reset(token)


def _attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any) -> Any:
    probe = _active.get()
    if probe is not None:
        if options.get("position_bias") is not None:
            raise HarnessError(f"{type(module).__name__} adds a position bias to its attention, which the probe does not read")
        probe.record(module, query, key, attention_mask, options)
    return options.pop("forward")(module, query, key, value, attention_mask, **options)


def _sdpa(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any) -> Any:
    return _attend(module, query, key, value, attention_mask, forward=attend, **options)


def _eager(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any) -> Any:
    forward: Callable[..., Any] = vars(sys.modules[type(module).__module__])["eager_attention_forward"]
    return _attend(module, query, key, value, attention_mask, forward=forward, **options)


AttentionInterface.register(_SDPA, _sdpa)
AttentionMaskInterface.register(_SDPA, sdpa_mask)
AttentionInterface.register(_EAGER, _eager)
AttentionMaskInterface.register(_EAGER, eager_mask)


def _last_rows(mask: Tensor | None, queries: int, keys: int, rows: int, device: torch.device) -> Tensor | None:
    """Which keys the last rows may see: bool [batch or 1, heads or 1, rows, keys], or None for all.

    transformers leaves the mask out where plain causality says everything: a single query, or a prompt without padding.
    """
    if mask is None:
        if queries == 1:
            return None
        last = torch.arange(keys - rows, keys, device=device)
        return (torch.arange(keys, device=device) <= last[:, None])[None, None]
    mask = mask[:, :, -rows:, :keys]
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def _scores(query: Tensor, key: Tensor, visible: Tensor | None) -> Iterator[Tensor]:
    """Masked q·k, float32 [batch, some heads, rows, keys], a few heads at a time. Query head h reads key head h // (heads / kv heads)."""
    batch, heads, rows, width = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    group = heads // kv_heads
    step = max(1, _CHUNK // (batch * group * rows * keys))
    for first in range(0, kv_heads, step):
        k = key[:, first : first + step].float()
        q = query[:, first * group : (first + step) * group].float().reshape(batch, k.shape[1], group * rows, width)
        scores = (q @ k.transpose(2, 3)).view(batch, -1, rows, keys)
        if visible is not None:
            part = visible if visible.shape[1] == 1 else visible[:, first * group : (first + step) * group]
            scores = scores.masked_fill(~part, -torch.inf)
        yield scores


def _mass(scores: Tensor, module: nn.Module, options: Mapping[str, Any]) -> Tensor:
    """The rows' mean attention weights: float32 [batch, heads, keys]."""
    if options.get("s_aux") is not None:
        raise HarnessError(f"{type(module).__name__} has attention sinks, which the probe's weights leave out; use the copy detector")
    scores = scores * float(options["scaling"])
    softcap = options.get("softcap")
    if softcap:
        scores = (torch.tanh(scores / softcap) * softcap).masked_fill(scores.isneginf(), -torch.inf)
    return scores.softmax(dim=-1).mean(dim=2)
