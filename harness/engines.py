"""Backends that generate, as lm-eval language models. The only module of ``harness`` that loads torch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM

from harness import thinking
from harness.api import HarnessError, Model
from harness.journal import Generation, Journal

#: Names of ``--backend``.
BACKENDS: Final = ("hf",)


class _RecordingHFLM(HFLM):
    """lm-eval's transformers backend, keeping the token ids that it decodes."""

    generated: torch.Tensor

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any) -> torch.Tensor:
        output: torch.Tensor = super()._model_generate(context, max_length, stop, **kwargs)
        self.generated = output[:, context.shape[1] :]
        return output


def load_hf(model: Model, *, device: str, dtype: str, think_tokens: int = 0) -> "HarnessLM":
    """A Hugging Face checkpoint through transformers. Where its chat template can switch thoughts off, they are on only with a budget."""
    try:
        inner = _RecordingHFLM(
            pretrained=str(model.path),
            tokenizer=str(model.path),
            device=device,
            dtype=dtype,
            batch_size=1,
            trust_remote_code=False,
            enable_thinking=think_tokens > 0,
            think_end_token=thinking.END if think_tokens else None,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise HarnessError(f"transformers cannot load {model.path}: {str(error).strip().splitlines()[0]}") from None
    return HarnessLM(inner, think_tokens)


class HarnessLM(LM):
    """Journals, batches by length and reports progress around an lm-eval backend.

    Prompts are never truncated: the suite fits them to the length beforehand, and a longer one is an error.
    """

    def __init__(self, inner: _RecordingHFLM, think_tokens: int = 0) -> None:
        super().__init__()
        self._inner = inner
        self._think_tokens = think_tokens
        self.journal: Journal
        self.batch_tokens: int
        self.advance: Callable[[int], None] = lambda done: None

    @property
    def tokenizer_name(self) -> str:
        return str(self._inner.tokenizer_name)

    @property
    def tokenizer(self) -> Any:
        return self._inner.tokenizer

    @property
    def has_chat_template(self) -> bool:
        return self._inner.tokenizer.chat_template is not None

    def chat_template(self, chat_template: bool | str = False) -> str:
        return str(self._inner.chat_template(chat_template))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(self._inner.apply_chat_template(chat_history, add_generation_prompt))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return self._inner.loglikelihood(requests)  # type: ignore[no-any-return]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return self._inner.loglikelihood_rolling(requests)  # type: ignore[no-any-return]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        waiting = [request for request in requests if _example_id(request) not in self.journal.finished]
        self.advance(len(requests) - len(waiting))
        for batch, sizes in self._batches(waiting):
            outputs = self._inner.generate_until([self._with_thoughts(request) for request in batch], disable_tqdm=True)
            self.journal.append(
                {
                    _example_id(request): self._generation(row, request, output, sizes[row])
                    for row, (request, output) in enumerate(zip(batch, outputs, strict=True))
                }
            )
            self.advance(len(batch))
        return [self.journal.finished[_example_id(request)].output for request in requests]

    def _batches(self, requests: Sequence[Instance]) -> Iterator[tuple[list[Instance], list[int]]]:
        """Requests of like length and equal settings, at most ``batch_tokens`` padded tokens, longest first; with their prompts' tokens.

        The order within a batch is that of lm-eval's own collator, so that row i of what was generated belongs to request i.
        """
        sized = [(len(self._inner.tok_encode(request.args[0])), request) for request in requests]
        sized.sort(key=lambda item: (sorted(map(str, item[1].args[1].items())), -item[0], item[1].args[0]))
        batch: list[Instance] = []
        sizes: list[int] = []
        for size, request in sized:
            room = self._inner.max_length - request.args[1]["max_gen_toks"] - self._think_tokens
            if size > room:
                raise HarnessError(
                    f"{_example_id(request)} has {size} prompt tokens and the model takes {room} beside its answer; use shorter --lengths"
                )
            if batch and (request.args[1] != batch[0].args[1] or sizes[0] * (len(batch) + 1) > self.batch_tokens):
                yield batch, sizes
                batch, sizes = [], []
            batch.append(request)
            sizes.append(size)
            self._inner.batch_size_per_gpu = max(len(batch), 1)
        if batch:
            yield batch, sizes

    def _with_thoughts(self, request: Instance) -> Instance:
        """The request with room for thoughts before the answer."""
        if not self._think_tokens:
            return request
        prompt, settings = request.args
        more = {**settings, "max_gen_toks": settings["max_gen_toks"] + self._think_tokens}
        return replace(request, arguments=(prompt, more))

    def _generation(self, row: int, request: Instance, output: str, prompt_tokens: int) -> Generation:
        ids = self._inner.generated[row].tolist()
        ends = {self._inner.eot_token_id, self._inner.tokenizer.pad_token_id}
        length = next((index for index, token in enumerate(ids) if token in ends), None)
        ids = ids[:length]
        if not self._think_tokens:
            return Generation(output, prompt_tokens, len(ids), "length" if length is None else "stop")
        decode = self._inner.tokenizer.decode
        prompt, settings = request.args
        parts = thinking.split(
            ids,
            length is not None,
            decode,
            opened=prompt.rstrip().endswith(thinking.START),
            budget=self._think_tokens,
            answer_budget=settings["max_gen_toks"],
        )
        return Generation(
            decode(ids[parts.answer], skip_special_tokens=True),
            prompt_tokens,
            len(ids[parts.answer]),
            "stop" if parts.complete else "length",
            thinking=decode(ids[: parts.thinking]),
            thinking_tokens=parts.thinking,
        )


def _example_id(request: Instance) -> str:
    return str(request.doc["id"])
