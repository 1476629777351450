"""Responses to prompts: what is drawn, how, by whom, and the journal that keeps each one from the moment it is finished.

A :class:`Sampler` is one engine with one model in it. Heads are silenced for the length of a call, so the intact and the ablated
model's answers come from the same engine, and no second copy of the weights exists.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from harness.api import HarnessError
from retmask.masks import HeadMask

BACKENDS: Final = ("hf", "vllm")
"""Names that :func:`open_sampler` knows."""


@dataclass(frozen=True)
class Response:
    """One sampled answer."""

    prompt: int
    """Index of its prompt."""
    text: str
    """Decoded without special tokens."""
    ids: tuple[int, ...]
    """As sampled, the end-of-text token included where the model wrote one."""
    finished: bool
    """False when the answer was cut off at ``max_new_tokens``."""
    number: int = 0
    """Which of the prompt's answers it is, from 0."""


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn."""

    temperature: float = 0.6
    """0 takes the most likely token."""
    top_p: float = 1.0
    max_new_tokens: int = 2048
    seed: int = 0
    n: int = 1
    """Responses to each prompt."""


class Sampler(Protocol):
    """An engine that answers prompts. Use it in a ``with`` block: leaving it gives the memory back."""

    def sample(
        self,
        prompts: Sequence[str],
        settings: Sampling,
        mask: HeadMask | None,
        journal: Path,
        say: Callable[[str], None] = lambda _: None,
    ) -> list[Response]:
        """``settings.n`` responses to each prompt, prompt by prompt. ``prompts`` are users' texts, without a chat template.

        ``mask``'s heads are silent during this call alone; None is the intact model. What :func:`read_responses` finds in ``journal`` is
        not sampled again, and every finished batch is added to it (:func:`append_responses`). What is drawn depends on the prompt's
        index, the response's number and the seed, never on the batch.
        """

    def __enter__(self) -> "Sampler": ...

    def __exit__(self, *_: object) -> None: ...


def open_sampler(backend: str, model: Path, dtype: str, device: str, *, tensor_parallel: int = 1, pipeline_parallel: int = 1) -> Sampler:
    """The engine called ``backend`` with the model in ``model``. ``dtype`` is the name of a torch dtype.

    Several devices are vLLM's alone.
    """
    if backend == "hf":
        from retmask.sampler import HFSampler

        return HFSampler(model, dtype, device)
    if backend == "vllm":
        from retmask.vllm_sampler import VLLMSampler

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
        """As :meth:`Sampler.sample`."""
        if self._sampler is None:
            self._sampler = self._open_it().__enter__()
        return self._sampler.sample(prompts, settings, mask, journal, say)


def append_responses(journal: Path, responses: Iterable[Response]) -> None:
    """Make these durable."""
    with journal.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(asdict(response), ensure_ascii=False) + "\n" for response in responses))
        file.flush()
        os.fsync(file.fileno())


def read_responses(journal: Path) -> dict[tuple[int, int], Response]:
    """(prompt, number) -> response. A last line that a crash or a full disk cut short is removed from the file."""
    if not journal.exists():
        return {}
    data = journal.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(journal, len(whole))
    rows = (json.loads(line) for line in whole.splitlines())
    found = (Response(row["prompt"], row["text"], tuple(row["ids"]), row["finished"], row["number"]) for row in rows)
    return {(response.prompt, response.number): response for response in found}
