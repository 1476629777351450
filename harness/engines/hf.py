"""transformers, in this process, through lm-eval's own backend."""

import gc
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from harness import thinking
from harness.api import HarnessError, Model
from harness.engines import EngineConfig
from harness.engines.lm import Completion, Prompt

#: Bytes that the logits of one batch of log-likelihoods may take: lm-eval holds them for every token, three times in float32.
_LOGITS_BYTES: Final = 4 << 30


class HFBackend(HFLM):
    """Implements :class:`harness.engines.lm.Backend`; keeps the token ids that lm-eval decodes.

    Where the chat template can switch thoughts off, they are on only with a budget.
    """

    generated: torch.Tensor

    def __init__(self, model: Model, config: EngineConfig) -> None:
        try:
            super().__init__(
                pretrained=str(model.path),
                tokenizer=str(model.path),
                device=config.device,
                dtype=config.dtype,
                batch_size=1,
                trust_remote_code=False,
                enable_thinking=config.think_tokens > 0,
                think_end_token=thinking.END if config.think_tokens else None,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise HarnessError(f"transformers cannot load {model.path}: {str(error).strip().splitlines()[0]}") from None

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any) -> torch.Tensor:
        output: torch.Tensor = super()._model_generate(context, max_length, stop, **kwargs)
        self.generated = output[:, context.shape[1] :]
        return output

    def generate(self, prompts: Sequence[Prompt], batch_tokens: int) -> Iterator[dict[str, Completion]]:
        """A batch at a time."""
        for batch in _batches(prompts, batch_tokens):
            self.batch_size_per_gpu = len(batch)
            texts = self.generate_until([prompt.request for prompt in batch], disable_tqdm=True)
            until = [stop for stop in batch[0].settings["until"] if stop]
            yield {prompt.example: self._completion(row, texts[row], until) for row, prompt in enumerate(batch)}

    def _completion(self, row: int, text: str, until: Sequence[str]) -> Completion:
        ids = self.generated[row].tolist()
        ends = {self.eot_token_id, self.tokenizer.pad_token_id}
        length = next((index for index, token in enumerate(ids) if token in ends), None)
        ids, ended = ids[:length], length is not None
        if self._stops(ids, until):  # lm-eval has cut the text there; the row went on until the last of its batch was done
            return Completion(text, ids[: bisect_left(range(len(ids)), True, key=lambda size: self._stops(ids[:size], until))], True)
        return Completion(text, ids, ended)

    def _stops(self, ids: list[int], until: Sequence[str]) -> bool:
        return bool(until) and any(stop in self.tokenizer.decode(ids, skip_special_tokens=True) for stop in until)

    def log_likelihoods(self, requests: list[Instance], longest: int, batch_tokens: int) -> list[tuple[float, bool]]:
        """In batches whose logits fit the memory."""
        room = min(batch_tokens, _LOGITS_BYTES // (3 * 4 * self.model.config.get_text_config().vocab_size))
        self.batch_size_per_gpu = max(1, room // longest)
        found: list[tuple[float, bool]] = self.loglikelihood(requests, disable_tqdm=True)
        return found

    def rolling_log_likelihoods(self, requests: list[Instance]) -> list[float]:
        """A window at a time."""
        self.batch_size_per_gpu = 1
        found: list[float] = self.loglikelihood_rolling(requests, disable_tqdm=True)
        return found

    def close(self) -> None:
        """Free the weights now: a training process may want the device next."""
        del self._model
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _batches(prompts: Sequence[Prompt], batch_tokens: int) -> Iterator[list[Prompt]]:
    """Prompts of like length and equal settings, at most ``batch_tokens`` padded tokens.

    The order within a batch is that of lm-eval's own collator, so that row i of what was generated belongs to prompt i.
    """
    batch: list[Prompt] = []
    for prompt in prompts:
        if batch and (prompt.settings != batch[0].settings or len(batch[0].ids) * (len(batch) + 1) > batch_tokens):
            yield batch
            batch = []
        batch.append(prompt)
    if batch:
        yield batch
