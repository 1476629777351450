"""Sampling with transformers, whose outcome depends on the prompt's number and the seed alone.

With one generator for each row (:mod:`harness.engines.gumbel`), a row's draws do not depend on which others share its batch, as they
would with one generator for the whole batch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeAlias

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from harness.engines import gumbel
from harness.engines.cache import RoomyCache, has_plain_cache
from harness.engines.memory import give_back, is_out_of_memory
from retmask.ablate import ablated
from retmask.masks import HeadMask
from retmask.model import encode, generate, load_model, load_tokenizer, pad_id, plain_generation, render, stop_ids
from retmask.responses import Response, Sampling, append_responses, check_complete, resume_responses
from retmask.turns import UserTurn, user_turn

Slot: TypeAlias = tuple[int, int]
"""(prompt's index, response's number)."""
_BATCH_TOKENS: Final = 16_384


class HFSampler:
    """Implements :class:`retmask.responses.Sampler` with transformers."""

    def __init__(self, model: Path, dtype: str, device: str) -> None:
        self.path = model
        self.tokenizer = load_tokenizer(model)
        self.model: PreTrainedModel | None = load_model(model, dtype, device)

    def __enter__(self) -> "HFSampler":
        return self

    def __exit__(self, *_: object) -> None:
        self.model = None

    def sample(
        self,
        prompts: Sequence[str],
        settings: Sampling,
        mask: HeadMask | None,
        journal: Path,
        say: Callable[[str], None] = lambda _: None,
    ) -> list[Response]:
        """As the protocol says."""
        assert self.model is not None, "the sampler was closed"
        with ablated(self.model, mask) if mask else nullcontext():
            return sample(self.model, self.tokenizer, prompts, settings, journal, say)

    def user_turns(self, count: int, settings: Sampling, journal: Path, say: Callable[[str], None] = lambda _: None) -> list[Response]:
        """As the protocol says."""
        assert self.model is not None, "the sampler was closed"
        turn = user_turn(self.tokenizer, str(self.path))
        ids = encode(self.tokenizer, turn.opening)
        return _draw(self.model, self.tokenizer, lambda _: ids, count, settings, journal, say, _BATCH_TOKENS, turn)


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    settings: Sampling,
    journal: Path,
    say: Callable[[str], None] = lambda _: None,
    batch_tokens: int = _BATCH_TOKENS,
) -> list[Response]:
    """``settings.n`` responses to each prompt, in their order; see :meth:`retmask.responses.Sampler.sample`.

    ``batch_tokens`` bounds prompt and new tokens of a batch together; it has no part in what is drawn.
    """

    def encoded(prompt: int) -> list[int]:
        return encode(tokenizer, render(tokenizer, prompts[prompt]))

    return _draw(model, tokenizer, encoded, len(prompts), settings, journal, say, batch_tokens)


def _draw(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Callable[[int], list[int]],
    count: int,
    settings: Sampling,
    journal: Path,
    say: Callable[[str], None],
    batch_tokens: int,
    turn: UserTurn | None = None,
) -> list[Response]:
    """``settings.n`` responses to each of ``count`` prompts, whose token ids ``encoded`` gives; they end as ``turn`` does, if given."""
    done = resume_responses(journal, say)
    slots = [(prompt, number) for prompt in range(count) for number in range(settings.n)]
    ids = {prompt: encoded(prompt) for prompt in {slot[0] for slot in slots if slot not in done}}
    coded = {slot: ids[slot[0]] for slot in slots if slot not in done}
    if done:
        say(f"{len(done)} of {len(slots)} responses were already there")
    waiting = sorted(coded, key=lambda slot: -len(coded[slot]))  # a batch that does not fit in memory fails at once, not after hours
    failed: list[Slot] = []
    while waiting:
        batch = _first_batch(waiting, coded, settings.max_new_tokens, batch_tokens)
        fresh = _sampled(model, tokenizer, {slot: coded[slot] for slot in batch}, settings, turn)
        if fresh is None:
            give_back()
            tokens = len(batch) * (len(coded[batch[0]]) + settings.max_new_tokens)
            if len(batch) > 1:
                batch_tokens = tokens // 2
                say(f"a batch of {tokens} tokens did not fit in memory; going on with {batch_tokens}")
                continue
            failed += batch
        waiting = waiting[len(batch) :]
        if fresh:
            append_responses(journal, fresh)
            done |= {(response.prompt, response.number): response for response in fresh}
            say(f"{len(done)} of {len(slots)} responses")
    check_complete([prompt for prompt, _ in failed], max((len(coded[slot]) for slot in failed), default=0))
    return [done[slot] for slot in slots]


class GumbelNoise(gumbel.GumbelNoise):
    """Noise that a row's prompt and number seed."""

    def __init__(self, seed: int, rows: Sequence[Slot], device: torch.device) -> None:
        super().__init__([_row_seed(seed, row) for row in rows], device)


