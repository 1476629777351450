"""How much memory a model takes, from its files' headers, and how much there is. Nothing heavy is loaded and no weights are read.

parameters      2 B each in bfloat16, 4 B in float32
KV cache        2 (keys, values) x layers x KV heads x head width x bytes, for every token in flight
AdamW           8 B a trained parameter for its two moments, 4 B for the gradient, 4 B for the weight itself (float32)
"""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, Final

from harness.api import HarnessError, Model
from harness.models.files import adapter_files, weight_files
from harness.models.loading import room
from tasks.files import open_bytes, read_text

GIB: Final = 1 << 30
_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}
#: safetensors' own limit for a header.
_LARGEST_HEADER: Final = 100_000_000
_CONTEXT: Final = "max_position_embeddings"
#: What else configurations call the longest context, most of them without a word of it in transformers' attribute maps.
CONTEXTS: Final = (_CONTEXT, "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")


#: Kinds of devices that torch computes on; ``all`` spreads a model over all GPUs.
_DEVICE: Final = re.compile(r"(?:cpu|cuda|mps|xpu|npu|hpu|mlu|musa|xla)(?::[0-9]{1,3})?|all")


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a decoder-only language model."""

    parameters: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    context: int | None
    """Most tokens that its config allows."""
    dtype: str
    """The number format that its config names, float32 where it names none."""

    @classmethod
    def read(cls, model: Model, parameters: int | None = None) -> "ModelShape":
        """Read it from ``config.json`` and, unless the number of ``parameters`` is given, the headers of the safetensors files.

        HarnessError says what is missing.
        """
        file, config = model.path / "config.json", _config(model.path)
        heads, hidden = _given(config, "num_attention_heads", file), _given(config, "hidden_size", file)
        dtype = _named_format(config)
        return cls(
            parameters=_all_parameters(model.path, dtype) if parameters is None else parameters,
            layers=_given(config, "num_hidden_layers", file),
            heads=heads,
            kv_heads=1 if config.get("multi_query") is True else _size(config, "num_key_value_heads", file) or heads,
            head_dim=_size(config, "head_dim", file) or max(1, hidden // heads),
            hidden=hidden,
            vocabulary=_given(config, "vocab_size", file),
            context=_context(config, file),
            dtype=dtype,
        )

    def resolved(self, dtype: str) -> str:
        """Name the number format: ``auto`` is the checkpoint's own."""
        return self.dtype if dtype == "auto" else dtype

    def weight_bytes(self, dtype: str) -> int:
        return self.parameters * width(self.resolved(dtype))

    def kv_bytes(self, tokens: int, dtype: str) -> int:
        """Size the KV cache of ``tokens`` tokens in flight, every layer attending to all of them."""
        return 2 * self.layers * self.kv_heads * self.head_dim * width(self.resolved(dtype)) * tokens

    def training_bytes(self) -> int:
        """Size full training with AdamW in float32 (mixed or not): weights, gradients and both moments."""
        return 16 * self.parameters


@dataclass(frozen=True)
class DeviceMemory:
    """A device that was found."""

    name: str
    total: int
    """Bytes."""
    free: int


def width(dtype: str) -> int:
    """Count the bytes of a number. Formats that are not known count as two."""
    return _BYTES.get(dtype, 2)


def gib(size: float) -> str:
    """Write a size: ``1.5 GiB``; small ones in MiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / (1 << 20):.1f} MiB"


def number_format(asked: str, device: str, path: Path) -> str:
    """Say in which number format the model in ``path`` computes. ``auto`` is float32 on a CPU, and the checkpoint's own elsewhere."""
    if asked != "auto":
        return asked
    return "float32" if device.startswith("cpu") else _named_format(_config(path))


def _named_format(config: Mapping[str, Any]) -> str:
    """The one that a ``config.json`` names, float32 where it names none."""
    return str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")


def device_of(asked: str) -> str:
    """Say where a model is put. ``auto`` is the first CUDA device where the driver is there, found without loading torch.

    HarnessError for a name that no device has: libraries would take the CPU instead, and say nothing.
    """
    if asked != "auto":
        if not _DEVICE.fullmatch(asked):
            raise HarnessError(f"--device {asked} names no device; write cpu, cuda, cuda:1 or mps")
        return asked
    return "cuda" if Path("/dev/nvidiactl").exists() else "cpu"


