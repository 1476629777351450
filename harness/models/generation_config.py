"""What a model's ``generation_config.json`` asks for, and an evaluation does not take from it: decoding needs end and pad tokens.

Sampled answers are drawn from the model's whole distribution at ``--temperature``: neither its top_k nor its top_p cuts it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.api import HarnessError, Json
from tasks.files import read_text

FILE: Final = "generation_config.json"
#: What is taken, and what changes nothing that is written.
_TAKEN: Final = ("eos_token_id", "pad_token_id", "bos_token_id", "transformers_version")
#: Settings of sampling, which greedy decoding has never taken, and of how much memory decoding uses.
_SAMPLING: Final = ("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
_MEMORY: Final = ("use_cache", "cache_implementation", "cache_config", "max_cache_len", "max_length", "low_memory", "disable_compile")
#: Values that ask for nothing, beside null, false and zero.
_NEUTRAL: Final[Mapping[str, Json]] = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "guidance_scale": 1.0,
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
}


def set_aside(path: Path) -> dict[str, Json]:
    """Read what the model in ``path`` asks for and an evaluation leaves out; empty where it asks for nothing or cannot be read."""
    try:
        asked = json.loads(read_text(path / FILE))
    except (OSError, ValueError, RecursionError):  # a damaged one stops the model's loading with a line of its own
        return {}
    if not isinstance(asked, dict):
        return {}
    left = {name: value for name, value in asked.items() if name not in (*_TAKEN, *_MEMORY) and not name.startswith("_")}
    return {name: value for name, value in left.items() if value and value != _NEUTRAL.get(name)}


def check_tokens(settings: object, path: Path) -> None:
    """Raise HarnessError if an end, pad or begin token in the ``settings`` of the model in ``path`` is none; only ends may be several."""
    for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
        value = getattr(settings, name, None)
        several = value if isinstance(value, list) and name == "eos_token_id" else [value]
        if value is not None and any(type(each) is not int or each < 0 for each in several):
            raise HarnessError(f"{path}: {name} is {str(value)[:40]}, which is no token (generation_config.json, config.json); mend it")


def inputs(path: Path) -> dict[str, Json]:
    """Say in a step's key that the answers are plain: only where transformers gave others before these settings were set aside."""
    return {"decoding": "plain"} if set(set_aside(path)) - set(_SAMPLING) else {}


def facts(path: Path) -> dict[str, Json]:
    """Say what a step's manifest says of it."""
    left = set_aside(path)
    return {"set_aside": left} if left else {}


def notice(path: Path, temperature: float = 0.0) -> str | None:
    """Give one line for whoever runs the evaluation; None where nothing was set aside."""
    left = ", ".join(f"{name} = {json.dumps(value)[:40]}" for name, value in set_aside(path).items())
    how = f"sampled from the whole distribution at temperature {temperature:g}" if temperature else "greedy"
    return f"answers are {how}: set aside from the model's {FILE}: {left}" if left else None
