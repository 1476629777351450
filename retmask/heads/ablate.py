"""Silencing heads, or scaling them: on a live model for the length of a ``with`` block, or in the weights of a saved checkpoint.

A head's contribution passes through columns [h·d, (h+1)·d) of its layer's output projection W_o (RetMask, arXiv 2601.11020,
section 3.2). Zeroing that slice of the projection's *input* does the same without touching a weight. The projection's bias is
indexed by output, not by head, and stays.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from harness.api import HarnessError
from retmask.heads.masks import HEADS, MLP, HeadMask

_NAMES: Final = ("o_proj", "out_proj", "dense", "wo", "c_proj", "o", "proj_out")
_MLP_NAMES: Final = ("down_proj", "fc2", "c_proj", "dense_4h_to_h", "w2", "fc_out")


@dataclass(frozen=True)
class Projection:
    """The output projection of one layer's attention."""

    layer: int
    module: nn.Module
    heads: int
    width: int
    """Columns of each head."""

    def columns(self, heads: Sequence[int], device: torch.device) -> Tensor:
        """Compute the masked heads' slice of the input, bool [heads x width]."""
        silent = torch.zeros(self.heads, dtype=torch.bool, device=device)
        silent[list(heads)] = True
        return silent.repeat_interleave(self.width)


def output_projections(model: PreTrainedModel) -> list[Projection]:
    """List every layer's projection, in order: the linear map with a customary name inside the layer's attention module.

    HarnessError names the layer where there is none, or more than one.
    """
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    return [_projection(index, layer, heads) for index, layer in enumerate(_layers(model, int(config.num_hidden_layers)))]


def projections(model: PreTrainedModel, component: str) -> list[Projection]:
    """List the projections through which the units of a component pass, layer by layer.

    Of ``heads`` the attention's, of ``mlp`` the MLP's with a unit for each of its columns, of ``layers`` both with one unit each: what a
    silent layer writes is its biases alone. HarnessError names the layer where one is not found.
    """
    if component == HEADS:
        return output_projections(model)
    layers = _layers(model, int(model.config.get_text_config().num_hidden_layers))
    found = []
    for index, layer in enumerate(layers):
        down = _mlp_projection(index, layer)
        if component == MLP:
            found.append(Projection(index, down, down.weight.shape[_input_axis(down)], 1))
        else:
            attention = _projection(index, layer, 1)
            found += [attention, Projection(index, down, 1, down.weight.shape[_input_axis(down)])]
    return found


def _mlp_projection(index: int, layer: nn.Module) -> Any:
    found = [
        child
        for holder in layer.modules()
        if "mlp" in type(holder).__name__.lower() and not _is_attention(holder)
        for name, child in holder.named_children()
        if name in _MLP_NAMES and isinstance(child, nn.Linear | Conv1D)
    ]
    if len(found) != 1:
        raise HarnessError(f"layer {index} ({type(layer).__name__}) has {len(found)} MLP output projections instead of one")
    return found[0]


def _layers(model: PreTrainedModel, count: int) -> nn.ModuleList:
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and any(map(_is_attention, module.modules())):
            return module
    raise HarnessError(f"{type(model).__name__} has no list of {count} layers with attention, so its heads cannot be masked")


def _is_attention(module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower()


def _projection(index: int, layer: nn.Module, heads: int) -> Projection:
    found = [
        child
        for holder in layer.modules()
        if _is_attention(holder)
        for name, child in holder.named_children()
        if name in _NAMES and isinstance(child, nn.Linear | Conv1D)
    ]
    if len(found) != 1:
        raise HarnessError(f"layer {index} ({type(layer).__name__}) has {len(found)} attention output projections instead of one")
    columns = found[0].weight.shape[_input_axis(found[0])]
    if columns % heads:
        raise HarnessError(f"layer {index}: an output projection of {columns} columns cannot be divided among {heads} heads")
    return Projection(index, found[0], heads, columns // heads)


def _input_axis(module: nn.Module) -> int:
    return 0 if isinstance(module, Conv1D) else 1


def _masked_projections(model: PreTrainedModel, mask: HeadMask) -> Iterator[tuple[Projection, list[int]]]:
    known: dict[int, list[Projection]] = {}
    for each in projections(model, mask.component):
        known.setdefault(each.layer, []).append(each)
    for layer, heads in mask.by_layer().items():
        if layer >= len(known) or max(heads) >= known[layer][0].heads:
            units = "neurons" if mask.component == MLP else "heads" if mask.component == HEADS else "unit"
            shape = f"{len(known)} layers of {known[0][0].heads} {units}"
            raise HarnessError(f"the mask names {units.removesuffix('s')} {layer}-{max(heads)}, but the model has {shape}")
        for projection in known[layer]:
            yield projection, heads


@contextmanager
def ablated(model: PreTrainedModel, mask: HeadMask) -> Iterator[None]:
    """Give the model without the mask's heads, or with these at its strength, inside the block. Hooks are removed at the end, whatever
    happens.
    """
    with ExitStack() as hooks:
        for projection, heads in list(_masked_projections(model, mask)):
            hooks.callback(projection.module.register_forward_pre_hook(_scale(projection, heads, mask.strength)).remove)
        yield


def _scale(projection: Projection, heads: Sequence[int], strength: float) -> Any:
    chosen = projection.columns(heads, torch.device("cpu"))

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal chosen  # offloaded weights are on no device between passes, so what comes in says where this layer is computed
        states = inputs[0]
        chosen = chosen.to(states.device)
        return (torch.where(chosen, states * strength, states) if strength else states.masked_fill(chosen, 0), *inputs[1:])

    return hook


def save_ablated(model: PreTrainedModel, mask: HeadMask, path: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    """Write a checkpoint in which the mask's heads are silent, or scaled, for good; ``head_mask.json`` in it says which.

    The live model is as before afterwards. The directory appears whole or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder) / "model"
        with _scaled(model, mask):
            model.save_pretrained(partial)
        if tokenizer is not None:
            tokenizer.save_pretrained(partial)
        facts = {"name": mask.name, "seed": mask.seed, "heads": mask.heads, **mask.facts()}
        (partial / "head_mask.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        os.replace(partial, path)


@contextmanager
def _scaled(model: PreTrainedModel, mask: HeadMask) -> Iterator[None]:
    with torch.no_grad(), ExitStack() as restores:
        for projection, heads in list(_masked_projections(model, mask)):
            weight = projection.module.weight
            assert isinstance(weight, Tensor)
            if weight.device.type == "meta":
                raise HarnessError("the model's weights are offloaded, and a checkpoint needs them in memory; load it on one device")
            restores.callback(weight.copy_, weight.clone())
            columns = projection.columns(heads, weight.device)
            chosen = columns if _input_axis(projection.module) == 1 else columns[:, None]
            if mask.strength:
                weight.copy_(torch.where(chosen, weight * mask.strength, weight))
            else:
                weight.masked_fill_(chosen, 0)
        yield
