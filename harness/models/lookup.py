"""What the user calls a model -> a directory that holds one, with a digest of everything in it that can change an answer."""

import json
from pathlib import Path
from typing import Final

from harness.access import denied
from harness.api import HarnessError, Json, Model
from harness.builtin import MODEL_DIR
from harness.files import digest, file_digest
from harness.models.catalogue import entries
from harness.models.files import ADAPTER, adapter_files, check_names, index_files, pickled_files, tokenizer_files, weight_files
from harness.models.gguf import converted, instead_of, is_gguf
from harness.models.kernels import check_config
from harness.models.loading import check_folder, check_numbers
from harness.models.named import ready
from harness.screen.terminal import echo
from harness.store import checkpoints
from tasks.files import read_text

BUILTIN: Final = "builtin"
_WEIGHTS: Final = "*.safetensors"
#: What transformers looks for first; without one of these it would take _PICKLED instead.
_LOADED: Final = ("model.safetensors", "model.safetensors.index.json")
_PICKLED: Final = "pytorch_model*.bin"
_CODE: Final = "*.py"
#: Files besides weights and tokenizer that can change what a model answers.
_SETTINGS: Final = ("config.json", "generation_config.json")


def resolve(name: str, *, allow_unsafe_weights: bool = False, trust_remote_code: bool = False) -> Model:
    """Find the model called ``name``: ``builtin``, a named one (fetched once), a directory, a GGUF file (converted once), a Hub id,
    or ``RUN:METHOD`` for what a run has trained.

    Weights come from safetensors files, which hold numbers and nothing else. With ``allow_unsafe_weights`` those of a model that has none
    may come from pickled files (``pytorch_model.bin``), of which torch unpickles tensors alone (``weights_only``). Only with
    ``trust_remote_code`` are Python files fetched, counted, and later run.

    Raises:
        HarnessError: nothing is there, there are no such weights, or it is not a decoder-only language model.
    """
    trained = checkpoints.find(name)
    path = _on_disk(name) if trained is None else trained.path
    if not path.is_dir():
        code = [_CODE] if trust_remote_code else []
        path = _download(name, _WEIGHTS, *code)
        if allow_unsafe_weights and not _has_safetensors(path):
            path = _download(name, _WEIGHTS, _PICKLED, *code)
    digest = _checked_digest(name, path, allow_unsafe_weights, trust_remote_code)
    if trained is not None and digest != trained.digest:
        raise HarnessError(
            f"{path} is not what its run has trained: files in it have changed; name that folder if you changed them, or delete it and "
            "start the run's own command again"
        )
    return Model(name, path.resolve(), digest, trust_remote_code)


def has_name(name: str) -> bool:
    """Say whether the project itself knows a model by this name, wherever its files are."""
    return name == BUILTIN or name in entries()


def _on_disk(name: str) -> Path:
    """Where the model is, made or fetched first if need be; a path that is not there for a Hub id."""
    if name == BUILTIN:
        return MODEL_DIR
    if name in entries():
        return ready(name, lambda line: echo(line, err=True))
    path = Path(name)
    return converted(path, lambda line: echo(line, err=True)) if is_gguf(name) and not path.is_dir() else path


def _download(name: str, *weights: str) -> Path:
    """Only what is needed, and nothing that could run code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[*weights, "*.json", "*.txt", "*.model", "*.jinja", "README.md"]))
    except HFValidationError:
        raise HarnessError(
            f"no model at {name!r}: no directory, .gguf file, Hub id (owner/name) or name that `harness models` lists"
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise HarnessError(f"no model at {name!r}: no such directory, and the Hub did not deliver it ({reason})") from None


def _has_safetensors(path: Path) -> bool:
    return any((path / name).is_file() for name in _LOADED)


def _checked_digest(name: str, path: Path, allow_unsafe_weights: bool, trust_remote_code: bool) -> str:
    check_folder(path)
    if (file := instead_of(path)) is not None:
        raise HarnessError(f"{path} holds no weights but a GGUF file; name that, --model {file}")
    config = _config(path)
    check_config(config, path / "config.json")
    adapter = adapter_files(path)
    for file in (path / "config.json", *adapter[:1]):
        check_names(_json_object(file), file)
        check_numbers(_json_object(file), file)
    architectures = config.get("architectures")
    names = [str(item) for item in architectures] if isinstance(architectures, list) else []
    if config.get("is_encoder_decoder") or not any(map(_writes, names)):
        raise HarnessError(
            f"{name} is not a decoder-only language model (architectures: {', '.join(names) or 'none'}); choose one that transformers has "
            "for causal language modelling"
        )
    weights = weight_files(path)
    pickled = pickled_files(path)
    if not weights or (pickled and not allow_unsafe_weights):
        what = f"has pickled weights ({pickled[0].name})" if pickled else "has no safetensors weights (model.safetensors)"
        remedy = "" if allow_unsafe_weights else "; or, if you trust pickled ones (pytorch_model.bin), pass --allow-unsafe-weights"
        raise HarnessError(f"{path} {what}; save the model again with save_pretrained{remedy}")
    beside = path.glob(_WEIGHTS if _has_safetensors(path) else _PICKLED)  # for libraries that choose otherwise
    settings = [path / name for name in _SETTINGS if (path / name).is_file()]
    code = path.rglob(_CODE) if trust_remote_code else ()
    files = {*weights, *index_files(path), *adapter, *beside, *settings, *tokenizer_files(path), *code}
    return digest({file.relative_to(path).as_posix(): _digest(file) for file in sorted(files)})


def _writes(architecture: str) -> bool:
    """Tell whether an architecture is a causal language model; some are called otherwise than ...ForCausalLM, such as GPT2LMHeadModel."""
    if architecture.endswith("ForCausalLM"):
        return True
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return architecture in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def _digest(file: Path) -> str:
    """A settings file counts by its meaning: the version that wrote it changes nothing."""
    if file.name not in _SETTINGS:
        return _plain_digest(file)
    value = _json_object(file)
    try:
        return digest({key: value[key] for key in value if key not in ("transformers_version", "_name_or_path")})
    except ValueError:
        raise HarnessError(f"{file} holds a number that JSON does not have, such as NaN; mend it") from None
    except RecursionError:
        raise HarnessError(f"{file} is nested too deeply; get the model again") from None


def _plain_digest(file: Path) -> str:
    try:
        return file_digest(file)
    except PermissionError as error:
        raise denied(error, file) from None
    except OSError as error:  # a folder of a file's name, a link to itself
        raise HarnessError(f"{file} cannot be read ({error.strerror}); get the model again") from None


def _config(path: Path) -> dict[str, Json]:
    if not (path / "config.json").is_file() and (path / ADAPTER).is_file():
        base = _json_object(path / ADAPTER).get("base_model_name_or_path")
        raise HarnessError(f"{path} is an adapter without its model ({base}); merge it into that, or put both in one directory")
    if not (path / "config.json").is_file():
        raise HarnessError(f"{path} is not a model directory: it has no config.json")
    return _json_object(path / "config.json")


def _json_object(file: Path) -> dict[str, Json]:
    try:
        value = json.loads(read_text(file))
    except OSError as error:
        raise HarnessError(f"{file} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{file} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise HarnessError(f"{file} does not hold a JSON object")
    return value


def tokenizer_digest(model: Model) -> str:
    """Hash of the tokenizer and its chat template: models that share it can share a suite."""
    return digest({file.relative_to(model.path).as_posix(): _plain_digest(file) for file in tokenizer_files(model.path)})
