"""Keep libraries from talking over our own progress: their warnings about things that we do on purpose, and their bars."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any, Final

from harness.screen.terminal import silence

#: Where transformers says whether it draws.
_DRAWING: Final = "transformers.utils.logging"
_LOUD: Final = ("lm_eval", "transformers", "datasets", "accelerate", "trl")


def hush(*, bars: bool = True) -> None:
    """Call before the libraries are imported; a person can have the messages back with ``LOGLEVEL=DEBUG``.

    ``bars`` False leaves those of other programs alone, which are tqdm's too: for a process that is not ours.
    """
    if "LOGLEVEL" in os.environ:
        return
    if bars:
        os.environ.setdefault("TQDM_DISABLE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ["LOGLEVEL"] = "ERROR"  # lm-eval's own switch
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def without_bars(module: ModuleType) -> Iterator[None]:
    """Keep a library's module from drawing bars with tqdm beside ours, without a say in what other modules draw."""
    changed: Any = module
    before = changed.tqdm
    changed.tqdm = partial(before, disable=True)
    try:
        yield
    finally:
        changed.tqdm = before


@contextmanager
def quietly(*, verbose: bool) -> Iterator[None]:
    """Keep what we say on standard error to oneself, unless ``verbose``; and what libraries say and draw there, either way."""
    hush(bars=False)
    from huggingface_hub import utils as hub

    hub_draws = not hub.are_progress_bars_disabled()
    before: Any = sys.modules.get(_DRAWING)
    transformers_draws = before is None or before.is_progress_bar_enabled()
    hub.disable_progress_bars()
    if before is not None:
        before.disable_progress_bar()
    try:
        if verbose:
            yield
        else:
            with silence():
                yield
    finally:
        if hub_draws:
            hub.enable_progress_bars()
        now: Any = sys.modules.get(_DRAWING)
        if now is not None and transformers_draws and hub_draws:
            now.enable_progress_bar()
