"""Which files of a model directory transformers opens: weights, shards that an index names, adapter, tokenizer, templates."""

import json
from pathlib import Path, PurePosixPath
from typing import Final

from harness.api import HarnessError, Json
from tasks.files import read_text

#: What transformers looks for, in its order; with each the index that names shards instead.
_SAFE: Final = ("model.safetensors", "model.safetensors.index.json")
_PICKLED: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_SAFE_ENDING: Final = ".safetensors"
ADAPTER: Final = "adapter_config.json"
_ADAPTER_WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin")
_TOKENIZER: Final = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "chat_template*",
    "additional_chat_templates/*",
    "added_tokens.json",
    "tekken*.json",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "*.codes",
)
#: Keys of config.json and adapter_config.json under which they name other weights than those above.
_ELSEWHERE: Final = "transformers_weights"


def weight_files(path: Path) -> list[Path]:
    """List the files that the weights of the model in ``path`` are read from, without an adapter's; none if there are none.

    HarnessError for an index that cannot be read, or that names a file which is outside the directory or not there.
    """
    for whole, index in (_SAFE, _PICKLED):
        if (path / whole).is_file():
            return [path / whole]
        if (path / index).is_file():
            return _shards(path, path / index)
    return []


def adapter_files(path: Path) -> list[Path]:
    """List the configuration and weights of the adapter beside the model, which transformers applies; none if there is none."""
    return [path / name for name in (ADAPTER, *_ADAPTER_WEIGHTS) if (path / name).is_file()] if (path / ADAPTER).is_file() else []


def pickled_files(path: Path) -> list[Path]:
    """List the files among the weights of model and adapter that are unpickled when they are loaded."""
    weights = [*weight_files(path), *adapter_files(path)[1:2]]
    return [file for file in weights if file.suffix != _SAFE_ENDING]


def index_files(path: Path) -> list[Path]:
    """Give the index that names the weights' shards, where transformers reads one."""
    for whole, index in (_SAFE, _PICKLED):
        if (path / whole).is_file():
            return []
        if (path / index).is_file():
            return [path / index]
    return []


def tokenizer_files(path: Path) -> list[Path]:
    """List what the tokenizer and its templates are read from."""
    return sorted({file for pattern in _TOKENIZER for file in path.glob(pattern) if file.is_file()})


def check_names(config: dict[str, Json], file: Path) -> None:
    """Raise HarnessError if the configuration in ``file`` names a weights file of its own, which would be loaded instead."""
    if config.get(_ELSEWHERE) is not None:
        raise HarnessError(f"{file} names other weights ({_ELSEWHERE}); call them model.safetensors, and remove that")


def _shards(path: Path, index: Path) -> list[Path]:
    try:
        names = set(json.loads(read_text(index))["weight_map"].values())
        shards = {name: PurePosixPath(name) for name in names}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise HarnessError(f"{index} is not an index of weights ({type(error).__name__}: {error}); get it again") from None
    for name, shard in sorted(shards.items()):
        if shard.is_absolute() or ".." in shard.parts:
            raise HarnessError(f"{index} names a file outside the model's directory, {name}; get the model from whom you trust")
        if not _is_file(path / shard):
            raise HarnessError(f"{index} names {name}, which is not there; get the model again")
    return sorted(path / shard for shard in shards.values())


def _is_file(path: Path) -> bool:
    """Whether it is there; no name that a file made up is an error."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than a name may be, or no text at all
        return False
