"""Silencing heads inside a running vLLM engine: what each of its workers does.

vLLM mixes :class:`MaskExtension` into its worker class (``worker_extension_cls``), and ``collective_rpc("set_head_mask", ...)`` calls it on
every worker. As in :mod:`retmask.heads.ablate`, a forward pre-hook zeroes the heads' slice of the output projection's input: weights cannot
be edited, since some builds repack them, and hooks run only without CUDA graphs (``enforce_eager``).

Under tensor parallelism the output projection is divided by rows, so rank r of n holds the heads [r·H/n, (r+1)·H/n) of every layer; under
pipeline parallelism a worker holds some of the layers. Head and layer numbers on the wire are always the model's own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

_NAMES: Final = ("o_proj", "out_proj", "dense", "wo", "c_proj", "o", "proj_out")


def local_heads(heads: Iterable[int], total: int, rank: int, size: int) -> list[int]:
    """Choose those of ``heads`` that tensor-parallel rank ``rank`` of ``size`` holds, numbered as in its own slice.

    >>> local_heads([0, 3, 4, 7], total=8, rank=1, size=2)
    [0, 3]
    """
    if total % size:
        raise ValueError(f"{total} heads cannot be divided among {size} ranks")
    share = total // size
    return [head - rank * share for head in sorted(heads) if rank * share <= head < (rank + 1) * share]


def layer_number(name: str) -> int | None:
    """Find the layer of a module by its dotted name: ``model.layers.13.self_attn.o_proj`` -> 13. None for names without a number."""
    return next((int(part) for part in name.split(".") if part.isdecimal()), None)


class MaskExtension:
    """Mixed into vLLM's worker; ``self`` is the worker."""

    def set_head_mask(self, heads: Sequence[Sequence[int]], strength: float = 0.0) -> list[list[int]]:
        """Silence these (layer, head) pairs, or scale them by ``strength``, and no others; an empty list restores the model.

        Returns those that this worker silenced.
        """
        hooks: list[Any] = self.__dict__.setdefault("_head_mask_hooks", [])
        while hooks:
            hooks.pop().remove()
        wanted: dict[int, list[int]] = {}
        for layer, head in heads:
            wanted.setdefault(layer, []).append(head)
        worker: Any = self
        config = worker.vllm_config.model_config.hf_text_config
        silenced = []
        for layer, module in _projections(worker.model_runner.get_model()).items():
            total = int(config.num_attention_heads)
            local = local_heads(wanted.get(layer, ()), total, module.tp_rank, module.tp_size)
            if local:
                hooks.append(module.register_forward_pre_hook(_silence(local, module.input_size // total, strength)))
                silenced += [[layer, head + module.tp_rank * (total // module.tp_size)] for head in local]
        return silenced


def _projections(model: Any) -> Mapping[int, Any]:
    """Layer -> the output projection of its attention, for the layers that this worker holds."""
    modules = dict(model.named_modules())
    found = {}
    for name, module in modules.items():
        parent, _, own = name.rpartition(".")
        layer = layer_number(name)
        row_parallel = hasattr(module, "input_size_per_partition") and hasattr(module, "input_is_parallel")
        if layer is not None and own in _NAMES and row_parallel and "attention" in type(modules[parent]).__name__.lower():
            found[layer] = module
    return found


def _silence(heads: Sequence[int], width: int, strength: float) -> Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]:
    import torch

    columns = [column for head in heads for column in range(head * width, (head + 1) * width)]
    silent: Any = None

    def hook(_module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal silent
        states = inputs[0]
        if silent is None or silent.device != states.device:
            silent = torch.zeros(states.shape[-1], dtype=torch.bool, device=states.device)
            silent[columns] = True
        return (torch.where(silent, states * strength, states) if strength else states.masked_fill(silent, 0), *inputs[1:])

    return hook
