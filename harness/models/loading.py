"""One guard around everything that reads a model: whatever is odd about its files is one line, and none makes it grow without bounds.

transformers, tokenizers and safetensors raise what comes up: KeyError for a name in a configuration, a Rust panic for a vocabulary. And
they build what a configuration describes before they look at the weights.
"""

import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Final

from harness.api import HarnessError, Json
from harness.models import templates

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

#: A Rust library that gives up raises this, which is no Exception.
_PANIC: Final = "PanicException"
#: Settings that say how many there are of something that is built one by one.
_COUNT: Final = re.compile(r"(?:layers?|heads?|experts?|blocks?|labels|groups|streams|modules|rank|^r)$")
_LARGEST_COUNT: Final = 10_000
#: More is no size of anything.
_LARGEST_NUMBER: Final = 10**12
_DEEPEST: Final = 50
#: Bytes of a file that is no weights: vocabularies have tens of millions.
_LARGEST_FILE: Final = 128 << 20
_WEIGHTS: Final = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".msgpack", ".onnx")
#: Numbers that a model may have beyond those in its files (buffers), and how many there may be for each: tied weights count twice.
_SLACK: Final = 1 << 26
_TWICE: Final = 2
#: Numbers that a tensor counts for besides its own: it takes memory even when it is empty.
_EACH: Final = 1000
#: Numbers that one byte of packed weights may hold.
_PACKED: Final = 8


@contextmanager
def loading(path: Path, most: int | None = None) -> Iterator[None]:
    """Make one line of whatever a library says about the model in ``path`` while it is loaded or read.

    A model of more than ``most`` numbers, if that is given, is refused while it is built (:func:`harness.models.footprint.most_numbers`).
    """
    templates.install()
    try:
        if most is None:
            yield
        else:
            with bounded(path, most):
                yield
    except (HarnessError, MemoryError):
        raise
    except Exception as error:
        raise cannot_load(path, error) from error
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise cannot_load(path, error) from error


def cannot_load(path: Path, error: BaseException) -> HarnessError:
    """Give one line for a library's complaint about a model's files."""
    if isinstance(error, UnpicklingError):
        return HarnessError(
            f"{path} has pickled weights with other objects than tensors in them, which could run code; get it as safetensors"
        )
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    said = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])
    plain = isinstance(error, OSError | ValueError | RuntimeError | ImportError) and said
    reason = said if plain else f"{type(error).__name__} {said}".strip()
    hint = "; if you trust its code, harness eval --trust-remote-code runs it" if "custom code" in reason else ""
    return HarnessError(f"transformers cannot load {path}: {reason}{hint}")


def try_tokenizer(tokenizer: "PreTrainedTokenizerBase", path: Path) -> None:
    """Encode and decode something, and find the chat template. HarnessError for a tokenizer in ``path`` that loads and then cannot."""
    with loading(path):
        tokenizer.decode(tokenizer("One 1.")["input_ids"])
        if tokenizer.chat_template is not None and not isinstance(tokenizer.get_chat_template(), str):
            raise TypeError("its chat template is no text")
        templates.belongs(tokenizer.chat_template, path)


def check_end(token: object, path: Path) -> None:
    """Raise HarnessError unless ``token`` is the id of one that ends a text, without which no answer ends."""
    if not isinstance(token, int):
        raise HarnessError(f"{path} names no token that ends a text (eos_token in tokenizer_config.json), so no answer would end; add it")


def check_known(tokens: Iterable[int], known: int, path: Path) -> None:
    """Raise HarnessError if one of ``tokens`` of the tokenizer in ``path`` is not among the ``known`` that the model has."""
    largest = max(tokens, default=0)
    if largest >= known:
        raise HarnessError(
            f"{path}: its tokenizer gives token {largest} and its model knows {known}; they are of two models, or one was added since: "
            "remove it (pad_token may be the eos_token), or get the model again"
        )


def check_folder(path: Path) -> None:
    """Raise HarnessError if there is something in the model's folder that is no file, or too large for what it is."""
    for file in sorted((*path.iterdir(), *(path / "additional_chat_templates").glob("*"))):
        try:
            found = file.stat()
        except OSError:  # a link to nowhere, which nobody opens
            continue
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise HarnessError(f"{file} is a pipe or a device, not a file; get the model again")
        if found.st_size > _LARGEST_FILE and stat.S_ISREG(found.st_mode) and file.suffix not in _WEIGHTS:
            raise HarnessError(f"{file} has {found.st_size >> 20} MiB, more than any file of a model but its weights; get the model again")


def check_numbers(config: Json, file: Path) -> None:
    """Raise HarnessError if the configuration in ``file`` asks for more of something than any model has."""
    for key, value in _numbers(config, "", 0):
        if value > _LARGEST_NUMBER or (value > _LARGEST_COUNT and _COUNT.search(key)):
            raise HarnessError(f"{file}: {key} is {str(value)[:20]}, more than any model has; get the model again")


def _numbers(value: Json, key: str, depth: int) -> Iterator[tuple[str, int]]:
    """(key, whole number), wherever in the configuration."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield key, value
    if depth < _DEEPEST and isinstance(value, dict):
        for name, each in value.items():
            yield from _numbers(each, name, depth + 1)
    if depth < _DEEPEST and isinstance(value, list):
        for each in value:
            yield from _numbers(each, key, depth + 1)


def room(numbers: int, size: int, *, packed: bool) -> int:
    """Count how many numbers a model may have whose files hold ``numbers`` in ``size`` bytes, ``packed`` ones for instance in four bits."""
    return _SLACK + (_PACKED * size if packed else _TWICE * numbers)


@contextmanager
def bounded(path: Path, most: int) -> Iterator[None]:
    """Refuse modules while they are built if they have more than ``most`` numbers together."""
    from torch.nn.modules import module

    sizes: dict[tuple[int, str], int] = {}
    known: list[Any] = []  # so that no two of them have one id
    total = 0

    def count(owner: Any, name: str, tensor: "Tensor | None") -> None:
        nonlocal total
        numbers = _EACH + (0 if tensor is None else tensor.numel())
        before = sizes.get((id(owner), name))
        if before is None:
            known.append(owner)
        sizes[id(owner), name] = numbers
        total += numbers - (before or 0)
        if total > most:
            raise HarnessError(
                f"{path} describes a model of more than {most / 1e6:.0f}M numbers, which its files do not hold; get the model again"
            )

    hooks = (
        module.register_module_parameter_registration_hook(count),
        module.register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