def devices(device: str) -> tuple[DeviceMemory, ...]:
    """List the machine's memory for ``cpu``; every visible GPU for ``cuda``, one for ``cuda:1``."""
    if not device.startswith("cuda"):
        total, free = _host_memory()
        return (DeviceMemory("memory", total, free),)
    import torch

    if not torch.cuda.is_available():
        raise HarnessError(f"--device {device}: torch finds no CUDA device; use --device cpu")
    _, _, index = device.partition(":")
    numbers = [int(index)] if index else list(range(torch.cuda.device_count()))
    return tuple(_gpu(number) for number in numbers)


def _gpu(number: int) -> DeviceMemory:
    import torch

    free, total = torch.cuda.mem_get_info(number)
    return DeviceMemory(f"cuda:{number} {torch.cuda.get_device_name(number)}", total, free)


def _host_memory() -> tuple[int, int]:
    """(total, available) bytes of this machine, or of the container where it allows less."""
    sizes = {}
    for line in _MEMINFO.read_text().splitlines():
        key, _, value = line.partition(":")
        sizes[key] = int(value.split()[0]) * 1024
    total, free = sizes["MemTotal"], sizes["MemAvailable"]
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup, or "max"
        return total, free
    return min(total, limit), min(free, limit - used)


def context_length(model: Model) -> int | None:
    """Find the longest context the model's config allows, in tokens; None if it does not say. HarnessError if it says what is no length."""
    return _context(_config(model.path), model.path / "config.json")


def _context(config: Mapping[str, Any], file: Path) -> int | None:
    return next((found for name in CONTEXTS if (found := _size(config, name, file)) is not None), None)


def _size(config: Mapping[str, Any], key: str, file: Path) -> int | None:
    """How many of something the configuration has, None if it does not say. HarnessError for what is no number of things."""
    value: int | None = config.get(key)
    if value is not None and (type(value) is not int or value < 1):
        raise HarnessError(f"{file}: {key} is {json.dumps(value)[:40]}, which is no size of a model; get the model again")
    return value


def _given(config: Mapping[str, Any], key: str, file: Path) -> int:
    value = _size(config, key, file)
    if value is None:
        value = _size(config, _names(str(config.get("model_type"))).get(key, key), file)
    if value is None:
        raise HarnessError(f"{file} does not give the model's sizes ({key}); get the model again")
    return value


@cache
def _names(model_type: str) -> Mapping[str, str]:
    """What a family calls the sizes in its configuration, such as ``n_head`` in GPT-2's: transformers' attribute map."""
    from transformers import CONFIG_MAPPING

    try:
        return dict(CONFIG_MAPPING[model_type].attribute_map)
    except (KeyError, AttributeError):
        return {}


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(read_text(path / "config.json"))
    except (OSError, ValueError, RecursionError) as error:
        raise HarnessError(f"cannot read {path / 'config.json'} ({error})") from None
    if not isinstance(config, dict):
        raise HarnessError(f"{path / 'config.json'} does not hold a JSON object")
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def _all_parameters(path: Path, dtype: str) -> int:
    """Numbers in the weights; of pickled ones, which nothing here opens, as many as fit into the files."""
    files = weight_files(path)
    if all(file.suffix == ".safetensors" for file in files):
        return sum(map(_parameters, files))
    return sum(file.stat().st_size for file in files) // width(dtype)


def most_numbers(path: Path) -> int:
    """Count how many numbers the model in ``path`` may have: its files cannot fill more."""
    files = [*weight_files(path), *adapter_files(path)[1:2]]
    size = sum(file.stat().st_size for file in files)
    packed = _config(path).get("quantization_config") is not None
    return room(sum(_parameters(file) if file.suffix == ".safetensors" else file.stat().st_size for file in files), size, packed=packed)


def _parameters(file: Path) -> int:
    """Numbers in a safetensors file: eight bytes with the header's length, then the header as JSON."""
    try:
        with open_bytes(file) as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _LARGEST_HEADER:
                raise ValueError("its header is too large")
            header = json.loads(stream.read(length))
        return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HarnessError(f"{file} is not a safetensors file ({error}); fetch or save it again") from None
