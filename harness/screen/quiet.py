"""Keep libraries from talking over our own progress: their warnings about things that we do on purpose, and their bars."""

import logging
import os
from typing import Final

_LOUD: Final = ("lm_eval", "transformers", "datasets", "accelerate", "trl")


def hush() -> None:
    """Call before the libraries are imported; a person can have the messages back with ``LOGLEVEL=DEBUG``."""
    if "LOGLEVEL" in os.environ:
        return
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ["LOGLEVEL"] = "ERROR"  # lm-eval's own switch
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
