"""Greedy answers to needle questions, with the key that every head looked at most when it produced each token.

A trial takes one pass over what its prompt does not share with the one before (:mod:`retmask.heads.prefix_reader`) and over a guess at its
answer (:mod:`retmask.heads.speculation`). Where the guess is right, that is all. Where it is not, the trial goes on from its first wrong
token, together with others in one batch; one teacher-forced pass over those of the batch that count then shows what the heads looked at.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.engines.cache import LayerState, stack
from retmask.decode import decode, forward, places
from retmask.heads.prefix_reader import Reader, reading, reading_order
from retmask.heads.speculation import Drafts
from retmask.heads.trials import Trial

BATCH_TOKENS: Final = 16_384


class Answer(NamedTuple):
    """What a model said, and where its heads looked."""

    ids: tuple[int, ...]
    """Up to and including the token that ended it, if one did."""
    looked_at: NDArray[np.int64] | None
    """[layers, heads, steps]: the position each head attends to most when ``ids[step]`` is produced; None where it does not matter."""


Matters: TypeAlias = Callable[[Trial, Sequence[int]], bool]
"""Whether it matters what the heads looked at, given a trial and its answer's token ids."""
Settled: TypeAlias = Callable[[Trial, Sequence[int]], bool]
"""Whether enough of an answer is written, given its trial and the token ids so far."""
Guess: TypeAlias = Callable[[Trial], tuple[int, ...]]


def _never(_trial: Trial, _ids: Sequence[int]) -> bool:
    return False


@dataclass(frozen=True, eq=False)
class _Unfinished:
    """A trial whose answer goes on differently than was guessed."""

    index: int
    trial: Trial
    ids: list[int]
    """The answer so far; its last token is not in ``state``."""
    looked_at: Tensor
    state: list[LayerState]
    length: int
    """Tokens in ``state``."""


@dataclass(frozen=True)
class _Writing:
    """When an answer is done."""

    stops: Sequence[int]
    max_new_tokens: int
    settled: Settled

    def is_done(self, trial: Trial, ids: Sequence[int]) -> bool:
        return ids[-1] in self.stops or len(ids) >= self.max_new_tokens or self.settled(trial, ids)


def answer_trials(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trials: Sequence[Trial],
    stops: Sequence[int],
    max_new_tokens: int,
    batch_tokens: int = BATCH_TOKENS,
    finished: Callable[[int], None] = lambda _: None,
    matters: Matters = lambda trial, ids: True,
    settled: Settled = _never,
    guess: Guess | None = None,
) -> list[Answer]:
    """Answer the trials, in their order. ``batch_tokens`` is how many tokens are held, at the least, for trials to go on together.

    ``finished`` is called with the number of answers that are complete, as it grows. An answer ends where it is ``settled``, too; ``guess``
    stands in for :class:`retmask.heads.speculation.Drafts`.
    """
    answers: dict[int, Answer] = {}
    writing = _Writing(stops, max_new_tokens, settled)
    for found in _answers(model, tokenizer, trials, writing, batch_tokens, matters, guess):
        answers |= found
        finished(len(answers))
    return [answers[index] for index in range(len(trials))]


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trials: Sequence[Trial],
    writing: _Writing,
    batch_tokens: int,
    matters: Matters,
    guess: Guess | None,
) -> Iterator[dict[int, Answer]]:
    drafts = Drafts(tokenizer)
    same: dict[tuple[int, ...], list[int]] = {}
    for index, trial in enumerate(trials):
        same.setdefault(trial.prompt_ids, []).append(index)
    firsts = [indices[0] for indices in same.values()]
    pending: list[_Unfinished] = []

    def wanted(index: int, ids: Sequence[int]) -> bool:
        return any(matters(trials[each], ids) for each in same[trials[index].prompt_ids])

    def spread(index: int, answer: Answer) -> dict[int, Answer]:
        drafts.learn(trials[index], answer.ids, writing.stops)
        return dict.fromkeys(same[trials[index].prompt_ids], answer)

    with reading(model) as reader:
        for position in reading_order([trials[index].prompt_ids for index in firsts]):
            index = firsts[position]
            found = _try(reader, index, trials[index], (guess or drafts.guess)(trials[index]), writing)
            if isinstance(found, Answer):
                yield spread(index, found if wanted(index, found.ids) else found._replace(looked_at=None))
                continue
            pending.append(found)
            if len(pending) * max(each.length for each in pending) >= batch_tokens:
                for each in _go_on(reader, pending, writing, wanted):
                    yield spread(*each)
                pending = []
        for each in _go_on(reader, pending, writing, wanted) if pending else ():
            yield spread(*each)


