"""Which heads a tensor-parallel worker holds, and the hook on a real row-parallel slice. vLLM itself is not needed."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness.api import HarnessError
from retmask.heads.masks import HeadMask
from retmask.heads.scores import Head
from retmask.heads.vllm_mask import MaskExtension, layer_number, local_heads
from retmask.pairs.vllm_sampler import VLLMSampler


@given(st.integers(1, 8), st.integers(1, 6), st.data())
def test_every_global_head_is_on_exactly_one_rank(size: int, share: int, data: st.DataObject) -> None:
    total = size * share
    heads = data.draw(st.sets(st.integers(0, total - 1)))
    held = [(rank, head) for rank in range(size) for head in local_heads(heads, total, rank, size)]
    assert all(0 <= head < share for _, head in held)
    assert sorted(rank * share + head for rank, head in held) == sorted(heads)


def test_heads_that_cannot_be_divided_are_an_error() -> None:
    with pytest.raises(ValueError, match="8 heads cannot be divided among 3 ranks"):
        local_heads([1], 8, 0, 3)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("model.layers.13.self_attn.o_proj", 13), ("transformer.h.0.attn.c_proj", 0), ("lm_head", None), ("model.norm", None)],
)
def test_the_layer_is_read_from_the_name(name: str, layer: int | None) -> None:
    assert layer_number(name) == layer


class RowParallel(nn.Linear):
    """A rank's slice of an output projection, with the attributes that vLLM's has."""

    def __init__(self, whole: nn.Linear, rank: int, size: int) -> None:
        share = whole.in_features // size
        super().__init__(share, whole.out_features, bias=False)
        self.weight.data = whole.weight.data[:, rank * share : (rank + 1) * share].clone()
        self.tp_rank, self.tp_size, self.input_size, self.input_size_per_partition = rank, size, whole.in_features, share
        self.input_is_parallel = True


class ToyAttention(nn.Module):
    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.o_proj = projection


class Worker(MaskExtension):
    """What a vLLM worker has of it: one layer of a model of 8 heads of width 4."""

    def __init__(self, whole: nn.Linear, rank: int, size: int) -> None:
        self.projection = RowParallel(whole, rank, size)
        model = nn.ModuleDict({"layers": nn.ModuleList([nn.Identity(), ToyAttention(self.projection)])})
        self.model_runner = SimpleNamespace(get_model=lambda: model)
        config = SimpleNamespace(hf_text_config=SimpleNamespace(num_attention_heads=8))
        self.vllm_config = SimpleNamespace(model_config=config)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_ranks_together_compute_what_one_masked_projection_does(size: int) -> None:
    torch.manual_seed(0)
    whole, states = nn.Linear(32, 6, bias=False), torch.randn(3, 32)
    workers = [Worker(whole, rank, size) for rank in range(size)]

    def output() -> torch.Tensor:
        slices = states.chunk(size, dim=1)
        return torch.stack([worker.projection(part) for worker, part in zip(workers, slices, strict=True)]).sum(0)

    masked = states.clone().view(3, 8, 4)
    masked[:, [1, 6]] = 0
    for _ in range(2):  # on, off, and on again
        silenced = [head for worker in workers for head in worker.set_head_mask([[1, 1], [1, 6]])]
        assert sorted(silenced) == [[1, 1], [1, 6]]
        torch.testing.assert_close(output(), whole(masked.view(3, 32)))
        assert [worker.set_head_mask([]) for worker in workers] == [[]] * size
        torch.testing.assert_close(output(), whole(states))


def test_a_new_mask_replaces_the_old_one() -> None:
    whole = nn.Linear(32, 6, bias=False)
    worker = Worker(whole, 0, 1)
    worker.set_head_mask([[1, 1]])
    assert worker.set_head_mask([[1, 2], [0, 3]]) == [[1, 2]], "layer 0 has no projection to silence"
    states = torch.randn(1, 32)
    masked = states.clone()
    masked[:, 8:12] = 0
    torch.testing.assert_close(worker.projection(states), whole(masked))


@pytest.mark.parametrize("strength", [0.5, 3.0])
@pytest.mark.parametrize("size", [1, 2])
def test_heads_are_scaled_by_strength_and_restored(size: int, strength: float) -> None:
    torch.manual_seed(0)
    whole, states = nn.Linear(32, 6, bias=False), torch.randn(3, 32)
    workers = [Worker(whole, rank, size) for rank in range(size)]

    def output() -> torch.Tensor:
        return torch.stack([worker.projection(part) for worker, part in zip(workers, states.chunk(size, dim=1), strict=True)]).sum(0)

    scaled = states.clone().view(3, 8, 4)
    scaled[:, [1, 6]] *= strength
    for worker in workers:
        worker.set_head_mask([[1, 1], [1, 6]], strength)
    torch.testing.assert_close(output(), whole(scaled.view(3, 32)))
    for worker in workers:
        worker.set_head_mask([])
    torch.testing.assert_close(output(), whole(states))


class Engine:
    """What of a vLLM engine a sampler asks to set a mask: its workers, and a cache."""

    def __init__(self, workers: list[Worker]) -> None:
        self.workers, self.cleared = workers, 0

    def collective_rpc(self, name: str, args: tuple[object, ...]) -> list[list[list[int]]]:
        return [getattr(worker, name)(*args) for worker in self.workers]

    def reset_prefix_cache(self) -> None:
        self.cleared += 1


def test_a_sampler_hands_the_masks_strength_to_the_workers() -> None:
    """So that ``strength`` means on vLLM what it means with transformers; ``make test-vllm`` holds answers of a real engine to it."""
    whole, states = nn.Linear(32, 6, bias=False), torch.randn(3, 32)
    sampler, engine = object.__new__(VLLMSampler), Engine([Worker(whole, 0, 1)])
    sampler._llm = engine
    scaled = states.clone()
    scaled[:, 4:8] *= 0.25
    sampler.silence(HeadMask("some", (Head(1, 1),), strength=0.25))
    torch.testing.assert_close(engine.workers[0].projection(states), whole(scaled))
    assert engine.cleared == 1, "what was cached was computed without this mask"
    sampler.silence(None)
    torch.testing.assert_close(engine.workers[0].projection(states), whole(states))
    with pytest.raises(HarnessError, match=r"vLLM silenced 0 of 1 heads: .* sample with transformers instead"):
        sampler.silence(HeadMask("foreign", (Head(0, 1),), strength=0.25))
