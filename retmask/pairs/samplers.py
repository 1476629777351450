"""The engine that samples, by its name, and opened only when something has to be sampled."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from harness.api import HarnessError
from retmask.heads.masks import HeadMask
from retmask.pairs.responses import Begun, Response, Sampler, Sampling

BACKENDS: Final = ("hf", "vllm")
"""Names that :func:`open_sampler` knows."""


def open_sampler(backend: str, model: Path, dtype: str, device: str, *, tensor_parallel: int = 1, pipeline_parallel: int = 1) -> Sampler:
    """Open the engine called ``backend`` with the model in ``model``. ``dtype`` is the name of a torch dtype.

    Several devices are vLLM's alone.
    """
    if backend == "hf":
        from retmask.pairs.hf_sampler import HFSampler

        return HFSampler(model, dtype, device)
    if backend == "vllm":
        from retmask.pairs.vllm_sampler import VLLMSampler

        return VLLMSampler(model, dtype, device, tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel)
    raise HarnessError(f"unknown sampler {backend!r}; choose from {', '.join(BACKENDS)}")


class Lazily:
    """A sampler that is opened when it is first asked for something, and closed at the end of the block."""

    def __init__(self, open_it: Callable[[], Sampler]) -> None:
        self._open_it = open_it
        self._sampler: Sampler | None = None

    def __enter__(self) -> "Lazily":
        return self

    def __exit__(self, *reason: object) -> None:
        if self._sampler is not None:
            self._sampler.__exit__(*reason)
            self._sampler = None

    def sample(
        self,
        prompts: Sequence[str],
        settings: Sampling,
        mask: HeadMask | None,
        journal: Path,
        say: Callable[[str], None] = lambda _: None,
    ) -> list[Response]:
        """Sample as :meth:`Sampler.sample`."""
        return self._opened().sample(prompts, settings, mask, journal, say)

    def user_turns(
        self, count: int, settings: Sampling, journal: Path, say: Callable[[str], None] = lambda _: None, begun: Begun | None = None
    ) -> list[Response]:
        """Write turns as :meth:`Sampler.user_turns`."""
        return self._opened().user_turns(count, settings, journal, say, begun)

    def _opened(self) -> Sampler:
        if self._sampler is None:
            self._sampler = self._open_it().__enter__()
        return self._sampler
