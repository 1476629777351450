"""Engines that generate. Each is a :class:`~harness.engines.lm.Backend` inside one :class:`~harness.engines.lm.HarnessLM`, which lm-eval
drives; the libraries that they need are loaded when one is opened.

    hf       transformers, in this process: any device, the default
    vllm     vLLM, in processes of its own: tensor and pipeline parallel, continuous batching
    served   an OpenAI-compatible server that is already running
"""

from typing import TYPE_CHECKING

from harness.api import Model
from harness.engines.options import EngineConfig

if TYPE_CHECKING:
    from harness.engines.lm import HarnessLM


def open_engine(model: Model, config: EngineConfig) -> "HarnessLM":
    """Open the engine with ``model`` in it; its ``close`` gives the memory back.

    HarnessError where the library is not installed, the model does not load or fit, or no server answers.
    """
    from harness.engines.lm import Backend, HarnessLM

    backend: Backend
    if config.backend == "served":
        from harness.engines.served import Served

        backend = Served(model, config)
    elif config.backend == "vllm":
        from harness.engines.vllm import VLLMBackend

        backend = VLLMBackend(model, config)
    else:
        from harness.engines.hf import HFBackend

        backend = HFBackend(model, config)
    return HarnessLM(backend, config.think_tokens)
