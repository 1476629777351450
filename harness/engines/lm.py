"""What lm-eval drives, whichever engine generates: journal, check of lengths, thoughts, progress."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from harness import thinking
from harness.api import HarnessError, IncompleteError, Json
from harness.artifacts import digest
from harness.journal import Generation, Journal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Examples that an error names, of those that failed.
_NAMED: Final = 5


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


@dataclass(frozen=True)
class Failed:
    """What an engine could not do for one prompt, though the others went on."""

    reason: str


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

    def generate(self, prompts: Sequence[Prompt], batch: "Batch") -> Iterator[dict[str, Completion | Failed]]:
        """Completions by example id, some at a time, as they are finished. ``prompts`` come longest first and fit the model."""

    def close(self) -> None:
        """Give the memory back."""


class Batch:
    """How much an engine takes at a time, made smaller while it runs where memory does not allow it. Results do not depend on it."""

    def __init__(self, tokens: int, say: Callable[[str], None] = lambda _: None) -> None:
        self.tokens = tokens
        """Padded prompt tokens in one batch."""
        self.asked = tokens
        self.shrunk = 0
        """How often it was made smaller."""
        self._say = say

    def halve(self, attempted: int) -> None:
        """A batch of ``attempted`` tokens did not fit."""
        self.tokens = max(1, attempted // 2)
        self.shrunk += 1
        self._say(f"a batch of {attempted} tokens did not fit in memory; going on with {self.tokens}")

    def facts(self) -> dict[str, Json]:
        """For the step's manifest."""
        return {"batch_tokens": self.tokens, "batch_tokens_asked": self.asked, "batch_halved": self.shrunk}


class HarnessLM(LM):
    """Journals, checks lengths and reports progress around a :class:`Backend`.

    Prompts are never truncated: the suite fits them to the length beforehand, and a longer one is an error.
    """

    def __init__(self, backend: Backend, think_tokens: int = 0) -> None:
        super().__init__()
        self._backend = backend
        self._think_tokens = think_tokens
        self.journal: Journal
        self.batch: Batch
        self.elsewhere: Mapping[tuple[str, str], Generation] = {}
        """Finished generations of the same model and settings, by example id and request: what is in here is taken, not generated."""
        self.advance: Callable[[int], None] = lambda done: None
        self.failed: dict[str, str] = {}
        """Examples that the engine could not do, and why."""
        self.taken_over = 0

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
        self._take_over(requests)
        waiting = {_example_id(request): request for request in requests if not self._is_finished(request)}
        self.advance(len(requests) - len(waiting))
        prompts = {example: self._prompt(example, request) for example, request in waiting.items()}
        longest_first = sorted(
            prompts.values(), key=lambda prompt: (sorted(map(str, prompt.settings.items())), -len(prompt.ids), prompt.text)
        )
        for answers in self._backend.generate(longest_first, self.batch):
            finished = {name: answer for name, answer in answers.items() if isinstance(answer, Completion)}
            self.failed |= {name: answer.reason for name, answer in answers.items() if isinstance(answer, Failed)}
            self.journal.append({name: self._generation(waiting[name], prompts[name], completion) for name, completion in finished.items()})
            self.advance(len(finished))
        missing = [name for name in waiting if name not in self.journal.finished and name not in self.failed]
        if missing:
            raise HarnessError(f"the engine gave no answer to {len(missing)} prompts, such as {missing[0]}; run the command again")
        done = self.journal.finished
        return [done[name].output if (name := _example_id(request)) in done else "" for request in requests]

    def check_complete(self) -> None:
        """IncompleteError that names the examples which the engine could not do."""
        if not self.failed:
            return
        more = len(self.failed) - _NAMED
        named = ", ".join(list(self.failed)[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        raise IncompleteError(
            f"{len(self.failed)} examples were not answered ({next(iter(self.failed.values()))}): {named}. All others are finished and "
            "kept; start again with more memory, another --dtype or --backend, or shorter --lengths"
        )

    def _is_finished(self, request: Instance) -> bool:
        found = self.journal.finished.get(_example_id(request))
        return found is not None and found.request == request_digest(request)

    def _take_over(self, requests: Sequence[Instance]) -> None:
        """Answers that another evaluation of the same model already has to the very same prompts."""
        wanted = ((_example_id(request), request_digest(request)) for request in requests if not self._is_finished(request))
        found = {example: self.elsewhere[example, asked] for example, asked in wanted if (example, asked) in self.elsewhere}
        if found:
            self.journal.append(found)
            self.taken_over += len(found)

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
        asked = request_digest(request)
        if not self._think_tokens or completion.thoughts:
            thoughts = len(self._backend.tok_encode(completion.thoughts)) if completion.thoughts else 0
            return Generation(completion.text, size, len(ids), "stop" if ended else "length", completion.thoughts, thoughts, asked)

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
            request=asked,
        )


def request_digest(request: Instance) -> str:
    """Hash of the rendered prompt and the generation settings, 64 bits."""
    return digest([str(request.args[0]), *sorted(map(str, request.args[1].items()))])[:16]


def _example_id(request: Instance) -> str:
    return str(request.doc["id"])
