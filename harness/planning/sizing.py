"""Which preset suits a model on a machine, where the user names none: by its number of parameters, from its files' headers alone."""

from typing import Final

from harness.api import Model
from harness.builtin import MODEL_DIR
from harness.config import BUILTIN_PRESET, DEFAULT_PRESET, SMALL_PRESET
from harness.files import file_digest
from harness.models.footprint import ModelShape
from harness.models.lookup import BUILTIN
from harness.store import checkpoints

#: Parameters from which a model on a GPU is no longer small.
_LARGE: Final = 1_000_000_000
_WORDS: Final = ("tokenizer.json", "chat_template.jinja")


def suitable(model: Model, device: str) -> tuple[str, str]:
    """Choose a preset: (preset, why in one line; empty where nothing has to be said). ``device`` is a torch device.

    HarnessError if the model's files do not say how large it is.
    """
    if BUILTIN in (model.name, checkpoints.base(model.name)):
        return BUILTIN_PRESET, ""
    if _reads_as_builtin(model):
        return (
            BUILTIN_PRESET,
            f"preset {BUILTIN_PRESET}: {model.name} has the shipped model's words; --preset {SMALL_PRESET} asks in others",
        )
    parameters = ModelShape.read(model).parameters
    on_cpu = device.startswith("cpu")
    size = f"{short(parameters)} parameters on {'a CPU' if on_cpu else 'a GPU'}"
    if parameters < _LARGE or on_cpu:
        return SMALL_PRESET, f"preset {SMALL_PRESET}: {size}; --preset {DEFAULT_PRESET} for lengths from 8K to 128K and the paper's pairs"
    return DEFAULT_PRESET, f"preset {DEFAULT_PRESET}: {size}; --preset {SMALL_PRESET} for lengths to 2K and a few hundred pairs"


def _reads_as_builtin(model: Model) -> bool:
    """Say whether a model has the shipped one's vocabulary and template, as what was trained from it has, wherever that was copied to."""
    try:
        return all(file_digest(model.path / name) == file_digest(MODEL_DIR / name) for name in _WORDS)
    except OSError:
        return False


def short(count: int) -> str:
    """Write a number of parameters: ``135M``, ``8.0B``."""
    return f"{count / 1e9:.1f}B" if count >= _LARGE else f"{count / 1e6:.0f}M"