def _try(reader: Reader, index: int, trial: Trial, guess: tuple[int, ...], writing: _Writing) -> Answer | _Unfinished:
    """Read the prompt and a guess at its answer: the whole answer if the guess holds, otherwise as far as it does."""
    guess = guess[: writing.max_new_tokens - 1]
    logits, looked_at = reader.read(trial.prompt_ids + guess, len(guess) + 1)
    said = logits.argmax(dim=-1).tolist()
    agreed = next((step for step, token in enumerate(guess) if said[step] != token), len(guess))
    ids = _until_stop(said[: agreed + 1], writing.stops)
    if writing.is_done(trial, ids):
        return Answer(tuple(ids), looked_at[..., : len(ids)].numpy())
    length = len(trial.prompt_ids) + agreed
    return _Unfinished(index, trial, ids, looked_at[..., : len(ids)], reader.state(length), length)


def _go_on(
    reader: Reader, batch: Sequence[_Unfinished], writing: _Writing, wanted: Callable[[int, Sequence[int]], bool]
) -> Iterator[tuple[int, Answer]]:
    """Decode the rest of several answers together, then look at where the heads looked in those that are wanted."""
    written = _decode(reader, batch, writing)
    answers = [(*each.ids, *new) for each, new in zip(batch, written, strict=True)]
    rows = [row for row, each in enumerate(batch) if wanted(each.index, answers[row])]
    seen = _look_back(reader, [batch[row] for row in rows], [written[row] for row in rows]) if rows else []
    looked_at = dict(zip(rows, seen, strict=True))
    for row, each in enumerate(batch):
        yield each.index, Answer(answers[row], looked_at.get(row))


def _decode(reader: Reader, batch: Sequence[_Unfinished], writing: _Writing) -> list[list[int]]:
    """What each answer goes on with."""
    device = reader.model.device
    reader.probe.rows = 0
    cache = stack([each.state for each in batch])
    width = cache.get_seq_length()
    lengths = torch.tensor([each.length for each in batch], device=device)
    last = torch.tensor([[each.ids[-1]] for each in batch], device=device)

    def is_done(row: int, written: Sequence[int]) -> bool:
        return writing.is_done(batch[row].trial, [*batch[row].ids, *written])

    logits = forward(reader.model, cache, last, *places(lengths, width, 0, 1))
    return decode(reader.model, cache, logits, lengths + 1, lambda logits, _: logits.argmax(dim=-1), is_done, writing.max_new_tokens)


def _look_back(reader: Reader, batch: Sequence[_Unfinished], written: Sequence[Sequence[int]]) -> Iterator[NDArray[np.int64]]:
    """Where the heads looked over whole answers, [layers, heads, steps] each: one teacher-forced pass on the prompts' caches."""
    device = reader.model.device
    cache = stack([each.state for each in batch])
    width, steps = cache.get_seq_length(), max(map(len, written))
    lengths = torch.tensor([each.length for each in batch], device=device)
    rows = [[each.ids[-1], *new[:-1]] for each, new in zip(batch, written, strict=True)]
    ids = torch.tensor([row + [0] * (steps - len(row)) for row in rows], device=device)
    mask, positions = places(lengths, width, 0, steps)
    reader.probe.rows = steps
    forward(reader.model, cache, ids, mask, positions)
    looked_at = reader.probe.take(reader.layers)
    for row, (each, new) in enumerate(zip(batch, written, strict=True)):
        rest = looked_at[row, ..., : len(new)] - (width - each.length)
        yield torch.cat([each.looked_at, rest], dim=-1).numpy()


def _until_stop(ids: list[int], stops: Sequence[int]) -> list[int]:
    end = next((index + 1 for index, token in enumerate(ids) if token in stops), len(ids))
    return ids[:end]
