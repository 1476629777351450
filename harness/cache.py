"""The user's cache: what can be fetched or computed again, kept between runs.

    <cache>/helmet/           HELMET's published files
    <cache>/models/steps/     fetched GGUF files, and the model directories made of them
    <cache>/lmeval/steps/     the generated tasks as lm-eval's YAML files
    <cache>/turns/steps/      where chat templates let a user speak, by the tokenizer's digest

``<cache>`` is what HARNESS_CACHE names, or else ``retmask-harness`` in XDG_CACHE_HOME, or else in ``~/.cache``.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from harness.api import HarnessError, Json
from harness.store.steps import Store

#: Names the cache's directory and outranks XDG_CACHE_HOME.
ENVIRONMENT: Final = "HARNESS_CACHE"
_APP: Final = "retmask-harness"


def directory() -> Path:
    """Give the cache's root, whether it is there or not."""
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / _APP


def store(kind: str, say: Callable[[str], None] = lambda _: None, *, read_only: bool = False) -> Store:
    """Open what the cache holds of one kind, as steps. HarnessError if it cannot be written to."""
    return Store(directory() / kind, read_only=read_only, say=say, remedy=f"set {ENVIRONMENT} to a folder that can be written to")


def models(say: Callable[[str], None] = lambda _: None, *, read_only: bool = False) -> Store:
    """Open the models in the cache. HarnessError if it cannot be written to."""
    return store("models", say, read_only=read_only)


def remembered(kind: str, inputs: Mapping[str, Json], find: Callable[[Path], Mapping[str, Json]], *, version: int) -> Mapping[str, Json]:
    """Recall what ``find`` returned for these inputs, or find it now and keep it; it is not kept where that cannot be written to.

    ``inputs`` holds everything that can change it. ``find`` gets a folder of its own, as a step does; what it raises is raised here.
    """
    try:
        kept = store(kind)
    except HarnessError:
        with TemporaryDirectory() as work:
            return find(Path(work))
    return kept.step(kind, inputs, find, version=version).facts
