"""Neurons and layers: silenced as by hand, and scored by what that costs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.api import HarnessError, Json
from retmask.heads.ablate import ablated, projections, save_ablated
from retmask.heads.components import _neurons, score_units
from retmask.heads.masks import HeadMask, layermatched, retrieval
from retmask.heads.scores import Head
from retmask.heads.trials import build_trials
from retmask.methods.controls import RandMask
from retmask.methods.retmask import RetMask
from retmask.model import load_model, load_tokenizer
from retmask.options import parse_options
from tests.retmask.directory import DirectoryContext
from tests.retmask.small import random_model

IDS = torch.randint(5, 700, (1, 20), generator=torch.Generator().manual_seed(1))


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        output: torch.Tensor = model(IDS).logits
    return output


def test_a_silent_neurons_activation_is_zero_before_the_projection() -> None:
    model = random_model("Llama")
    mask = HeadMask("some", (Head(0, 3), Head(1, 0)), component="mlp")
    projection = projections(model, "mlp")[0]
    assert isinstance(projection.module, nn.Linear)
    states = torch.ones(1, 1, projection.heads)
    by_hand = states.clone()
    by_hand[..., 3] = 0.5
    with torch.no_grad(), ablated(model, replace(mask, strength=0.5)):
        torch.testing.assert_close(projection.module(states), nn.functional.linear(by_hand, projection.module.weight))


def test_a_silent_layer_passes_on_what_it_got() -> None:
    model = random_model("Llama")
    seen: list[torch.Tensor] = []
    layer = model.get_submodule("model.layers.1")
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    layer.register_forward_hook(lambda _m, _i, output: seen.append(output[0] if isinstance(output, tuple) else output))
    with ablated(model, HeadMask("layer", (Head(1, 0),), component="layers")):
        logits(model)
    torch.testing.assert_close(seen[0].reshape(-1), seen[1].reshape(-1))


@pytest.mark.parametrize("component", ["mlp", "layers"])
def test_hook_equals_scaled_weights(component: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, mask = random_model("Llama"), HeadMask("some", (Head(1, 0),), component=component)
    with ablated(model, mask):
        hooked = logits(model)
    save_ablated(model, mask, tmp_path / "masked")
    torch.testing.assert_close(hooked, logits(AutoModelForCausalLM.from_pretrained(tmp_path / "masked")), atol=1e-5, rtol=1e-5)
    assert (hooked - logits(model)).abs().max() > 1e-5


def test_a_mask_for_another_model_is_refused() -> None:
    with (
        pytest.raises(HarnessError, match=r"names neuron 0-9999, but the model has 2 layers of \d+ neurons"),
        ablated(random_model("Llama"), HeadMask("foreign", (Head(0, 9999),), component="mlp")),
    ):
        pass


def test_attribution_is_activation_times_gradient_of_the_answer() -> None:
    """By finite differences: a neuron scaled by 1 - e costs e times its score."""
    model, ids = random_model("Llama"), IDS[0].tolist()
    scores = _neurons(model, ids, 3)

    def answer() -> float:
        found = logits(model)[0, -4:-1].double().log_softmax(-1)
        return float(found.gather(1, IDS[0, -3:, None]).mean())

    before = answer()
    for layer, neuron in np.argwhere(scores > np.quantile(scores, 0.9))[:6]:
        with ablated(model, HeadMask("one", (Head(int(layer), int(neuron)),), strength=0.995, component="mlp")):
            assert (before - answer()) / 0.005 == pytest.approx(float(scores[layer, neuron]), rel=0.1, abs=1e-2)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_layers_score_is_what_its_silence_costs_and_controls_can_be_drawn(checkpoint: Path) -> None:
    model, tokenizer = load_model(checkpoint, "float32", "cpu"), load_tokenizer(checkpoint)
    trials = build_trials(tokenizer, (120,), 2, (0.5,), 3)
    scores = score_units(model, tokenizer, trials, "digest", "layers")
    assert scores.shape == (2, 1)
    neurons = score_units(model, tokenizer, trials, "digest", "mlp")
    assert neurons.shape == (2, projections(model, "mlp")[0].heads)
    target = retrieval(neurons, top_k=5)
    assert len(layermatched(neurons.shape, target, 1).heads) == 5


@pytest.mark.parametrize(("component", "options"), [("mlp", {"top_k": 12}), ("layers", {"top_k": 1}), ("mlp", {"contrast": 0.5})])
def test_a_method_masks_them(checkpoint: Path, tmp_path: Path, component: str, options: dict[str, Json]) -> None:
    common: dict[str, Json] = {
        "components": component, "detection_lengths": [120], "detection_trials": 2, "prompts": 8, "contrast_prompts": 8,
        "prompts_from": "generated", "max_new_tokens": 6, "temperature": 1.0,
    }  # fmt: skip
    context = DirectoryContext(tmp_path, checkpoint, {**common, **options})
    RetMask().pairs(context)
    found = {each.name: each for each in context.artifacts}
    assert found["rejected-retmask"].manifest["inputs"]["component"] == component  # type: ignore[index,call-overload]
    control = DirectoryContext(tmp_path, checkpoint, {**common, **options})
    RandMask().pairs(control)
    assert {each.name for each in control.artifacts if each.reused} >= {"units", "prompts", "chosen"}


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(HarnessError, match="components = 'neurons'; choose from heads, mlp, layers"):
        parse_options({"components": "neurons"})
    with pytest.raises(HarnessError, match="leave out heads = auto, detector and sampler"):
        parse_options({"components": "mlp", "detector": "query"})
