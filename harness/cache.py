"""The user's cache: what can be fetched or computed again, kept between runs.

    <cache>/helmet/           HELMET's published files
    <cache>/models/steps/     fetched GGUF files, and the model directories made of them

``<cache>`` is what HARNESS_CACHE names, or else ``retmask-harness`` in XDG_CACHE_HOME, or else in ``~/.cache``.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from harness.artifacts import Store

#: Names the cache's directory and outranks XDG_CACHE_HOME.
ENVIRONMENT: Final = "HARNESS_CACHE"
_APP: Final = "retmask-harness"


def directory() -> Path:
    """The cache's root, whether it is there or not."""
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / _APP


def models(say: Callable[[str], None] = lambda _: None, *, read_only: bool = False) -> Store:
    """The models in the cache, as steps. HarnessError if it cannot be written to."""
    return Store(directory() / "models", read_only=read_only, say=say, remedy=f"set {ENVIRONMENT} to a folder that can be written to")
