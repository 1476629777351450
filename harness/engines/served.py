"""A server that is already running and speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, a gateway.

``completions`` sends token ids, exactly those that the suite was fitted with; ``chat`` sends messages, which the server puts into its own
template. What the server says it read is compared with what was sent, so that it cannot cut a prompt unnoticed. Requests that fail in a way
that may pass (no connection, a stall, 429, 5xx, an answer that is none) are sent again, with growing pauses.
"""

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar
from urllib.parse import urlsplit

from harness.api import HarnessError, Json, Model
from harness.engines.exchange import ExchangeError, Request, TooLongError, exchange
from harness.engines.lm import Batch, Completion, Failed, Prompt, is_ours
from harness.engines.options import EngineConfig
from harness.models.footprint import ModelShape
from harness.models.tokenizers import load_tokenizer
from harness.models.tokens import token_ids
from harness.screen.progress import say
from harness.screen.redact import redacted, without_known
from reports.safe import encodable

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")
#: Environment variable with the key that goes with every request; it is neither stored nor shown.
KEY_VARIABLE: Final = "OPENAI_API_KEY"
_ATTEMPTS: Final = 5
_FIRST_PAUSE: Final = 0.5
"""Seconds; each further pause is twice as long, give or take a quarter."""
_LONGEST_PAUSE: Final = 30.0
_PASSING: Final = (408, 409, 425, 429, 500, 502, 503, 504)
_LARGEST_ANSWER: Final = 64 << 20
#: Characters that no token is longer than: what a server writes beyond so many for each token that was asked for was not asked for.
_LONGEST_TOKEN: Final = 256
#: More tokens than any model takes.
UNBOUNDED: Final = 1 << 30
#: Names that an error gives.
_NAMED: Final = 5
#: What servers call an answer, or the refusal of a prompt, that a filter of contents withheld.
_FILTERED: Final = "content_filter"
_WITHHELD: Final = f"the server withheld an answer ({_FILTERED})"
#: Tokens that the ends of the user's words may make together with what a template writes around them.
_JOINED: Final = 2
_HEADER: Final = re.compile(r"[\x21-\x7e]+")


class _PassingError(Exception):
    """A failure that may pass; ``pause`` is what the server asked for."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


class _WithheldError(Exception):
    """The server answers this prompt with a refusal of its content filter."""


@dataclass(frozen=True)
class Stop:
    """How somebody tells the threads that ask to come to an end."""

    sending: threading.Event = field(default_factory=threading.Event)
    """Nothing is sent any more; what is under way is waited for."""
    waiting: threading.Event = field(default_factory=threading.Event)
    """Nothing is waited for either."""

    def now(self) -> None:
        """Leave everything."""
        self.sending.set()
        self.waiting.set()


@dataclass(frozen=True)
class Client:
    """Requests to one server."""

    url: str
    """Without a slash at the end."""
    timeout: float
    """Seconds that an answer may take altogether."""
    attempts: int = _ATTEMPTS

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port or an address of IPv6 that is none
            usable = False
        if not usable:
            raise HarnessError(f"--url {self.url!r} is not the address of a server; it looks like http://localhost:8000/v1")
        _headers()

    def models(self) -> list[str]:
        """List names of the models that the server has."""
        answer = self.ask("GET", "/models")
        rows = answer.get("data")
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []

    def ask(self, method: str, path: str, body: Mapping[str, Json] | None = None, stop: Stop | None = None) -> dict[str, Any]:
        """Get the server's answer, a JSON object."""
        return self.read(lambda answer: answer, method, path, body, stop)

    def read(
        self,
        take: Callable[[dict[str, Any]], T],
        method: str,
        path: str,
        body: Mapping[str, Json] | None = None,
        stop: Stop | None = None,
    ) -> T:
        """Get what ``take`` makes of the server's answer, a JSON object; one that it takes for none (:class:`_PassingError`) is no answer.

        HarnessError after the last attempt, and at once for what no repetition mends (another 4xx). ``stop`` ends the waiting early.
        """
        stop = stop or Stop()
        for attempt in range(self.attempts):
            try:
                return take(self._once(method, path, body, stop))
            except _PassingError as error:
                if attempt + 1 == self.attempts or stop.sending.is_set():
                    self._give_up(str(error))
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.75, 1.25)
                stop.sending.wait(max(pause, min(error.pause, _LONGEST_PAUSE)))
        raise AssertionError("unreachable")

    def _give_up(self, reason: str) -> NoReturn:
        raise HarnessError(
            f"no usable answer from {self.url} in {self.attempts} attempts: {reason}; see that the server runs there (vllm serve MODEL "
            "starts one) and run the command again: what is finished is kept"
        )

    def _once(self, method: str, path: str, body: Mapping[str, Json] | None, stop: Stop) -> dict[str, Any]:
        try:
            found = exchange(Request(method, self.url + path, _headers(), body, _LARGEST_ANSWER), self.timeout, stop.waiting)
        except ExchangeError as error:
            raise _PassingError(str(error)) from None
        except TooLongError:
            raise HarnessError(f"{self.url}{path} answered more than {_LARGEST_ANSWER >> 20} MiB; is it a model's server?") from None
        if found.status in _PASSING:
            raise _PassingError(f"status {found.status}: {_excerpt(found.body)}", _retry_after(found.headers.get("Retry-After")))
        if found.status == 400 and _FILTERED.encode() in found.body:
            raise _WithheldError
        if found.status != 200:
            raise HarnessError(f"{self.url}{path} refused the request with status {found.status}: {_excerpt(found.body)}")
        try:
            answer = json.loads(found.body)
        except (ValueError, RecursionError):
            raise _PassingError(f"{path} answered something that is not JSON: {_excerpt(found.body)}") from None
        if not isinstance(answer, dict):
            raise _PassingError(f"{path} answered JSON that is no object: {_excerpt(found.body)}")
        return answer


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE)
    if key and not _HEADER.fullmatch(key):
        raise HarnessError(f"{KEY_VARIABLE} holds a line end, a blank or a letter that no header can hold; set it to the bare key")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _excerpt(text: bytes) -> str:
    line = " ".join(redacted(text[:4000].decode(errors="replace")).split())  # before it is cut: half a key is not known as one
    return (line[:200] or "(nothing)").encode("unicode_escape").decode()


