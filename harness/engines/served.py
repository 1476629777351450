"""A server that is already running and speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, a gateway.

``completions`` sends token ids, exactly those that the suite was fitted with; where a server takes none, the prompt's text, if the server
counts as many tokens in each. ``chat`` sends messages, which the server puts into its own template. What the server says it read is
compared with what was sent, so that it cannot cut a prompt unnoticed. What a server would do to the model's choice of its own accord, such
as llama-cpp-python's penalty of 1.1 on every token that was there before, is set to nothing in every request.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from harness.api import HarnessError, Json, Model
from harness.engines.lm import Batch, Completion, Failed, Prompt, is_ours
from harness.engines.options import EngineConfig
from harness.engines.servers.client import FILTERED, Client, PassingError, RefusedError, Stop, WithheldError, excerpt
from harness.engines.servers.identity import served_name
from harness.models.footprint import ModelShape
from harness.models.tokenizers import load_tokenizer
from harness.models.tokens import token_ids
from harness.screen.progress import say
from harness.screen.redact import without_known
from reports.safe import encodable

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase

#: Characters that no token is longer than: what a server writes beyond so many for each token that was asked for was not asked for.
_LONGEST_TOKEN: Final = 256
#: More tokens than any model takes.
UNBOUNDED: Final = 1 << 30
_WITHHELD: Final = f"the server withheld an answer ({FILTERED})"
#: Tokens that the ends of the user's words may make together with what a template writes around them.
_JOINED: Final = 2
#: What servers call an answer that ended by itself; the last two are TGI's.
_ENDED: Final = ("stop", "eos_token", "stop_sequence")
#: What leaves the model's choice as it is, in the words of OpenAI, llama.cpp and vLLM. Servers pass over unknown words, or refuse them.
_NEUTRAL: Final[dict[str, Json]] = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "repeat_penalty": 1.0, "repetition_penalty": 1.0}
#: The same for answers that are sampled.
_WHOLE: Final[dict[str, Json]] = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
#: What servers answer that refuse a word they do not know.
_UNKNOWN: Final = (400, 422)
_STRANGE: Final = ("unknown", "unrecognized", "unsupported", "unexpected", "extra", "not permitted")
#: What servers answer that take no token ids.
_NO_IDS: Final = (400, 415, 422, 500, 501)


class Served:
    """Implements :class:`harness.engines.lm.Backend`. The tokenizer is that of the model's local directory."""

    _is_told = False
    """Whether the person watching knows that this server does not say what it reads."""
    _takes_ids: bool | None = None
    """Whether the server takes token ids; None until it has answered. Otherwise the prompts go as text."""
    _is_neutral: bool | None = None
    """Whether the server takes :data:`_NEUTRAL`; None until it has answered."""
    _skipped = ""
    """What the server writes before a text by itself, so that the text goes without it."""

    def __init__(self, model: Model, config: EngineConfig) -> None:
        self._set_up(load_tokenizer(model), ModelShape.read(model).context or UNBOUNDED, model.path.name, config)

    def _set_up(self, tokenizer: "PreTrainedTokenizerBase", context: int, name: str, config: EngineConfig) -> None:
        """Keep what is known of the model, and find it on the server."""
        self.tokenizer = tokenizer
        self._context, self._path_name, self._config = context, name, config
        self._client = Client(config.url.rstrip("/"), config.timeout)
        self._name = served_name(self._client, config.served_model)

    @property
    def says_what_it_reads(self) -> bool:
        """Whether every answer so far told how many tokens of the prompt were read."""
        return not self._is_told

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
        body = self._body(prompt)

        def otherwise(error: PassingError | RefusedError) -> Completion | Failed | None:
            if self._refuses_words(error):
                with suppress(PassingError, RefusedError):
                    return self._parse(self._plainly(prompt, stop), prompt)
            ids = isinstance(body.get("prompt"), list) and self._takes_ids is not True
            return self._as_text(prompt, stop) if ids and error.status in _NO_IDS else None

        def take(answer: dict[str, Any]) -> Completion | Failed:
            found = self._parse(answer, prompt)
            if self._takes_ids is None:
                self._takes_ids = True
            if self._is_neutral is None:
                self._is_neutral = True
            return found

        try:
            return self._client.read(take, "POST", self._path, body, stop, otherwise)
        except WithheldError:
            return Failed(_WITHHELD)

    @property
    def _path(self) -> str:
        return "/chat/completions" if self._config.served_api == "chat" else "/completions"

    def _refuses_words(self, error: PassingError | RefusedError) -> bool:
        """Whether the server may not know :data:`_NEUTRAL`, as its refusal would say."""
        return self._is_neutral is None and error.status in _UNKNOWN and any(word in str(error).lower() for word in (*_NEUTRAL, *_STRANGE))

    def _plainly(self, prompt: Prompt, stop: Stop, text: str | None = None) -> dict[str, Any]:
        """Send one request, as ``text`` if there is one, in OpenAI's own words alone, and all from now on if that is what it wants."""
        body = self._body(prompt, neutral=False)
        answer = self._client.once("POST", self._path, body if text is None else {**body, "prompt": text}, stop)
        if self._is_neutral is None:
            self._is_neutral = False
            say(f"{self._client.url} refuses {', '.join(_NEUTRAL)}: if it penalizes repetition by itself, nobody can tell it not to")
        return answer

    def _once_as_text(self, prompt: Prompt, text: str, stop: Stop) -> dict[str, Any]:
        try:
            return self._client.once("POST", self._path, {**self._body(prompt), "prompt": text}, stop)
        except RefusedError as error:
            if not self._refuses_words(error):
                raise
            return self._plainly(prompt, stop, text)

    def _as_text(self, prompt: Prompt, stop: Stop) -> Completion | Failed | None:
        """Ask with the prompt's text, and do so from now on if the server reads as many tokens in it as were counted.

        None where no answer comes; HarnessError where it refuses the text too, reads another number of tokens in it, or does not say.
        """
        begin = self.tokenizer.bos_token or ""
        read: object = None
        for skipped in ("", begin) if begin and prompt.text.startswith(begin) else ("",):
            try:
                answer = self._once_as_text(prompt, prompt.text[len(skipped) :], stop)
            except PassingError:
                return None
            read = _usage(answer).get("prompt_tokens")
            if read == len(prompt.ids):
                if self._takes_ids is None:
                    self._skipped, self._takes_ids = skipped, False
                    say(f"{self._client.url} takes no token ids: prompts go as text, in which it counts the same number of tokens")
                return self._parse(answer, prompt)
        raise HarnessError(self._other_tokens(read, prompt))

    def _other_tokens(self, read: object, prompt: Prompt) -> str:
        counted = f"counts {read} tokens in" if type(read) is int else "does not say how many tokens it reads (usage) of"
        return (
            f"{self._client.url} takes no token ids, and {counted} a prompt of {len(prompt.ids)}: it may read another prompt than was "
            "meant, or cut it; ask it with --served-api chat"
        )

    def _body(self, prompt: Prompt, *, neutral: bool = True) -> dict[str, Json]:
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
        neutral = neutral and self._is_neutral is not False
        body |= _NEUTRAL if neutral else {}
        if prompt.seed is not None:  # the whole distribution, whatever the server takes by itself
            body |= {"seed": prompt.seed, **(_WHOLE if neutral else {"top_p": 1.0})}
        if self._config.served_api == "chat":
            return {**body, "messages": [{"role": "user", "content": _unframed(prompt)}]}
        if self._takes_ids is False:
            return {**body, "prompt": prompt.text.removeprefix(self._skipped)}
        return {**body, "prompt": list(prompt.ids)}

    def _parse(self, answer: Mapping[str, Any], prompt: Prompt) -> Completion | Failed:
        """HarnessError for a prompt that the server cut; :class:`PassingError` for what is no completion."""
        try:
            choice = answer["choices"][0]
            if choice["finish_reason"] == FILTERED:
                return Failed(_WITHHELD)
            message = choice.get("message") or {}
            text = message["content"] if self._config.served_api == "chat" else choice["text"]
            thoughts = message.get("reasoning_content") or message.get("reasoning") or ""
            reason = choice["finish_reason"]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise PassingError(
                f"it was something else than a completion: {type(error).__name__} {error} in {excerpt(json.dumps(answer).encode())}"
            ) from None
        if text is None and thoughts:  # the budget ended within the thoughts
            text = ""
        if not isinstance(text, str) or not isinstance(thoughts, str) or reason not in (*_ENDED, "length"):
            raise PassingError(
                f"it was something else than a completion: finish_reason {reason!r} in {excerpt(json.dumps(answer).encode())}"
            )
        counts = _usage(answer)
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
        return Completion(text, ids, reason in _ENDED, thoughts)

    def _check_read(self, read: object, prompt: Prompt) -> None:
        """HarnessError if the server cut the prompt; a line, once, where it does not say what it read."""
        if self._takes_ids is False and read != len(prompt.ids):
            raise HarnessError(self._other_tokens(read, prompt))
        if type(read) is not int:
            if not self._is_told:
                self._is_told = True
                say(
                    f"{self._client.url} does not say how much of a prompt it reads (usage): if it cuts prompts, nobody sees it; "
                    "--probe-context tries it with a long one first"
                )
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


def _usage(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    usage = answer.get("usage")
    return usage if isinstance(usage, dict) else {}


def _unframed(prompt: Prompt) -> str:
    """What the user says, without the chat template that the prompt may be rendered in: the server has its own."""
    if not is_ours(prompt.request):
        return prompt.text  # documents of other lm-eval tasks are never rendered for such a server
    example = json.loads(prompt.request.doc["example"])
    plain = str(example["prompt"] + example["answer_prefix"])
    return plain if prompt.text == plain else str(example["prompt"])
