"""transformers, in this process, through lm-eval's own backend."""

import gc
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from harness.api import Model
from harness.engines import thinking
from harness.engines.attention import share_keys
from harness.engines.cache import RoomyCache, Stack, has_plain_cache
from harness.engines.gumbel import sampled
from harness.engines.lm import Batch, Completion, Failed, Prompt
from harness.engines.memory import give_back, is_out_of_memory
from harness.engines.options import EngineConfig
from harness.engines.weights import REPORTING, checked, known_tokens
from harness.models.footprint import most_numbers
from harness.models.loading import check_end, check_known, loading, try_tokenizer

if TYPE_CHECKING:
    from transformers import GenerationConfig

#: Bytes that the logits of one batch of log-likelihoods may take: lm-eval holds them for every token, three times in float32.
_LOGITS_BYTES: Final = 4 << 30


class HFBackend(HFLM):
    """Implements :class:`harness.engines.lm.Backend`; keeps the token ids that lm-eval decodes.

    Where the chat template can switch thoughts off, they are on only with a budget.
    """

    generated: torch.Tensor
    _rows: Sequence[Prompt] = ()
    """The batch that is being answered."""

    def __init__(self, model: Model, config: EngineConfig) -> None:
        share_keys()
        with loading(model.path, most_numbers(model.path)):
            super().__init__(
                pretrained=str(model.path),
                tokenizer=str(model.path),
                device=config.device,
                dtype=config.dtype,
                batch_size=1,
                trust_remote_code=model.trust_remote_code,
                enable_thinking=config.think_tokens > 0,
                think_end_token=thinking.END if config.think_tokens else None,
            )
        try_tokenizer(self.tokenizer, model.path)
        check_end(self.eot_token_id, model.path)
        self._path = model.path
        self._known = known_tokens(self.model)
        check_known((self.tokenizer.pad_token_id or 0,), self._known, model.path)

    def tok_encode(self, string: str, *args: Any, **options: Any) -> list[int]:
        """Encode as lm-eval does it. HarnessError for a token that the model does not know."""
        ids: list[int] = super().tok_encode(string, *args, **options)
        check_known(ids, self._known, self._path)
        return ids

    def _create_model(self, pretrained: str, *, trust_remote_code: bool, **options: Any) -> None:
        """As lm-eval does; no weight may be missing or no number, and of ``generation_config.json`` only the tokens are taken."""
        super()._create_model(pretrained, trust_remote_code=trust_remote_code, **REPORTING, **options)
        loaded: Any = vars(self)["_model"]  # with what transformers found, which lm-eval does not look at
        self._model = checked(Path(pretrained), *loaded, trust_remote_code=trust_remote_code)
        self._model.generation_config = _tokens_alone(self._model.generation_config)

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any) -> torch.Tensor:
        if self._rows and self._rows[0].seed is not None:
            seeds = [row.seed for row in self._rows if row.seed is not None]
            kwargs |= {"logits_processor": sampled(kwargs["temperature"], seeds, context.device), "do_sample": False, "temperature": 0.0}
        if has_plain_cache(self.model):
            kwargs["past_key_values"] = self._read(context, kwargs["attention_mask"].bool(), max_length)
        output: torch.Tensor = super()._model_generate(context, max_length, stop, **kwargs)
        self.generated = output[:, context.shape[1] :]
        return output

    @torch.no_grad()
    def _read(self, context: torch.Tensor, mask: torch.Tensor, max_length: int) -> RoomyCache:
        """The cache of what is before each row's last token, where rows are padded on the left; otherwise an empty one.

        A row is read by itself, without padding: attention then needs no mask, which would hold a square of the length and make attention
        kernels do the half that causality spares them. Answers are written together.
        """
        if mask.all():
            return RoomyCache()
        batch = Stack(len(context), context.shape[1] - 1, max_length - context.shape[1] + 1)
        for row, (ids, real) in enumerate(zip(context, mask, strict=True)):
            own = RoomyCache()
            self.model(input_ids=ids[real][None, :-1], past_key_values=own, use_cache=True, logits_to_keep=1)
            batch.put(row, own.contents())
        return batch.cache()

    def generate(self, prompts: Sequence[Prompt], batch: Batch) -> Iterator[dict[str, Completion | Failed]]:
        """Answer a batch at a time. One that does not fit in memory is halved, down to a single prompt, which then has failed."""
        done = 0
        while done < len(prompts):
            rows = _first_batch(prompts[done:], batch.tokens)
            answers = self._answers(rows)
            if answers is None:
                give_back()
                tokens = len(rows[0].ids) * len(rows)
                if len(rows) > 1:
                    batch.halve(tokens)
                    continue
                answers = {rows[0].example: Failed(f"a prompt of {tokens} tokens did not fit in memory even alone")}
            done += len(rows)
            yield answers

    def _answers(self, rows: Sequence[Prompt]) -> dict[str, Completion | Failed] | None:
        """None if memory ran out."""
        self.batch_size_per_gpu = len(rows)
        self._rows = rows
        try:
            texts = self.generate_until([prompt.request for prompt in rows], disable_tqdm=True)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        until = [stop for stop in rows[0].settings["until"] if stop]
        return {prompt.example: self._completion(row, texts[row], until) for row, prompt in enumerate(rows)}

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
        """Ask in batches whose logits fit the memory."""
        room = min(batch_tokens, _LOGITS_BYTES // (3 * 4 * self.model.config.get_text_config().vocab_size))
        self.batch_size_per_gpu = max(1, room // longest)
        found: list[tuple[float, bool]] = self.loglikelihood(requests, disable_tqdm=True)
        return found

    def rolling_log_likelihoods(self, requests: list[Instance]) -> list[float]:
        """Ask a window at a time."""
        self.batch_size_per_gpu = 1
        found: list[float] = self.loglikelihood_rolling(requests, disable_tqdm=True)
        return found

    def close(self) -> None:
        """Free the weights now: a training process may want the device next."""
        del self._model
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _tokens_alone(asked: "GenerationConfig") -> "GenerationConfig":
    """Settings with the end, pad and begin tokens of ``asked`` and nothing else: penalties and limits would change greedy answers."""
    from transformers import GenerationConfig

    tokens = {name: getattr(asked, name) for name in ("eos_token_id", "pad_token_id", "bos_token_id")}
    return GenerationConfig(**tokens)


def _first_batch(prompts: Sequence[Prompt], batch_tokens: int) -> Sequence[Prompt]:
    """The first prompts with equal settings, at most ``batch_tokens`` padded tokens; never none.

    The order within a batch is that of lm-eval's own collator, so that row i of what was generated belongs to prompt i.
    """
    most = max(1, batch_tokens // max(1, len(prompts[0].ids)))
    return list(takewhile(lambda prompt: prompt.settings == prompts[0].settings, prompts[:most]))
