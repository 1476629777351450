"""Responses to prompts: what is drawn, how, by whom, and the journal that keeps each one from the moment it is finished.

A :class:`Sampler` is one engine with one model in it. Heads are silenced for the length of a call, so the intact and the ablated
model's answers come from the same engine, and no second copy of the weights exists.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from harness.api import IncompleteError
from harness.store.journal import append_lines, cut_torn, read_lines
from retmask.heads.masks import HeadMask

#: What a user has said in turn number i when the model goes on.
Begun: TypeAlias = Callable[[int], str]
#: Prompts that an error names.
_NAMED: Final = 5


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
        """Sample ``settings.n`` responses to each prompt, prompt by prompt. ``prompts`` are users' texts, without a chat template.

        ``mask``'s heads are silent during this call alone; None is the intact model. What :func:`resume_responses` finds in ``journal`` is
        not sampled again, and every finished batch is added to it (:func:`append_responses`). What is drawn depends on the prompt's
        index, the response's number and the seed, never on the batch.
        """

    def user_turns(
        self, count: int, settings: Sampling, journal: Path, say: Callable[[str], None] = lambda _: None, begun: Begun | None = None
    ) -> list[Response]:
        """Write ``count`` turns: the first of what the intact model writes where its chat template lets the user speak
        (:mod:`retmask.pairs.turns`), after what ``begun`` has the user say.

        Journalled as by :meth:`sample`; what is drawn depends on the turn's index and the seed. HarnessError without a chat template.
        """

    def __enter__(self) -> "Sampler": ...

    def __exit__(self, *_: object) -> None: ...


def append_responses(journal: Path, responses: Iterable[Response]) -> None:
    """Make these durable."""
    append_lines(journal, map(asdict, responses))


def read_responses(journal: Path) -> dict[tuple[int, int], Response]:
    """Read (prompt, number) -> response.

    What a crash or a full disk cut short, or was damaged since, is left out; the file is not changed.
    """
    return {(found.prompt, found.number): found for found in map(_response, read_lines(journal).records)}


def resume_responses(journal: Path, say: Callable[[str], None] = lambda _: None) -> dict[tuple[int, int], Response]:
    """Read as :func:`read_responses`, with the file made ready to be added to."""
    found = read_lines(journal)
    cut_torn(journal, found)
    if found.damaged:
        say(f"{journal}: {found.damaged} damaged records are passed over; what is missing is sampled again")
    return read_responses(journal)


def _response(record: Mapping[str, Any]) -> Response:
    return Response(**{**record, "ids": tuple(record["ids"])})


def check_complete(failed: Sequence[int], tokens: int) -> None:
    """Raise IncompleteError, naming the prompts which did not fit in memory, the longest of ``tokens`` tokens."""
    if not failed:
        return
    prompts = sorted(set(failed))
    named = ", ".join(map(str, prompts[:_NAMED])) + (f" and {len(prompts) - _NAMED} more" if len(prompts) > _NAMED else "")
    raise IncompleteError(
        f"{len(prompts)} prompts (of up to {tokens} tokens) did not fit in memory even alone: number {named}, counted from 0. All other "
        "responses are kept; start again with more memory, a lower max_new_tokens, or without the long prompts"
    )