def warpers(settings: Sampling, rows: Sequence[Slot], device: torch.device) -> LogitsProcessorList:
    """The logits processors that make greedy decoding sample as ``settings`` say."""
    if settings.temperature == 0:
        return LogitsProcessorList()
    processors = LogitsProcessorList([TemperatureLogitsWarper(settings.temperature)])
    if settings.top_p < 1:
        processors.append(TopPLogitsWarper(settings.top_p))
    processors.append(GumbelNoise(settings.seed, rows, device))
    return processors


class _Wrote(StoppingCriteria):
    """Ends the rows that have just written a text of several tokens."""

    def __init__(self, text: str, tokenizer: PreTrainedTokenizerBase) -> None:
        self.text, self.tokenizer = text, tokenizer
        self.tokens = len(text.encode()) + 1  # a token is a byte or more; one is only there for the blank that the first may lose

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        """``input_ids`` is [batch, tokens]; the rows that end are true."""
        said = self.tokenizer.batch_decode(input_ids[:, -self.tokens :].tolist(), skip_special_tokens=True)
        return torch.tensor([self.text in text for text in said], device=input_ids.device)


def _row_seed(seed: int, slot: Slot) -> int:
    prompt, number = slot
    text = f"{seed}:{prompt}" if number == 0 else f"{seed}:{prompt}:{number}"
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")


def _first_batch(waiting: Sequence[Slot], coded: Mapping[Slot, Sequence[int]], new_tokens: int, batch_tokens: int) -> Sequence[Slot]:
    """Prompts of similar length together, never none; ``waiting`` has the longest first."""
    return waiting[: max(1, batch_tokens // (len(coded[waiting[0]]) + new_tokens))]


def _sampled(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    coded: Mapping[Slot, Sequence[int]],
    settings: Sampling,
    turn: UserTurn | None,
) -> list[Response] | None:
    """None if memory ran out."""
    try:
        return _sample_batch(model, tokenizer, coded, settings, turn)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _sample_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    coded: Mapping[Slot, Sequence[int]],
    settings: Sampling,
    turn: UserTurn | None,
) -> list[Response]:
    pad, stops = pad_id(tokenizer), [*stop_ids(model, tokenizer), *(turn.stop_ids if turn else ())]
    width = max(map(len, coded.values()))
    rows = [[pad] * (width - len(ids)) + list(ids) for ids in coded.values()]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in coded.values()]
    generation = plain_generation(model, tokenizer, settings.max_new_tokens)
    generation.eos_token_id = stops or None
    stop_text = turn.stop_text if turn else ""
    cache = {"past_key_values": RoomyCache()} if has_plain_cache(model) else {}  # transformers' own is copied for every token
    with torch.inference_mode():
        output = generate(model)(
            **cache,
            input_ids=torch.tensor(rows, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=generation,
            logits_processor=warpers(settings, list(coded), model.device),
            stopping_criteria=StoppingCriteriaList([_Wrote(stop_text, tokenizer)] if stop_text else []),
        )
    responses = []
    for (prompt, number), row in zip(coded, output[:, width:].tolist(), strict=True):
        end = next((position + 1 for position, token in enumerate(row) if token in stops), None)
        ids = row[:end]
        text = str(tokenizer.decode(ids, skip_special_tokens=True))
        if stop_text and stop_text in text:
            end = next(size for size in range(1, len(ids) + 1) if stop_text in tokenizer.decode(ids[:size], skip_special_tokens=True))
            ids, text = ids[:end], text.partition(stop_text)[0]
        responses.append(Response(prompt, text, tuple(ids), end is not None, number))
    return responses
