"""Silencing heads: on a live model for the length of a ``with`` block, or in the weights of a saved checkpoint.

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
from retmask.heads.masks import HeadMask

_NAMES: Final = ("o_proj", "out_proj", "dense", "wo", "c_proj", "o", "proj_out")


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
    projections = output_projections(model)
    for layer, heads in mask.by_layer().items():
        if layer >= len(projections) or max(heads) >= projections[layer].heads:
            shape = f"{len(projections)} layers of {projections[0].heads} heads"
            raise HarnessError(f"the mask names head {layer}-{max(heads)}, but the model has {shape}")
        yield projections[layer], heads


@contextmanager
def ablated(model: PreTrainedModel, mask: HeadMask) -> Iterator[None]:
    """Give the model without the mask's heads, inside the block. Hooks are removed at the end, whatever happens."""
    with ExitStack() as hooks:
        for projection, heads in list(_masked_projections(model, mask)):
            hooks.callback(projection.module.register_forward_pre_hook(_silence(projection, heads)).remove)
        yield


def _silence(projection: Projection, heads: Sequence[int]) -> Any:
    silent = projection.columns(heads, torch.device("cpu"))

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal silent  # offloaded weights are on no device between passes, so what comes in says where this layer is computed
        silent = silent.to(inputs[0].device)
        return (inputs[0].masked_fill(silent, 0), *inputs[1:])

    return hook


def save_ablated(model: PreTrainedModel, mask: HeadMask, path: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    """Write a checkpoint in which the mask's heads are silent for good; ``head_mask.json`` in it says which.

    The live model is as before afterwards. The directory appears whole or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder) / "model"
        with _zeroed(model, mask):
            model.save_pretrained(partial)
        if tokenizer is not None:
            tokenizer.save_pretrained(partial)
        facts = {"name": mask.name, "seed": mask.seed, "heads": mask.heads}
        (partial / "head_mask.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        os.replace(partial, path)


@contextmanager
def _zeroed(model: PreTrainedModel, mask: HeadMask) -> Iterator[None]:
    with torch.no_grad(), ExitStack() as restores:
        for projection, heads in list(_masked_projections(model, mask)):
            weight = projection.module.weight
            assert isinstance(weight, Tensor)
            if weight.device.type == "meta":
                raise HarnessError("the model's weights are offloaded, and a checkpoint needs them in memory; load it on one device")
            restores.callback(weight.copy_, weight.clone())
            columns = projection.columns(heads, weight.device)
            weight.masked_fill_(columns if _input_axis(projection.module) == 1 else columns[:, None], 0)
        yield