def _retry_after(value: str | None) -> float:
    """Seconds from now; the header holds a number of them or a date (RFC 9110, section 10.2.3)."""
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value or "").timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):  # neither
        return 0.0


class Served:
    """Implements :class:`harness.engines.lm.Backend`. The tokenizer is that of the model's local directory."""

    _is_told = False
    """Whether the person watching knows that this server does not say what it reads."""

    def __init__(self, model: Model, config: EngineConfig) -> None:
        self._set_up(load_tokenizer(model), ModelShape.read(model).context or UNBOUNDED, model.path.name, config)

    def _set_up(self, tokenizer: "PreTrainedTokenizerBase", context: int, name: str, config: EngineConfig) -> None:
        """Keep what is known of the model, and find it on the server."""
        self.tokenizer = tokenizer
        self._context, self._path_name, self._config = context, name, config
        self._client = Client(config.url.rstrip("/"), config.timeout)
        self._name = served_name(self._client, config.served_model)

    @property
    def tokenizer_name(self) -> str:
        return self._path_name

    @property
    def max_length(self) -> int:
        return self._context

    def tok_encode(self, string: str) -> list[int]:
        """Encode a prompt as the other engines do."""
        return token_ids(self.tokenizer, string)

    def chat_template(self, chat_template: bool | str = False) -> str:
        return str(self.tokenizer.chat_template or "")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=self._config.think_tokens > 0,
            )
        )

    def log_likelihoods(self, requests: "list[Instance]", longest: int, batch_tokens: int) -> list[tuple[float, bool]]:
        raise HarnessError("a served model gives no log-likelihoods; evaluate this task with --backend hf or vllm")

    def rolling_log_likelihoods(self, requests: "list[Instance]") -> list[float]:
        raise HarnessError("a served model gives no log-likelihoods; evaluate this task with --backend hf or vllm")

    def generate(self, prompts: Sequence[Prompt], batch: Batch) -> Iterator[dict[str, Completion | Failed]]:
        """Yield each answer as it is finished.

        After the first that fails for good nothing more is sent, and what is under way is still kept.

        Whoever leaves early, as by Ctrl-C, waits for nothing.
        """
        stop = Stop()
        failure: HarnessError | None = None
        waiting = iter(prompts)
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            running: dict[Future[Completion | Failed], str] = {}
            try:
                while True:
                    while failure is None and len(running) < self._config.concurrency and (prompt := next(waiting, None)) is not None:
                        running[pool.submit(self._complete, prompt, stop)] = prompt.example
                    if not running:
                        break
                    finished: dict[str, Completion | Failed] = {}
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        example = running.pop(future)
                        try:
                            finished[example] = future.result()
                        except HarnessError as error:
                            failure = failure or HarnessError(f"{example}: {error}")
                            stop.sending.set()
                    if finished:
                        yield finished
            finally:
                stop.now()
        if failure is not None:
            raise failure

    def _complete(self, prompt: Prompt, stop: Stop) -> Completion | Failed:
        path = "/chat/completions" if self._config.served_api == "chat" else "/completions"
        try:
            return self._client.read(lambda answer: self._parse(answer, prompt), "POST", path, self._body(prompt), stop)
        except _WithheldError:
            return Failed(_WITHHELD)

    def _body(self, prompt: Prompt) -> dict[str, Json]:
        settings = prompt.settings
        until = [settings["until"]] if isinstance(settings["until"], str) else list(settings["until"])
        body: dict[str, Json] = {
            "model": self._name,
            "max_tokens": int(settings["max_gen_toks"]),
            "temperature": float(settings.get("temperature", 0.0)) if settings.get("do_sample", False) else 0.0,
            "stream": False,
        }
        if until:
            body["stop"] = until
        if prompt.seed is not None:  # the whole distribution, whatever the server takes by itself
            body |= {"seed": prompt.seed, "top_p": 1.0}
        if self._config.served_api == "chat":
            return {**body, "messages": [{"role": "user", "content": _unframed(prompt)}]}
        return {**body, "prompt": list(prompt.ids)}

    def _parse(self, answer: Mapping[str, Any], prompt: Prompt) -> Completion | Failed:
        """HarnessError for a prompt that the server cut; :class:`_PassingError` for what is no completion."""
        try:
            choice = answer["choices"][0]
            if choice["finish_reason"] == _FILTERED:
                return Failed(_WITHHELD)
            message = choice.get("message") or {}
            text = message["content"] if self._config.served_api == "chat" else choice["text"]
            thoughts = message.get("reasoning_content") or message.get("reasoning") or ""
            reason = choice["finish_reason"]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _PassingError(
                f"it was something else than a completion: {type(error).__name__} {error} in {_excerpt(json.dumps(answer).encode())}"
            ) from None
        if text is None and thoughts:  # the budget ended within the thoughts
            text = ""
        if not isinstance(text, str) or not isinstance(thoughts, str) or reason not in ("stop", "length"):
            raise _PassingError(
                f"it was something else than a completion: finish_reason {reason!r} in {_excerpt(json.dumps(answer).encode())}"
            )
        usage = answer.get("usage")
        counts: Mapping[str, Any] = usage if isinstance(usage, dict) else {}
        self._check_read(counts.get("prompt_tokens"), prompt)
        wrote, asked = counts.get("completion_tokens"), int(prompt.settings["max_gen_toks"])
        if reason == "length" and type(wrote) is int and 0 < wrote < asked:
            return Failed(f"the server ended an answer after {wrote} of {asked} tokens: its context is full; give it a longer one")
        most = _LONGEST_TOKEN * int(prompt.settings["max_gen_toks"])
        if len(text) + len(thoughts) > most:
            raise HarnessError(
                f"the server wrote {len(text) + len(thoughts)} characters where {prompt.settings['max_gen_toks']} tokens were asked for; "
                "does it know max_tokens?"
            )
        text, thoughts = (encodable(without_known(each)) for each in (text, thoughts))  # a server that echoes the key, or halves a letter
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Completion(text, ids, reason == "stop", thoughts)

    def _check_read(self, read: object, prompt: Prompt) -> None:
        """HarnessError if the server cut the prompt; a line, once, where it does not say what it read."""
        if type(read) is not int:
            if not self._is_told:
                self._is_told = True
                say(f"{self._client.url} does not say how much of a prompt it reads (usage): if it cuts prompts, nobody sees it")
            return
        least = self._least(prompt)
        if read < least:
            raise HarnessError(
                f"the server read {read} of {least} prompt tokens: it cuts prompts; give it a longer context (--max-model-len in vLLM) or "
                "ask for shorter --lengths"
            )

    def _least(self, prompt: Prompt) -> int:
        """How many tokens a server reads that cuts nothing: of messages at least the user's words, less what its template may join."""
        if self._config.served_api == "completions":
            return len(prompt.ids)
        return len(self.tokenizer(_unframed(prompt), add_special_tokens=False)["input_ids"]) - _JOINED

    def close(self) -> None:
        """Leave the server as it is: it is not ours to end."""


def _unframed(prompt: Prompt) -> str:
    """What the user says, without the chat template that the prompt may be rendered in: the server has its own."""
    if not is_ours(prompt.request):
        return prompt.text  # documents of other lm-eval tasks are never rendered for such a server
    example = json.loads(prompt.request.doc["example"])
    plain = str(example["prompt"] + example["answer_prefix"])
    return plain if prompt.text == plain else str(example["prompt"])


def served_name(client: Client, asked: str) -> str:
    """Find what the server calls the model. HarnessError if it has not got it, or has several and none was asked for."""
    names = client.models()
    shown = ", ".join(name[:_LONGEST_TOKEN] for name in names[:_NAMED]) + (" and more" if len(names) > _NAMED else "")
    if asked:
        if names and asked not in names:
            raise HarnessError(f"{client.url} has no model {asked!r}; it has {shown}: choose with --served-model")
        return asked
    if len(names) != 1:
        raise HarnessError(f"{client.url} has {len(names)} models ({shown or 'none'}); name one with --served-model")
    return names[0]
