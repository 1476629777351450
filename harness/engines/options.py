"""How answers are generated: the options of every engine."""

import math
from dataclasses import dataclass
from typing import Final

from harness.api import HarnessError, Json

#: Names of ``--backend``.
BACKENDS: Final = ("hf", "vllm", "served")
#: What a server may be asked with: token ids, or messages that it puts into its own template.
SERVED_APIS: Final = ("completions", "chat")


@dataclass(frozen=True)
class EngineConfig:
    """How answers are generated."""

    backend: str = "hf"
    """The engine: ``hf``, ``vllm`` or ``served``."""
    dtype: str = "auto"
    """Number format of the weights. ``auto`` is float32 on a CPU, and the checkpoint's own elsewhere."""
    device: str = "auto"
    """Torch device, such as ``cuda:0``. ``auto`` is CUDA if there is one."""
    batch_tokens: int = 131_072
    """Padded prompt tokens in one batch: more is faster, until memory runs out. Does not change results."""
    think_tokens: int = 0
    """Tokens for a reasoning model's thoughts, beside the answer's budget and the length."""
    generations: int = 1
    """Answers to each prompt; more than one are sampled, at a ``temperature``."""
    temperature: float = 0.0
    """0 for greedy decoding; above, answers are sampled from the model's whole distribution, flattened by it."""
    tensor_parallel: int = 1
    """vLLM: devices that share every layer."""
    pipeline_parallel: int = 1
    """vLLM: groups of devices that share the layers out."""
    memory_share: float = 0.9
    """vLLM: share of each device's memory to use."""
    url: str = ""
    """Served: where the server's ``/models`` and ``/completions`` are, such as ``http://localhost:8000/v1``."""
    served_model: str = ""
    """Served: the server's name for the model; empty for the only one that it has."""
    served_api: str = "completions"
    """Served: send token ids (``completions``) or messages (``chat``)."""
    concurrency: int = 16
    """Served: requests under way at a time."""
    timeout: float = 600.0
    """Served: seconds after which a request counts as stalled."""

    probe_context: bool = False
    """Served: first ask for what stands at the start of a long prompt. Does not change results."""

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise HarnessError(f"unknown backend {self.backend!r}; choose from {', '.join(BACKENDS)}")
        if (self.backend == "served") != bool(self.url):
            raise HarnessError("--backend served and --url go together, such as --backend served --url http://localhost:8000/v1")
        if self.probe_context and self.backend != "served":
            raise HarnessError("--probe-context asks a server, which may cut prompts; hf and vllm cut none, so leave it out")
        if self.served_api not in SERVED_APIS:
            raise HarnessError(f"unknown served_api {self.served_api!r}; choose from {', '.join(SERVED_APIS)}")
        if self.generations < 1:
            raise HarnessError(f"generations is {self.generations}; ask for at least 1 answer to each prompt")
        if not 0 <= self.temperature < math.inf:
            raise HarnessError(f"temperature is {self.temperature}; give 0 for greedy answers or a number above, such as 0.7")
        if self.generations > 1 and not self.temperature:
            raise HarnessError(
                f"{self.generations} greedy generations are {self.generations} times the same answer; sample them with --temperature, "
                "such as 0.7"
            )
        if self.backend != "vllm" and (self.tensor_parallel, self.pipeline_parallel) != (1, 1):
            raise HarnessError("--tensor-parallel and --pipeline-parallel need --backend vllm")

    @property
    def workers(self) -> int:
        """vLLM: devices, or on a CPU processes, that hold a part of the model each."""
        return self.tensor_parallel * self.pipeline_parallel

    def sampling(self, seed: int) -> dict[str, Json]:
        """Give what says in a step's key how answers are sampled; empty for greedy ones."""
        return {"temperature": float(self.temperature), "seed": seed, "generations": self.generations} if self.temperature else {}

    def inputs(self) -> dict[str, Json]:
        """Give what can change an answer: not the sizes of batches, the number of devices, or a server's address."""
        device = "served" if self.backend == "served" else self.device.partition(":")[0]
        inputs: dict[str, Json] = {"backend": self.backend, "dtype": self.dtype, "device": device, "think_tokens": self.think_tokens}
        if self.backend == "served":
            inputs |= {"served_model": self.served_model, "served_api": self.served_api}
        return inputs
