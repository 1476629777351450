"""What lm-eval drives, whichever engine generates: journal, check of lengths, thoughts, progress."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Protocol

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs

from harness.api import HarnessError, IncompleteError, Json
from harness.engines import thinking
from harness.engines.framing import template_digest
from harness.engines.generations import draw_seed
from harness.engines.generations import name as generation_name
from harness.files import digest
from harness.store.journal import Generation, Journal, Records
from tasks.thoughts import holds_thoughts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Examples that an error names, of those that failed.
_NAMED: Final = 5
#: Log-likelihoods between two writes to disk.
_WAVE: Final = 512


@dataclass(frozen=True)
class Prompt:
    """One request, as an engine gets it."""

    example: str
    """What its answer is called: its example's id, with a number where answers are sampled."""
    ids: tuple[int, ...]
    """The rendered prompt's tokens."""
    request: Instance
    """lm-eval's own: ``args`` are the rendered prompt and the generation settings, with room for thoughts."""
    seed: int | None = None
    """Of the answer's random numbers, where one of our suite's is sampled."""

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

    def log_likelihoods(self, requests: list[Instance], longest: int, batch_tokens: int) -> list[tuple[float, bool]]:
        """Compute lm-eval's ``loglikelihood``.

        ``longest`` is the most tokens of a request's context and continuation, which fit the model.
        """

    def rolling_log_likelihoods(self, requests: list[Instance]) -> list[float]:
        """Compute lm-eval's ``loglikelihood_rolling``."""

    def generate(self, prompts: Sequence[Prompt], batch: "Batch") -> Iterator[dict[str, Completion | Failed]]:
        """Yield completions by example id, some at a time, as they are finished. ``prompts`` come longest first and fit the model."""

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
        """Halve the batch, of ``attempted`` tokens, that did not fit."""
        self.tokens = max(1, attempted // 2)
        self.shrunk += 1
        self._say(f"a batch of {attempted} tokens did not fit in memory; going on with {self.tokens}")

    def facts(self) -> dict[str, Json]:
        """Give what is said of it in the step's manifest."""
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
        self.known_answers: Mapping[tuple[str, str], Generation] = {}
        """Finished generations of the same model and settings, by example id and request: what is in here is taken, not generated."""
        self.likelihoods: Records
        """As the journal, for log-likelihoods; needed only where a task asks for some."""
        self.begin: Callable[[str, int], None] = lambda kind, total: None
        """Called with what is asked for, and how many of it."""
        self.advance: Callable[[int], None] = lambda done: None
        self.notice: Callable[[str], None] = lambda _: None
        """Called once if answers hold thoughts that have no budget."""
        self.failed: dict[str, str] = {}
        """Examples that the engine could not do, and why."""
        self.taken_over = 0
        self.seed = 0
        """Of sampled answers' random numbers."""

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
        return None if template is None else template_digest(template)

    def chat_template(self, chat_template: bool | str = False) -> str:
        return str(self._backend.chat_template(chat_template))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(self._backend.apply_chat_template(chat_history, add_generation_prompt))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        names = _names(requests)
        waiting = self._waiting("choices", names, requests, self.likelihoods.finished)
        sizes = {name: self._whole(name, request) for name, request in waiting.items()}
        # of like length, and the choices of one context together: the engine then reads the context once
        order = sorted(waiting, key=lambda name: (-len(waiting[name].args[0]), waiting[name].args[0], name))
        for wave in _waves(order, lambda name: str(waiting[name].args[0])):
            asked = [waiting[name] for name in wave]
            found = self._backend.log_likelihoods(asked, max(sizes[name] for name in wave), self.batch.tokens)
            pairs = zip(wave, found, strict=True)
            self.likelihoods.append({name: {"log_likelihood": float(value), "greedy": bool(greedy)} for name, (value, greedy) in pairs})
            self.advance(len(wave))
        kept = [self.likelihoods.finished[name] for name in names]
        return [(float(str(each["log_likelihood"])), bool(each["greedy"])) for each in kept]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        names = _names(requests)
        waiting = self._waiting("texts", names, requests, self.likelihoods.finished)
        for name, request in waiting.items():
            (value,) = self._backend.rolling_log_likelihoods([request])
            self.likelihoods.append({name: {"log_likelihood": float(value)}})
            self.advance(1)
        return [float(str(self.likelihoods.finished[name]["log_likelihood"])) for name in names]

    def _waiting(self, kind: str, names: Sequence[str], requests: Sequence[Instance], finished: Container[str]) -> dict[str, Instance]:
        """The requests that are not on disk yet, by name."""
        waiting = {name: request for name, request in zip(names, requests, strict=True) if name not in finished}
        self.begin(kind, len(requests))
        self.advance(len(requests) - len(waiting))
        return waiting

    def _whole(self, name: str, request: Instance) -> int:
        """Tokens of context and continuation. HarnessError if the model cannot take them: lm-eval's engines would cut the context."""
        size = len(self._backend.tok_encode("".join(request.args)))
        if size >= self._backend.max_length:
            raise HarnessError(_too_long(name, request, size, self._backend.max_length - 1))
        return size

    def close(self) -> None:
        """Give the engine's memory back."""
        self._backend.close()

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        names = _names(requests)
        asked = {name: request_digest(request) for name, request in zip(names, requests, strict=True)}
        self._take_over(asked)
        waiting = self._waiting("answers", names, requests, {name for name, what in asked.items() if self._is_finished(name, what)})
        prompts = {name: self._prompt(name, request) for name, request in waiting.items()}
        longest_first = sorted(
            prompts.values(), key=lambda prompt: (sorted(map(str, prompt.settings.items())), -len(prompt.ids), prompt.text)
        )
        for answers in self._backend.generate(longest_first, self.batch):
            finished = {name: answer for name, answer in answers.items() if isinstance(answer, Completion)}
            self.failed |= {name: answer.reason for name, answer in answers.items() if isinstance(answer, Failed)}
            self.journal.append(
                {name: self._generation(waiting[name], asked[name], prompts[name], found) for name, found in finished.items()}
            )
            self.advance(len(finished))
            self._look_for_thoughts(finished.values())
        missing = [name for name in waiting if name not in self.journal.finished and name not in self.failed]
        if missing:
            raise HarnessError(f"the engine gave no answer to {len(missing)} prompts, such as {missing[0]}; run the command again")
        return [self.journal.finished[name].output if name in self.journal.finished else "" for name in names]

    def _look_for_thoughts(self, answers: Iterable[Completion]) -> None:
        if not self._think_tokens and any(answer.thoughts or holds_thoughts(answer.text) for answer in answers):
            self.notice(
                "the model thinks before it answers, and its thoughts take the answer's tokens: give them a budget of their own, such as "
                "--think-tokens 2048, or its scores mean little"
            )
            self.notice = lambda _: None

    def check_complete(self) -> None:
        """Raise IncompleteError, naming the examples which the engine could not do."""
        if not self.failed:
            return
        more = len(self.failed) - _NAMED
        named = ", ".join(list(self.failed)[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        raise IncompleteError(
            f"{len(self.failed)} examples were not answered ({next(iter(self.failed.values()))}): {named}. All others are finished and "
            "kept, and the same command asks for these again; for want of memory, give another --dtype or --backend, or shorter --lengths"
        )

    def _is_finished(self, name: str, asked: str) -> bool:
        found = self.journal.finished.get(name)
        return found is not None and found.request == asked

    def _take_over(self, asked: Mapping[str, str]) -> None:
        """Answers that another evaluation of the same model already has to the very same prompts. ``asked`` is name -> digest."""
        missing = [(name, what) for name, what in asked.items() if not self._is_finished(name, what)]
        found = {name: self.known_answers[name, what] for name, what in missing if (name, what) in self.known_answers}
        if found:
            self.journal.append(found)
            self.taken_over += len(found)

    def _prompt(self, name: str, request: Instance) -> Prompt:
        text, settings = str(request.args[0]), _settings(request)
        ids = tuple(self._backend.tok_encode(text))
        budget = settings["max_gen_toks"] + self._think_tokens
        room = self._backend.max_length - budget
        if len(ids) > room:
            raise HarnessError(_too_long(name, request, len(ids), room))
        if self._think_tokens:  # room for thoughts before the answer, in which nothing that ends an answer counts
            settings = {**settings, "max_gen_toks": budget, "until": []}
        seed = draw_seed(self.seed, name) if is_ours(request) and settings["do_sample"] else None
        return Prompt(name, ids, replace(request, arguments=(text, settings)), seed)

    def _generation(self, request: Instance, asked: str, prompt: Prompt, completion: Completion) -> Generation:
        """``request`` has the answer's own budget, without the thoughts'; ``asked`` is its digest."""
        size, ids, ended = len(prompt.ids), list(completion.ids), completion.ended
        if not self._think_tokens:
            return Generation(completion.text, size, len(ids), "stop" if ended else "length", request=asked)
        settings = _settings(request)
        if completion.thoughts:
            text, cut = _up_to(completion.text, settings["until"])
            thoughts = len(self._backend.tok_encode(completion.thoughts))
            return Generation(text, size, len(ids), "stop" if ended or cut else "length", completion.thoughts, thoughts, asked)

        def decode(tokens: Sequence[int], *, plain: bool = False) -> str:
            return str(self._backend.tokenizer.decode(list(tokens), skip_special_tokens=plain))

        parts = thinking.split(
            ids,
            ended,
            decode,
            opened=prompt.text.rstrip().endswith(thinking.START),
            budget=self._think_tokens,
            answer_budget=settings["max_gen_toks"],
        )
        text, cut = _up_to(decode(ids[parts.answer], plain=True), settings["until"])
        return Generation(
            text,
            size,
            len(ids[parts.answer]),
            "stop" if parts.complete or cut else "length",
            thinking=decode(ids[: parts.thinking]),
            thinking_tokens=parts.thinking,
            request=asked,
        )


def request_digest(request: Instance) -> str:
    """Hash of the rendered prompt and the generation settings, 64 bits."""
    return digest([str(request.args[0]), *sorted(map(str, request.args[1].items()))])[:16]


def _settings(request: Instance) -> dict[str, Any]:
    """The request's generation settings under lm-eval's own names, its defaults filled in."""
    return dict(normalize_gen_kwargs(request.args[1]))


def _up_to(text: str, until: Sequence[str]) -> tuple[str, bool]:
    """``text`` before the first of these strings, and whether one was there."""
    places = [text.find(stop) for stop in until if stop and stop in text]
    return (text[: min(places)], True) if places else (text, False)


def _names(requests: Sequence[Instance]) -> list[str]:
    """A name for each request, the same in every process.

    An example of our suites has an id, and a number for each sampled answer. A document of another lm-eval task is named by task, number,
    choice and, since some tasks ask the same several times, repetition; the digest of what is asked keeps apart what changed since.
    """
    names: list[str] = []
    seen: Counter[str] = Counter()
    for request in requests:
        if is_ours(request):
            example = str(request.doc["id"])
            seen[example] += 1
            names.append(generation_name(example, seen[example]) if _settings(request)["do_sample"] else example)
            continue
        asked = blake2b(repr(request.args).encode(), digest_size=6).hexdigest()
        name = f"{request.task_name}/{request.doc_id}/{request.idx}/{asked}"
        names.append(f"{name}/{seen[name]}")
        seen[name] += 1
    return names


def is_ours(request: Instance) -> bool:
    """Say whether :func:`harness.evaluation.lmeval_tasks.dataset` made the request's document."""
    return isinstance(request.doc, dict) and request.doc.keys() == {"id", "text", "example"}


def _waves(names: Sequence[str], context: Callable[[str], str]) -> Iterator[list[str]]:
    """About so many names at a time; those of one context stay together."""
    wave: list[str] = []
    for _, group in groupby(names, key=context):
        wave += group
        if len(wave) >= _WAVE:
            yield wave
            wave = []
    if wave:
        yield wave


def _too_long(name: str, request: Instance, size: int, room: int) -> str:
    if is_ours(request):
        return f"{name} has {size} prompt tokens and the model takes {room} beside its answer; use shorter --lengths"
    return (
        f"document {request.doc_id} of {request.task_name} has {size} tokens and the model takes {room} beside its answer; "
        "leave the task out, or ask it with fewer examples (--extra-fewshot)"
    )
