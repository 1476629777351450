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
from harness.screen.progress import Clock
from retmask.decode import decode, forward
from retmask.heads.ablate import ablated
from retmask.heads.masks import HeadMask
from retmask.model import encode, generate, load_model, load_tokenizer, pad_id, plain_generation, render, stop_ids
from retmask.pairs.responses import Begun, Response, Sampling, append_responses, check_complete, resume_responses
from retmask.pairs.turns import UserTurn, user_turn

Slot: TypeAlias = tuple[int, int]
"""(prompt's index, response's number)."""
_BATCH_TOKENS: Final = 16_384


class HFSampler:
    """Implements :class:`retmask.pairs.responses.Sampler` with transformers."""

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
        """Sample as the protocol says."""
        assert self.model is not None, "the sampler was closed"
        with ablated(self.model, mask) if mask else nullcontext():
            return sample(self.model, self.tokenizer, prompts, settings, journal, say)

    def user_turns(
        self, count: int, settings: Sampling, journal: Path, say: Callable[[str], None] = lambda _: None, begun: Begun | None = None
    ) -> list[Response]:
        """Write turns as the protocol says."""
        assert self.model is not None, "the sampler was closed"
        turn = user_turn(self.tokenizer, str(self.path))
        ids = encode(self.tokenizer, turn.opening)

        def encoded(number: int) -> list[int]:
            return ids if begun is None else encode(self.tokenizer, turn.opening + begun(number))

        return _draw(self.model, self.tokenizer, encoded, count, settings, journal, say, _BATCH_TOKENS, turn)


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    settings: Sampling,
    journal: Path,
    say: Callable[[str], None] = lambda _: None,
    batch_tokens: int = _BATCH_TOKENS,
) -> list[Response]:
    """Sample ``settings.n`` responses to each prompt, in their order; see :meth:`retmask.pairs.responses.Sampler.sample`.

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
    clock = Clock(len(slots), len(done))
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
            say(f"{len(done)} of {len(slots)} responses{clock.left(len(done))}")
    check_complete([prompt for prompt, _ in failed], max((len(coded[slot]) for slot in failed), default=0))
    return [done[slot] for slot in slots]


class GumbelNoise(gumbel.GumbelNoise):
    """Noise that a row's prompt and number seed."""

    def __init__(self, seed: int, rows: Sequence[Slot], device: torch.device) -> None:
        super().__init__([_row_seed(seed, row) for row in rows], device)


class Chooser:
    """Draws tokens as ``settings`` say: the arg-max where the temperature is 0."""

    def __init__(self, settings: Sampling, rows: Sequence[Slot], device: torch.device) -> None:
        self.processors = LogitsProcessorList()
        self._noise = GumbelNoise(settings.seed, rows, device)
        if settings.temperature == 0:
            return
        self.processors.append(TemperatureLogitsWarper(settings.temperature))
        if settings.top_p < 1:
            self.processors.append(TopPLogitsWarper(settings.top_p))
        self.processors.append(self._noise)

    def __call__(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """Tokens [rows], given logits [rows, vocabulary] and which of the batch's first rows they belong to."""
        self._noise.rows = rows
        nothing = torch.empty((len(rows), 0), dtype=torch.long, device=logits.device)
        return self.processors(nothing, logits.float()).argmax(dim=-1)  # type: ignore[arg-type]


class _Ends:
    """Knows when an answer ends: at a token, or having written a text of several tokens."""

    def __init__(self, stops: Sequence[int], text: str, tokenizer: PreTrainedTokenizerBase) -> None:
        self.stops, self.text, self.tokenizer = frozenset(stops), text, tokenizer
        self.tokens = len(text.encode()) + 1  # a token is a byte or more; one is only there for the blank that the first may lose

    def __call__(self, row: int, written: Sequence[int]) -> bool:
        if written[-1] in self.stops:
            return True
        return bool(self.text) and self.text in self.tokenizer.decode(list(written[-self.tokens :]), skip_special_tokens=True)


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
    ends = _Ends([*stop_ids(model, tokenizer), *(turn.stop_ids if turn else ())], turn.stop_text if turn else "", tokenizer)
    chooser = Chooser(settings, list(coded), model.device)
    with torch.inference_mode():
        write = _write if has_plain_cache(model) else _generate
        written = write(model, pad_id(model, tokenizer), list(coded.values()), chooser, ends, settings.max_new_tokens)
    return [_response(slot, row, ends) for slot, row in zip(coded, written, strict=True)]


def _write(
    model: PreTrainedModel, pad: int, prompts: Sequence[Sequence[int]], chooser: Chooser, ends: _Ends, limit: int
) -> list[list[int]]:
    """Answers' token ids; rows that are done leave the batch."""
    ids, mask = _padded(prompts, pad, model.device)
    lengths = mask.sum(dim=-1)
    cache = RoomyCache()
    positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
    logits = forward(model, cache, ids, mask, positions)
    return decode(model, cache, logits, lengths, chooser, ends, limit)


def _generate(
    model: PreTrainedModel, pad: int, prompts: Sequence[Sequence[int]], chooser: Chooser, ends: _Ends, limit: int
) -> list[list[int]]:
    """Answers' token ids by transformers' own loop, for models that remember more than keys and values."""
    ids, mask = _padded(prompts, pad, model.device)
    generation = plain_generation(model, ends.tokenizer, limit)
    generation.eos_token_id = sorted(ends.stops) or None
    output = generate(model)(
        input_ids=ids,
        attention_mask=mask,
        generation_config=generation,
        logits_processor=chooser.processors,
        stopping_criteria=StoppingCriteriaList([_Wrote(ends, ids.shape[1])] if ends.text else []),
    )
    rows = output[:, ids.shape[1] :].tolist()
    return [row[: next((size for size in range(1, len(row) + 1) if ends(0, row[:size])), len(row))] for row in rows]


class _Wrote(StoppingCriteria):
    """Ends the rows that have just written the text that ends them."""

    def __init__(self, ends: _Ends, width: int) -> None:
        self.ends, self.width = ends, width

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        """``input_ids`` is [rows, tokens]; the rows that end are true."""
        return torch.tensor([self.ends(0, row) for row in input_ids[:, self.width :].tolist()], device=input_ids.device)


def _padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, [rows, longest], aligned at the ends."""
    width = max(map(len, prompts))
    rows = [[pad] * (width - len(ids)) + list(ids) for ids in prompts]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
    return torch.tensor(rows, device=device), torch.tensor(mask, device=device)


def _response(slot: Slot, ids: Sequence[int], ends: _Ends) -> Response:
    """The answer without the text that ended it."""
    text = str(ends.tokenizer.decode(list(ids), skip_special_tokens=True))
    if ends.text:
        text = text.partition(ends.text)[0]
    return Response(slot[0], text, tuple(ids), ends(0, ids), slot[1])
