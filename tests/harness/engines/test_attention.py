"""Attention with shared keys: the same bits as transformers' own, and only where it may be used."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harness.engines import attention
from harness.engines.attention import attend, share_keys
from tests.retmask.small import random_model


class Layer(nn.Module):
    """What transformers' function wants to know of a layer with six heads on two keys."""

    num_key_value_groups = 3
    is_causal = True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = AttentionInterface._global_mapping["sdpa"]
    yield
    AttentionInterface.register("sdpa", before)


def padded(queries: int, keys: int = 40) -> dict[str, torch.Tensor]:
    """Three rows, the second with nine tokens of padding."""
    rng = torch.Generator().manual_seed(queries)
    mask = (torch.arange(keys) <= torch.arange(keys - queries, keys)[:, None]).repeat(3, 1, 1, 1)
    mask[1, ..., :9] = False
    sizes = {"query": (3, 6, queries, 16), "key": (3, 2, keys, 16), "value": (3, 2, keys, 16)}
    return {name: torch.randn(size, generator=rng) for name, size in sizes.items()} | {"attention_mask": mask}


@pytest.mark.parametrize("queries", [1, 7])
def test_the_bits_are_transformers_own(queries: int) -> None:
    with torch.inference_mode():
        expected, _ = sdpa_attention_forward(Layer(), **padded(queries), scaling=0.3)
        found, _ = attend(Layer(), **padded(queries), scaling=0.3)
    assert torch.equal(found, expected)


def test_keys_are_not_copied_where_there_is_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *_, **__: pytest.fail("transformers repeats keys"))
    with torch.inference_mode():
        attend(Layer(), **padded(1))


def test_what_needs_gradients_is_transformers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def theirs(*args: object, **options: object) -> object:
        called.append(options)
        return sdpa_attention_forward(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(attention, "sdpa_attention_forward", theirs)
    inputs = padded(7)
    inputs["key"].requires_grad_()
    attend(Layer(), **inputs)[0].sum().backward()
    assert called
    assert inputs["key"].grad is not None


def test_models_use_it_once_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(attention, "attend", lambda *args, **options: seen.append(args) or sdpa_attention_forward(*args, **options))
    share_keys()
    with torch.inference_mode():
        random_model("Llama")(input_ids=torch.tensor([[5, 6, 7]]))
    assert len(seen) == 2  # layers
