"""GGUF files, llama.cpp's format for quantised models -> model directories in the cache.

transformers itself dequantises the weights, to float32, and reads the tokenizer and the chat template. That happens once for each file (by
its SHA-256) and version of transformers; the result is an ordinary safetensors directory, and everything else sees only that.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import Artifact, HarnessError, Json
from harness.cache import ENVIRONMENT, models
from harness.files import file_digest
from harness.models import gguf_header as ggufheader
from harness.models.gguf_header import Header
from harness.models.loading import bounded, room

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SUFFIX: Final = ".gguf"
#: Name of the cache's step, and of the model directory in it.
STEP: Final = "gguf"
MODEL: Final = "model"
VERSION: Final = 1
_PART: Final = re.compile(r"-\d{5}-of-(\d{5})\.gguf$", re.IGNORECASE)
#: Positions scaled for long contexts, by tensor or by setting: transformers reads neither, for all architectures but one.
_ROPE_FACTORS: Final = "rope_freqs.weight"
_SCALING: Final = ".rope.scaling.type"
_READS_SCALING: Final = "gpt-oss"
#: What of the tokenizer transformers leaves out: which token ends a turn, where that is not the one that ends a text, and whether each text
#: begins with the beginning-of-text token.
_END_OF_TURN: Final = "tokenizer.ggml.eot_token_id"
_BEGINS: Final = "tokenizer.ggml.add_bos_token"


def is_gguf(name: str) -> bool:
    """Say whether a model's name is that of a GGUF file."""
    return name.lower().endswith(SUFFIX)


def converted(file: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """Convert ``file`` into a model directory: the cache's, or made now, which ``say`` announces.

    Raises:
        HarnessError: there is no such file, it is no GGUF file, damaged or one part of several, or transformers cannot read its model.
            Nothing is left behind.
    """
    if not file.is_file():
        raise HarnessError(f"no model at {str(file)!r}: there is no such file")
    sha256 = file_digest(file)
    if (found := find(sha256)) is not None:
        return found.path / MODEL
    header = check(file)
    artifact = models(say).step(
        STEP,
        _inputs(sha256),
        lambda work: _convert(file, work, header),
        version=VERSION,
        started=lambda: say(f"dequantising {file.name}, once"),
    )
    return artifact.path / MODEL


def find(sha256: str) -> Artifact | None:
    """Find what was made of the GGUF file with this SHA-256, by the installed version of transformers."""
    return models(read_only=True).find(STEP, _inputs(sha256), version=VERSION)


def _inputs(sha256: str) -> dict[str, Json]:
    from importlib.metadata import version

    return {"sha256": sha256, "transformers": version("transformers")}


def instead_of(directory: Path) -> Path | None:
    """Name the GGUF file to give instead of ``directory``, where that holds no other weights than such files."""
    if any(directory.glob("*.safetensors*")) or any(directory.glob("pytorch_model*.bin")):
        return None
    return min((path for path in directory.iterdir() if is_gguf(path.name)), default=None)


def check(file: Path) -> Header:
    """Read the file's header. HarnessError unless a whole model is in the file that transformers reads rightly."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    header = ggufheader.read(file)
    part = _PART.search(file.name)
    parts = max(int(part[1]) if part else 1, header.number("split.count") or 1)
    if parts > 1:
        raise HarnessError(f"{file} is one of {parts} parts; join them with llama.cpp's llama-gguf-split --merge")
    architecture = header.text("general.architecture")
    if architecture not in GGUF_SUPPORTED_ARCHITECTURES and not _renamed(architecture):
        raise HarnessError(
            f"{file} holds a model of architecture {architecture}, which transformers cannot read from GGUF; get it as safetensors"
        )
    if (layers := header.number(f"{architecture}.block_count") or 0) > len(header.tensors):
        raise HarnessError(f"{file} is damaged: {layers} layers in {len(header.tensors)} tensors; get it again")
    scaling = header.text(architecture + _SCALING) or "none"
    factors = _ROPE_FACTORS in header.tensors
    if factors or (scaling != "none" and architecture != _READS_SCALING):
        what = _ROPE_FACTORS if factors else f"rope scaling {scaling}"
        raise HarnessError(
            f"{file} scales its positions for long contexts ({what}), which transformers leaves out when it reads GGUF: long contexts "
            "would come out wrong; get the model as safetensors"
        )
    return header


def _renamed(architecture: str) -> bool:
    """Whether transformers knows an architecture by another name than GGUF files use."""
    return any(name in architecture for name in ("t5", "qwen2moe", "qwen3moe", "gpt-oss", "gpt_oss", "minimax-m2"))


@contextmanager
def _as_damage(file: Path) -> Iterator[None]:
    """One line for whatever a parser raises on a file that is not what it should be: the libraries promise nothing about that."""
    try:
        yield
    except (HarnessError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise HarnessError(f"{file} is damaged, or no GGUF file that can be read ({reason}); get it again") from error


def _convert(file: Path, work: Path, header: Header) -> Mapping[str, Json]:
    """Fill the step's directory. Whatever goes wrong, it goes too: an attempt cannot go on from half a model."""
    try:
        shutil.rmtree(work / MODEL, ignore_errors=True)
        _dequantise(file, work / MODEL, header)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return {"file": file.name, "bytes": file.stat().st_size}


def _dequantise(file: Path, target: Path, header: Header) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    target.mkdir()
    alone = target / f"source{SUFFIX}"  # so that nothing beside the file is read with it, and its name changes nothing
    alone.symlink_to(file.resolve())
    options: dict[str, Any] = {"gguf_file": alone.name}
    loaded: Any  # transformers does not say that it returns two things
    tokenizer: Any
    with _as_damage(file):
        tokenizer = AutoTokenizer.from_pretrained(target, trust_remote_code=False, **options)
        with bounded(file, room(0, file.stat().st_size, packed=True)):
            loaded = AutoModelForCausalLM.from_pretrained(
                target, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, **options
            )
    model, found = loaded
    _complete(file, found["missing_keys"])
    alone.unlink()
    _end_turns(model, header.number(_END_OF_TURN))
    if header.number(_BEGINS) and not tokenizer.add_bos_token:
        tokenizer.add_bos_token = True
    _forget_quantisation(model)
    try:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    except SafetensorError as error:  # a full disk is no OSError to that library
        raise HarnessError(f"cannot write {target} ({error}); make room there, or set {ENVIRONMENT} to another folder") from None
    mode = (target / "config.json").stat().st_mode
    for path in target.iterdir():
        path.chmod(mode)  # weights would be their owner's alone


def _complete(file: Path, missing: Iterable[str]) -> None:
    """transformers would fill in random numbers."""
    if names := sorted(missing):
        raise HarnessError(f"{file} is not all of a model: {len(names)} tensors are missing, such as {names[0]}; get it again")


def _end_turns(model: "PreTrainedModel", token: int | None) -> None:
    """Let an answer end where the model ends its turn; transformers reads only which token ends a text."""
    settings = model.generation_config
    known = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    if token is not None and token not in known:
        settings.eos_token_id = [each for each in known if each is not None] + [token]


def _forget_quantisation(model: Any) -> None:
    """The weights are ordinary numbers by now, yet transformers remembers where they came from and refuses to save them."""
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
