"""Compiled code that a model's configuration would have fetched and run: refused, since nobody has asked for it.

transformers takes an ``attn_implementation`` of the form ``owner/name`` as a kernel of the Hub, and replaces flash attention by one where
it is not installed.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from harness.api import HarnessError, Json

_KEYS: Final = ("attn_implementation", "experts_implementation")
#: In PyTorch or transformers themselves.
_OWN: Final = ("eager", "sdpa", "flex_attention", "grouped_mm", "batched_mm")
_INSTALLED: Final = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
_DEEPEST: Final = 50


def check_config(config: Json, where: Path) -> None:
    """Raise HarnessError if the configuration in the file ``where`` names a kernel that would have to be fetched."""
    for key, name in _named(config, 0):
        package = _INSTALLED.get(name)
        if name not in _OWN and (package is None or find_spec(package) is None):
            raise HarnessError(
                f"{where}: {key} is {name!r}, which is not installed and would be fetched and run; remove it, and transformers chooses"
            )


def _named(value: Json, depth: int) -> Iterator[tuple[str, str]]:
    """(key, implementation), wherever in the configuration."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for each in value:
            yield from _named(each, depth + 1)
    if isinstance(value, dict):
        for key, each in value.items():
            if any(key.strip("_").startswith(known) for known in _KEYS):
                yield from ((key, str(name)) for name in (each.values() if isinstance(each, dict) else [each]) if name is not None)
            else:
                yield from _named(each, depth + 1)
