"""What lm-eval drives, whichever engine generates: journal, check of lengths, thoughts, progress."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from harness import thinking
from harness.api import HarnessError
from harness.artifacts import digest
from harness.journal import Generation, Journal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prompt:
    """One request, as an engine gets it."""

    example: str
    """Id of its example."""
    ids: tuple[int, ...]
    """The rendered prompt's tokens."""
    request: Instance
    """lm-eval's own: ``args`` are the rendered prompt and the generation settings, with room for thoughts."""

    @property
    def text(self) -> str:
        """The rendered prompt."""
        return str(self.request.args[0])

    @property
    def settings(self) -> Mapping[str, Any]:
        """lm-eval's generation settings: ``until``, ``max_gen_toks``, ``temperature`` and the like."""
        settings: Mapping[str, Any] = self.request.args[1]
        return settings


@dataclass(frozen=True)
class Completion:
    """What an engine wrote for one prompt."""

    text: str
    """Without special tokens."""
    ids: Sequence[int]
    """Without the token that ended it."""
    ended: bool
    """Whether it ended by itself; otherwise its budget was used up."""
    thoughts: str = ""
    """Where the engine itself keeps thoughts apart from ``text``."""


class Backend(Protocol):
    """An engine with a model in it."""

    tokenizer: "PreTrainedTokenizerBase"

    @property
    def tokenizer_name(self) -> str: ...

    @property
    def max_length(self) -> int:
        """Most tokens of prompt and completion together."""

    def tok_encode(self, string: str) -> list[int]: ...

    def chat_template(self, chat_template: bool | str = False) -> str: ...

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str: ...

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]: ...

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]: ...

    def generate(self, prompts: Sequence[Prompt], batch_tokens: int) -> Iterator[dict[str, Completion]]:
        """Completions by example id, some at a time, as they are finished. ``prompts`` come longest first and fit the model."""

    def close(self) -> None:
        """Give the memory back."""


class HarnessLM(LM):
    """Journals, checks lengths and reports progress around a :class:`Backend`.

    Prompts are never truncated: the suite fits them to the length beforehand, and a longer one is an error.
    """

    def __init__(self, backend: Backend, think_tokens: int = 0) -> None:
        super().__init__()
        self._backend = backend
        self._think_tokens = think_tokens
        self.journal: Journal
        self.batch_tokens: int
        self.advance: Callable[[int], None] = lambda done: None

    @property
    def tokenizer_name(self) -> str:
        return str(self._backend.tokenizer_name)

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        return self._backend.tokenizer

    @property
    def has_chat_template(self) -> bool:
        return self._backend.tokenizer.chat_template is not None

    @property
    def chat_template_digest(self) -> str | None:
        """Which template frames prompts; None where there is none."""
        template = self._backend.tokenizer.chat_template
        return None if template is None else digest(template)[:12]

    def chat_template(self, chat_template: bool | str = False) -> str:
        return str(self._backend.chat_template(chat_template))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(self._backend.apply_chat_template(chat_history, add_generation_prompt))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return self._backend.loglikelihood(requests)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return self._backend.loglikelihood_rolling(requests)

    def close(self) -> None:
        """Give the engine's memory back."""
        self._backend.close()

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        waiting = {_example_id(request): request for request in requests if _example_id(request) not in self.journal.finished}
        self.advance(len(requests) - len(waiting))
        prompts = {example: self._prompt(example, request) for example, request in waiting.items()}
        longest_first = sorted(
            prompts.values(), key=lambda prompt: (sorted(map(str, prompt.settings.items())), -len(prompt.ids), prompt.text)
        )
        for finished in self._backend.generate(longest_first, self.batch_tokens):
            self.journal.append(
                {example: self._generation(waiting[example], prompts[example], completion) for example, completion in finished.items()}
            )
            self.advance(len(finished))
        missing = [example for example in waiting if example not in self.journal.finished]
        if missing:
            raise HarnessError(f"the engine gave no answer to {len(missing)} prompts, such as {missing[0]}; run the command again")
        return [self.journal.finished[_example_id(request)].output for request in requests]

    def _prompt(self, example: str, request: Instance) -> Prompt:
        text, settings = request.args
        ids = tuple(self._backend.tok_encode(text))
        room = self._backend.max_length - settings["max_gen_toks"] - self._think_tokens
        if len(ids) > room:
            raise HarnessError(
                f"{example} has {len(ids)} prompt tokens and the model takes {room} beside its answer; use shorter --lengths"
            )
        if self._think_tokens:  # room for thoughts before the answer
            settings = {**settings, "max_gen_toks": settings["max_gen_toks"] + self._think_tokens}
            request = replace(request, arguments=(text, settings))
        return Prompt(example, ids, request)

    def _generation(self, request: Instance, prompt: Prompt, completion: Completion) -> Generation:
        """``request`` has the answer's own budget, without the thoughts'."""
        size, ids, ended = len(prompt.ids), list(completion.ids), completion.ended
        if not self._think_tokens or completion.thoughts:
            thoughts = len(self._backend.tok_encode(completion.thoughts)) if completion.thoughts else 0
            return Generation(completion.text, size, len(ids), "stop" if ended else "length", completion.thoughts, thoughts)

        def decode(tokens: Sequence[int], *, plain: bool = False) -> str:
            return str(self._backend.tokenizer.decode(list(tokens), skip_special_tokens=plain))

        parts = thinking.split(
            ids,
            ended,
            decode,
            opened=prompt.text.rstrip().endswith(thinking.START),
            budget=self._think_tokens,
            answer_budget=request.args[1]["max_gen_toks"],
        )
        return Generation(
            decode(ids[parts.answer], plain=True),
            size,
            len(ids[parts.answer]),
            "stop" if parts.complete else "length",
            thinking=decode(ids[: parts.thinking]),
            thinking_tokens=parts.thinking,
        )


def _example_id(request: Instance) -> str:
    return str(request.doc["id"])
