"""A model's sizes from its ``config.json`` alone: built without weights (torch's ``meta`` device), and counted."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.api import HarnessError, Model
from harness.models.footprint import ModelShape, width
from harness.models.loading import loading
from tasks.files import read_text

#: No model has more numbers yet, and a configuration that asks for more is refused while it is built.
_MOST: Final = 20_000_000_000_000
_MOST_LAYERS: Final = 10_000
#: What configurations call the number of their layers.
_LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers")


@dataclass(frozen=True)
class Blueprint:
    """What a model takes, and what a token costs in it."""

    shape: ModelShape
    active: int
    """Parameters that a token is multiplied with: of several experts those that it goes to, of embeddings only the output layer."""
    inner: int
    """Width of a layer's MLP, for one token."""

    @classmethod
    def read(cls, path: Path) -> "Blueprint":
        """Build the model that ``path``'s configuration describes, without weights. HarnessError if transformers cannot."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        if not (path / "config.json").is_file():
            raise HarnessError(f"{path} has no config.json; name a directory with one")
        _check_layers(path / "config.json")
        with loading(path, _MOST), torch.device("meta"):
            config = AutoConfig.from_pretrained(path, trust_remote_code=False)
            network: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
        text = config.get_text_config()
        parameters = sum(each.numel() for each in network.parameters())
        shape = ModelShape.read(Model(str(path), path, ""), parameters)
        taking = int(getattr(text, "num_experts_per_tok", None) or 1)
        there = max(int(getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None) or 1), 1)
        experts = sum(each.numel() for name, each in network.named_parameters() if ".experts." in name)
        tied = bool(getattr(text, "tie_word_embeddings", False))
        unused = 0 if tied else network.get_input_embeddings().weight.numel()
        return cls(shape, parameters - unused - experts + experts * min(taking, there) // there, _inner(text, shape) * taking)

    def forward(self, tokens: float, length: float, *, output: bool = True) -> float:
        """Count the operations of one pass over tokens of sequences of ``length``, each looking back at half of it on average.

        Without ``output``, only the last token of a sequence goes through the output layer.
        """
        shape = self.shape
        matrices = self.active - (0 if output else shape.vocabulary * shape.hidden)
        return tokens * (2 * matrices + 2 * length * shape.layers * shape.heads * shape.head_dim)

    def activations(self, tokens: int, dtype: str, *, recomputed: bool) -> int:
        """Size what a training step keeps of ``tokens`` tokens for the way back, apart from logits, bytes.

        Of each layer: norms' inputs and outputs in float32, queries, keys, values and the attention's output, and four times the MLP's
        width. ``recomputed`` (gradient checkpointing) keeps each layer's input and all of one layer.
        """
        shape = self.shape
        heads = shape.heads + 2 * shape.kv_heads
        layer = 4 * width("float32") * shape.hidden + width(dtype) * (2 * shape.hidden + 2 * heads * shape.head_dim + 4 * self.inner)
        kept = width("float32") * shape.hidden * shape.layers + layer if recomputed else layer * shape.layers
        return tokens * kept


def _check_layers(file: Path) -> None:
    """Raise HarnessError for so many layers that building them, though without weights, would not end."""
    with suppress(OSError, ValueError, RecursionError):  # what is no configuration, transformers says
        config = json.loads(read_text(file))
        parts = [config, *config.values()] if isinstance(config, dict) else []
        found = [each[name] for each in parts if isinstance(each, dict) for name in _LAYERS if isinstance(each.get(name), int)]
        if found and max(found) > _MOST_LAYERS:
            raise HarnessError(f"{file} asks for more than {_MOST_LAYERS:,} layers, which no model has; get the model again")


def _inner(text: Any, shape: ModelShape) -> int:
    names = ("moe_intermediate_size", "intermediate_size", "n_inner", "ffn_dim")
    return next((int(found) for name in names if isinstance(found := getattr(text, name, None), int)), 4 * shape.hidden)
