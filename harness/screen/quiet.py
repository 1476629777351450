"""Keep libraries from talking over our own progress: their warnings about things that we do on purpose, and their bars."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any, Final

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
