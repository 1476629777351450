"""Ablation: the hook and the zeroed weights are the same model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from harness.api import HarnessError
from retmask.heads.ablate import ablated, output_projections, save_ablated
from retmask.heads.masks import HeadMask
from retmask.heads.scores import Head
from tests.retmask.small import ARCHITECTURES, random_model

MASK = HeadMask("some", (Head(0, 1), Head(1, 0), Head(1, 3)))
IDS = torch.randint(5, 700, (2, 20), generator=torch.Generator().manual_seed(1))


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        output: Tensor = model(IDS).logits
    return output


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_hook_equals_zeroed_weights(kind: str, tmp_path: Path) -> None:
    model = random_model(kind)
    before = logits(model)
    with ablated(model, MASK):
        hooked = logits(model)
    save_ablated(model, MASK, tmp_path / "masked")
    saved = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "masked"))
    torch.testing.assert_close(hooked, saved, atol=1e-5, rtol=1e-5)
    assert (hooked - before).abs().max() > 1e-2
    assert torch.equal(logits(model), before)  # neither left a trace


def test_masking_every_head_leaves_the_bias(tmp_path: Path) -> None:
    model = random_model("Llama", attention_bias=True)
    projection = output_projections(model)[0].module
    assert isinstance(projection, nn.Linear)
    with torch.no_grad():
        projection.bias.fill_(0.7)
    seen: list[Tensor] = []
    watch = projection.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with ablated(model, HeadMask("layer", tuple(Head(0, head) for head in range(4)))):
        logits(model)
    watch.remove()
    assert torch.equal(seen[0], torch.full_like(seen[0], 0.7))


@pytest.mark.parametrize("strength", [0.25, 2.0])
def test_heads_are_scaled_alike_by_hook_and_in_weights(strength: float, tmp_path: Path) -> None:
    model = random_model("Llama")
    mask = replace(MASK, strength=strength)
    with ablated(model, mask):
        hooked = logits(model)
    save_ablated(model, mask, tmp_path / "scaled")
    torch.testing.assert_close(hooked, logits(AutoModelForCausalLM.from_pretrained(tmp_path / "scaled")), atol=1e-5, rtol=1e-5)
    assert json.loads((tmp_path / "scaled" / "head_mask.json").read_text())["strength"] == strength


def test_a_projections_input_is_scaled_in_the_heads_columns_alone() -> None:
    model = random_model("Llama")
    projection = output_projections(model)[1]
    assert isinstance(projection.module, nn.Linear)
    states = torch.ones(1, 1, projection.heads * projection.width)
    by_hand = states.clone()
    by_hand[..., : projection.width] *= 0.25
    by_hand[..., 3 * projection.width :] *= 0.25
    with torch.no_grad(), ablated(model, replace(MASK, strength=0.25)):
        torch.testing.assert_close(projection.module(states), nn.functional.linear(by_hand, projection.module.weight))


def test_the_hook_goes_when_the_block_fails() -> None:
    model = random_model("Llama")
    before = logits(model)
    with pytest.raises(RuntimeError, match="on purpose"), ablated(model, MASK):
        raise RuntimeError("on purpose")
    assert torch.equal(logits(model), before)


def test_masks_nest() -> None:
    model = random_model("Llama")
    with ablated(model, MASK):
        together = logits(model)
    with ablated(model, HeadMask("a", MASK.heads[:1])), ablated(model, HeadMask("b", MASK.heads[1:])):
        assert torch.equal(logits(model), together)


def test_the_checkpoint_says_what_was_masked(tmp_path: Path) -> None:
    save_ablated(random_model("Llama"), MASK, tmp_path / "masked")
    assert json.loads((tmp_path / "masked" / "head_mask.json").read_text())["heads"] == [[0, 1], [1, 0], [1, 3]]
    assert [path.name for path in tmp_path.iterdir()] == ["masked"]


def test_heads_wider_than_the_model_are_cut_by_the_projections_own_width() -> None:
    model = random_model("Qwen3")  # 4 heads of width 16 in a model of width 32
    assert [(projection.heads, projection.width) for projection in output_projections(model)] == [(4, 16)] * 2


def renamed() -> PreTrainedModel:
    model = random_model("Llama")
    attention = model.get_submodule("model.layers.1.self_attn")
    attention.register_module("strange_name", attention.o_proj)
    del attention.o_proj
    return model


def test_a_projection_that_is_not_found_names_its_layer() -> None:
    with pytest.raises(HarnessError, match=r"layer 1 \(LlamaDecoderLayer\) has 0 attention output projections"):
        output_projections(renamed())


@pytest.mark.parametrize("head", [Head(2, 0), Head(0, 4)])
def test_a_mask_for_another_model_is_refused(head: Head) -> None:
    message = f"names head {head.layer}-{head.head}, but the model has 2 layers of 4 heads"
    with pytest.raises(HarnessError, match=message), ablated(random_model("Llama"), HeadMask("foreign", (head,))):
        pass


def test_a_checkpoint_is_written_without_deleting_anything_beside_it(tmp_path: Path) -> None:
    (tmp_path / "masked.partial").mkdir()
    (tmp_path / "masked.partial" / "thesis.tex").write_text("ten years")
    save_ablated(random_model("Llama"), MASK, tmp_path / "masked")
    assert (tmp_path / "masked.partial" / "thesis.tex").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masked", "masked.partial"]
