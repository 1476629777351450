"""A model under masks: which needles it still finds, and how well it predicts short texts.

A needle that the intact model does not find cannot be lost, so only those that it finds are asked for again, and what it said of them is
the guess that one pass over prompt and answer checks (:mod:`retmask.heads.needle_answers`). Only where a mask changes a word before the
outcome is settled (:mod:`retmask.heads.settled`) is an answer written.
"""

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from retmask.heads.ablate import ablated
from retmask.heads.masks import HeadMask
from retmask.heads.needle_answers import Guess, answer_trials
from retmask.heads.settled import Settled
from retmask.heads.trial_scoring import SUCCESS, TrialScoring
from retmask.heads.trials import Trial
from tasks.prose import sentence

Values: TypeAlias = NDArray[np.float64]
_RESAMPLES: Final = 2000
_TEXTS: Final = 48


class Interval(NamedTuple):
    """An estimate with its 95% bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.0f} points [{100 * self.low:.0f}, {100 * self.high:.0f}]"


class ShortTexts:
    """Texts too short to be read by copying: how well a model under masks still predicts them."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        self._model, self._texts, self._seed = model, _short_texts(tokenizer, seed), seed
        self.loss = self.losses()
        """Mean negative log-likelihood of each text under the intact model, nats a token."""

    @torch.inference_mode()
    def losses(self) -> Values:
        """Measure the same under the model as it is now."""
        ids, mask = (tensor.to(self._model.device) for tensor in self._texts)
        logits = self._model(input_ids=ids, use_cache=False).logits[:, :-1].float()  # padding is on the right, out of sight
        nats = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        found: Values = ((nats * mask[:, 1:]).sum(1) / mask[:, 1:].sum(1)).double().cpu().numpy()
        return found

    def growth(self, mask: HeadMask) -> Interval:
        """Measure by which factor the texts' perplexity grows under a mask."""
        with ablated(self._model, mask):
            return growth(self.losses() - self.loss, self._seed)


class Lab:
    """Measures a model under masks, on the same needles and texts each time."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, trials: Sequence[Trial], seed: int) -> None:
        self._model, self._tokenizer, self._trials = model, tokenizer, trials
        self._rules = _longest_answer(trials)
        self._settled = Settled(tokenizer, self._rules)
        self._stops = self._rules.stops(model, tokenizer)
        self._short = ShortTexts(model, tokenizer, seed)
        found, answers = self._ask(range(len(trials)), None)
        self.found: Values = np.array(found, dtype=float)
        """Whether the intact model finds each trial's needle: 1 or 0."""
        self.loss = self._short.loss
        """Mean negative log-likelihood of each short text under the intact model, nats a token."""
        self._kept = np.flatnonzero(self.found).tolist()
        self._said = {trials[index].prompt_ids: tuple(t for t in answers[index] if t not in self._stops) for index in self._kept}

    def measure(self, mask: HeadMask) -> tuple[Values, Values]:
        """Measure which of the intact model's needles are still found, 1 or 0 for each trial, and the loss of each short text."""
        with ablated(self._model, mask):
            return self._still(), self._losses()

    def still(self, mask: HeadMask) -> Values:
        """Measure only which of the intact model's needles are still found, 1 or 0 for each trial."""
        with ablated(self._model, mask):
            return self._still()

    def _still(self) -> Values:
        still = np.zeros(len(self._trials))
        still[self._kept], _ = self._ask(self._kept, lambda trial: self._said[trial.prompt_ids])
        return still

    def _ask(self, indices: Sequence[int], guess: Guess | None) -> tuple[list[bool], list[tuple[int, ...]]]:
        """Whether each answer holds its needle, and as much of it as that takes."""
        trials = [self._trials[index] for index in indices]
        answers = answer_trials(
            self._model,
            self._tokenizer,
            trials,
            self._stops,
            self._rules.max_new_tokens,
            matters=lambda trial, ids: False,
            settled=self._settled.is_settled,
            guess=guess,
        )
        texts = [str(self._tokenizer.decode(list(answer.ids), skip_special_tokens=True)) for answer in answers]
        found = [self._rules.recall(trial.needle.answer, text) > SUCCESS for trial, text in zip(trials, texts, strict=True)]
        return found, [answer.ids for answer in answers]

    def _losses(self) -> Values:
        return self._short.losses()


def _longest_answer(trials: Sequence[Trial]) -> TrialScoring:
    """Answers no longer than the longest needle and a few words around it: what comes later cannot be the needle."""
    longest = max(trial.needle_end - trial.needle_start for trial in trials)
    return TrialScoring(max_new_tokens=min(TrialScoring().max_new_tokens, longest + 12))


def _short_texts(tokenizer: PreTrainedTokenizerBase, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, [texts, tokens], of texts too short to be read by copying: two sentences each."""
    rng = Random(f"audit:{seed}")
    ids = [tokenizer(f"{sentence(rng)} {sentence(rng)}")["input_ids"] for _ in range(_TEXTS)]
    width = max(map(len, ids))
    padded = torch.tensor([[*row, *[0] * (width - len(row))] for row in ids])
    return padded, torch.tensor([[1.0] * len(row) + [0.0] * (width - len(row)) for row in ids])


def interval(values: Values, seed: int) -> Interval:
    """Compute the mean over trials with its percentile bootstrap interval (trials resampled)."""
    draws = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def growth(nats: Values, seed: int) -> Interval:
    """Compute the factor of perplexity from differences of negative log-likelihood."""
    return Interval(*(float(np.exp(min(value, 50.0))) for value in interval(nats, seed)))
