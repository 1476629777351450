"""Attention on a CPU without copying keys and values for every group of heads that share them.

transformers repeats the keys and values of grouped-query attention wherever there is a mask, that is in every step of a padded batch: with
24 rows of 560 tokens of a 135M model that is four fifths of a decoding step. torch's CPU kernel reads shared keys in place, masked or not,
and gives the same bits.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward


def share_keys() -> None:
    """Have every model of this process that uses ``sdpa`` attend by :func:`attend`."""
    AttentionInterface.register("sdpa", attend)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Compute scaled dot-product attention, [batch, queries, heads, width].

    ``query`` [batch, heads, queries, width], keys with their own heads.

    What needs gradients, another device, a position bias or a paged cache is transformers' own.
    """
    grouped = attention_mask is not None and query.shape[1] != key.shape[1]
    plain = query.device.type == "cpu" and not torch.is_grad_enabled() and options.get("position_bias") is None
    if not (grouped and plain) or options.get("cache") is not None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return found
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None
