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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

from harness.api import HarnessError, Json, Model
from harness.engines import EngineConfig
from harness.engines.lm import Batch, Completion, Failed, Prompt, is_ours
from harness.footprint import ModelShape
from harness.redact import redacted, without_known
from harness.suite import load_tokenizer

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase

#: Environment variable with the key that goes with every request; it is neither stored nor shown.
KEY_VARIABLE: Final = "OPENAI_API_KEY"
_ATTEMPTS: Final = 5
_FIRST_PAUSE: Final = 0.5
"""Seconds; each further pause is twice as long, give or take a quarter."""
_LONGEST_PAUSE: Final = 30.0
_PASSING: Final = (408, 409, 425, 429, 500, 502, 503, 504)
_LARGEST_ANSWER: Final = 64 << 20
_CONNECT_TIMEOUT: Final = 10.0
_HEADER: Final = re.compile(r"[\x21-\x7e]+")


class _PassingError(Exception):
    """A failure that may pass; ``pause`` is what the server asked for."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


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
        """Names of the models that the server has."""
        answer = self.ask("GET", "/models")
        rows = answer.get("data")
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []

    def ask(self, method: str, path: str, body: Mapping[str, Json] | None = None, stop: threading.Event | None = None) -> dict[str, Any]:
        """The server's answer, a JSON object.

        HarnessError after the last attempt, and at once for what no repetition mends (another 4xx). ``stop`` ends the waiting early.
        """
        for attempt in range(self.attempts):
            try:
                return self._once(method, path, body)
            except _PassingError as error:
                if attempt + 1 == self.attempts or (stop and stop.is_set()):
                    self._give_up(str(error))
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.75, 1.25)
                (stop or threading.Event()).wait(max(pause, min(error.pause, _LONGEST_PAUSE)))
        raise AssertionError("unreachable")

    def _give_up(self, reason: str) -> NoReturn:
        raise HarnessError(
            f"no usable answer from {self.url} in {self.attempts} attempts: {reason}; see that the server runs there (vllm serve MODEL "
            "starts one) and run the command again: what is finished is kept"
        )

    def _once(self, method: str, path: str, body: Mapping[str, Json] | None) -> dict[str, Any]:
        import requests
        from urllib3.exceptions import HTTPError

        deadline = time.monotonic() + self.timeout
        timeouts = (min(_CONNECT_TIMEOUT, self.timeout), self.timeout)
        try:
            with requests.request(
                method, self.url + path, json=body, headers=_headers(), timeout=timeouts, stream=True, allow_redirects=False
            ) as response:
                text = _read(response, deadline)
        except requests.Timeout:
            raise _PassingError(f"nothing came within {self.timeout:g} s") from None
        except (requests.RequestException, HTTPError) as error:
            raise _PassingError(_cause(error)) from None
        if response.status_code in _PASSING:
            raise _PassingError(f"status {response.status_code}: {_excerpt(text)}", _retry_after(response.headers.get("Retry-After")))
        if response.status_code != 200:
            raise HarnessError(f"{self.url}{path} refused the request with status {response.status_code}: {_excerpt(text)}")
        try:
            answer = json.loads(text)
        except ValueError:
            raise _PassingError(f"{path} answered something that is not JSON: {_excerpt(text)}") from None
        if not isinstance(answer, dict):
            raise _PassingError(f"{path} answered JSON that is no object: {_excerpt(text)}")
        return answer


def _read(response: Any, deadline: float) -> bytes:
    """The body, however slowly it trickles in, up to the deadline."""
    body = b""
    while chunk := response.raw.read1(1 << 16, decode_content=True):  # what is there: iter_content would wait until so much had come
        body += chunk
        if time.monotonic() > deadline:
            raise _PassingError("the answer stalled half-way")
        if len(body) > _LARGEST_ANSWER:
            raise HarnessError(f"{response.url} answered more than {_LARGEST_ANSWER >> 20} MiB; is it a model's server?")
    return body


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE)
    if key and not _HEADER.fullmatch(key):
        raise HarnessError(f"{KEY_VARIABLE} holds a line end, a blank or a letter that no header can hold; set it to the bare key")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _cause(error: Exception) -> str:
    """The innermost reason: requests wraps it several times."""
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__ or getattr(inner, "reason", None)) and isinstance(deeper, BaseException):
        inner = deeper
    return f"{type(error).__name__} ({inner})"


def _excerpt(text: bytes) -> str:
    line = " ".join(redacted(text[:4000].decode(errors="replace")).split())  # before it is cut: half a key is not known as one
    return (line[:200] or "(nothing)").encode("unicode_escape").decode()


def _retry_after(value: str | None) -> float:
    try:
        return max(0.0, float(value or 0))
    except ValueError:  # a date
        return 0.0


class Served:
    """Implements :class:`harness.engines.lm.Backend`. The tokenizer is that of the model's local directory."""

    def __init__(self, model: Model, config: EngineConfig) -> None:
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model)
        self._client = Client(config.url.rstrip("/"), config.timeout)
        self._config = config
        self._context = ModelShape.read(model).context or 1 << 30
        self._name = _served_name(self._client, config.served_model)
        self._path_name = model.path.name

    @property
    def tokenizer_name(self) -> str:
        return self._path_name

    @property
    def max_length(self) -> int:
        return self._context

    def tok_encode(self, string: str) -> list[int]:
        """As lm-eval's backends do it: a chat template may have written the begin-of-text token already."""
        begin = self.tokenizer.bos_token
        framed = isinstance(begin, str) and string.startswith(begin)
        return list(self.tokenizer(string, add_special_tokens=not framed)["input_ids"])

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
        """As each is finished. After the first that fails for good nothing more is sent, and what is under way is still kept."""
        stop = threading.Event()
        failure: HarnessError | None = None
        waiting = iter(prompts)
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            running: dict[Future[Completion], str] = {}
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
                            stop.set()
                    if finished:
                        yield finished
            finally:
                stop.set()
        if failure is not None:
            raise failure

    def _complete(self, prompt: Prompt, stop: threading.Event) -> Completion:
        path = "/chat/completions" if self._config.served_api == "chat" else "/completions"
        body = self._body(prompt)
        for attempt in range(_ATTEMPTS):
            try:
                return self._parse(self._client.ask("POST", path, body, stop), prompt)
            except _PassingError as error:
                if attempt + 1 == _ATTEMPTS or stop.is_set():
                    raise HarnessError(f"{self._client.url}{path} answered something else than a completion: {error}") from None
        raise AssertionError("unreachable")

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

    def _parse(self, answer: Mapping[str, Any], prompt: Prompt) -> Completion:
        """HarnessError for a prompt that the server cut; :class:`_PassingError` for what is no completion."""
        try:
            choice = answer["choices"][0]
            message = choice.get("message") or {}
            text = message["content"] if self._config.served_api == "chat" else choice["text"]
            thoughts = message.get("reasoning_content") or message.get("reasoning") or ""
            reason = choice["finish_reason"]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _PassingError(f"{type(error).__name__} {error} in {_excerpt(json.dumps(answer).encode())}") from None
        if text is None and thoughts:  # the budget ended within the thoughts
            text = ""
        if not isinstance(text, str) or not isinstance(thoughts, str) or reason not in ("stop", "length"):
            raise _PassingError(f"finish_reason {reason!r} in {_excerpt(json.dumps(answer).encode())}")
        usage = answer.get("usage")
        read = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        if self._config.served_api == "completions" and isinstance(read, int) and read < len(prompt.ids):
            raise HarnessError(
                f"the server read {read} of {len(prompt.ids)} prompt tokens: it cuts prompts; give it a longer context (--max-model-len in "
                "vLLM) or ask for shorter --lengths"
            )
        text, thoughts = without_known(text), without_known(thoughts)  # a server that echoes the key
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Completion(text, ids, reason == "stop", thoughts)

    def close(self) -> None:
        """The server is not ours to end."""


def _unframed(prompt: Prompt) -> str:
    """What the user says, without the chat template that the prompt may be rendered in: the server has its own."""
    if not is_ours(prompt.request):
        return prompt.text  # documents of other lm-eval tasks are never rendered for such a server
    example = json.loads(prompt.request.doc["example"])
    plain = str(example["prompt"] + example["answer_prefix"])
    return plain if prompt.text == plain else str(example["prompt"])


def _served_name(client: Client, asked: str) -> str:
    """What the server calls the model. HarnessError if it has not got it, or has several and none was asked for."""
    names = client.models()
    if asked:
        if names and asked not in names:
            raise HarnessError(f"{client.url} has no model {asked!r}; it has {', '.join(names)}: choose with --served-model")
        return asked
    if len(names) != 1:
        raise HarnessError(f"{client.url} has {len(names)} models ({', '.join(names) or 'none'}); name one with --served-model")
    return names[0]
