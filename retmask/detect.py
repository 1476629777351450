"""Retrieval-score detection: which heads copy the needle while the model answers.

A head hits at a decoding step when the key it attends to most lies in the needle and holds the very token that is generated. Its
score in a trial is the share of the needle's tokens that it hit, as a *set* (Wu et al., arXiv 2404.15574, section 2), so that it
stays in [0, 1].

The answer is generated with the model's own fast attention; then one teacher-forced pass of the generated tokens over the prompt's
KV cache, under :func:`retmask.probe.attention_probe`, shows all steps at once.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from harness.api import HarnessError
from retmask.heads import HeadScores, Scores, TrialFacts
from retmask.model import generate, pad_id, plain_generation, stop_ids
from retmask.probe import attention_probe
from retmask.trials import Trial

SUCCESS: Final = 0.5
"""A trial counts when its answer's ROUGE-1 recall exceeds this."""
_BATCH_TOKENS: Final = 16_384


@dataclass(frozen=True, eq=False)
class TrialResult:
    """What the model did in one trial."""

    trial: Trial
    generated_ids: tuple[int, ...]
    """Up to and including the end-of-text token, if there was one."""
    answer: str
    recall: float
    """ROUGE-1 recall of the needle's answer."""
    scores: Scores
    """float32 [layers, heads]."""

    @property
    def success(self) -> bool:
        """Whether the trial counts."""
        return self.recall > SUCCESS

    @property
    def facts(self) -> TrialFacts:
        """What is kept beside the scores."""
        trial = self.trial
        return TrialFacts(self.success, trial.length, len(trial.prompt_ids), trial.depth, trial.realised_depth, self.recall)


def detect(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trials: Sequence[Trial],
    model_digest: str,
    say: Callable[[str], None] = lambda _: None,
    max_new_tokens: int = 50,
) -> HeadScores:
    """Run the trials and gather the scores. HarnessError, with sample answers, if no trial succeeds."""
    results = run_trials(model, tokenizer, trials, say, max_new_tokens)
    if not any(result.success for result in results):
        samples = "; ".join(f"{result.answer.strip()[:80]!r} for {result.trial.needle.answer!r}" for result in results[:3])
        raise HarnessError(f"the model found the needle in none of {len(results)} trials, so no head is scored; it answered {samples}")
    return HeadScores(model_digest, np.stack([result.scores for result in results]), tuple(result.facts for result in results))


def run_trials(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trials: Sequence[Trial],
    say: Callable[[str], None] = lambda _: None,
    max_new_tokens: int = 50,
    batch_tokens: int = _BATCH_TOKENS,
) -> list[TrialResult]:
    """Answer and score every trial, in the order given. ``batch_tokens`` bounds the prompt tokens processed at once."""
    results: dict[int, TrialResult] = {}
    for batch in _batches(trials, batch_tokens):
        chosen = [trials[index] for index in batch]
        results |= zip(batch, _run_batch(model, tokenizer, chosen, max_new_tokens), strict=True)
        say(f"heads: {len(results)} of {len(trials)} trials, needle found in {sum(result.success for result in results.values())}")
    return [results[index] for index in range(len(trials))]


def _batches(trials: Sequence[Trial], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of trials of similar length that fit a batch together, padding included; a trial over the bound goes alone."""
    batch: list[int] = []
    for index in sorted(range(len(trials)), key=lambda index: len(trials[index].prompt_ids)):
        if batch and (len(batch) + 1) * len(trials[index].prompt_ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@torch.inference_mode()
def _run_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, trials: Sequence[Trial], max_new_tokens: int
) -> list[TrialResult]:
    width = max(len(trial.prompt_ids) for trial in trials)
    pads = [width - len(trial.prompt_ids) for trial in trials]
    pad = pad_id(tokenizer)
    padded = [[pad] * gap + list(trial.prompt_ids) for gap, trial in zip(pads, trials, strict=True)]
    prompt = torch.tensor(padded, device=model.device)
    mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in pads], device=model.device)
    cache = DynamicCache()  # without a config: sliding layers keep all keys, so that the cache can be cut back to the prompt
    settings = plain_generation(model, tokenizer, max_new_tokens)
    output = generate(model)(input_ids=prompt, attention_mask=mask, past_key_values=cache, generation_config=settings)
    generated = output[:, width:]
    looked_at = _teacher_force(model, cache, prompt, mask, generated)
    stops = stop_ids(model, tokenizer)
    return [
        _score(tokenizer, trial, _until_stop(generated[row].tolist(), stops), looked_at[row].numpy() - pads[row])
        for row, trial in enumerate(trials)
    ]


def _teacher_force(model: PreTrainedModel, cache: DynamicCache, prompt: Tensor, mask: Tensor, generated: Tensor) -> Tensor:
    """The arg-max key of every head at every step: int64 [batch, layers, heads, steps], as positions in the padded prompt.

    A token is predicted by the one before it, so the rows are the prompt's last token and all generated ones but the last.
    """
    keep = prompt.shape[1] - 1
    surplus = cache.get_seq_length() - keep
    if surplus > 0:
        cache.crop(-surplus)
    rows = torch.cat([prompt[:, -1:], generated[:, :-1]], dim=1)
    full_mask = torch.cat([mask, mask.new_ones(generated[:, :-1].shape)], dim=1)
    positions = (full_mask.cumsum(dim=1) - 1)[:, keep:]
    with attention_probe(model) as probe:
        model(input_ids=rows, attention_mask=full_mask, position_ids=positions, past_key_values=cache, use_cache=True)
        return probe.take(model.config.get_text_config().num_hidden_layers)


def _until_stop(ids: list[int], stops: Sequence[int]) -> list[int]:
    end = next((index + 1 for index, token in enumerate(ids) if token in stops), len(ids))
    return ids[:end]


def _score(tokenizer: PreTrainedTokenizerBase, trial: Trial, generated: list[int], looked_at: NDArray[np.int64]) -> TrialResult:
    answer = str(tokenizer.decode(generated, skip_special_tokens=True))
    scores = copy_scores(trial, generated, looked_at[:, :, : len(generated)])
    return TrialResult(trial, tuple(generated), answer, rouge1_recall(trial.needle.answer, answer), scores)


def copy_scores(trial: Trial, generated: Sequence[int], looked_at: NDArray[np.int64]) -> Scores:
    """Share of the needle's tokens that each head copied: float32 [layers, heads].

    ``looked_at`` is [layers, heads, steps]: the position that each head attends to most when ``generated[step]`` is produced.
    """
    inside = (looked_at >= trial.needle_start) & (looked_at < trial.needle_end)
    token_there = np.asarray(trial.prompt_ids)[np.where(inside, looked_at, 0)]
    hit = inside & (token_there == np.asarray(generated, dtype=np.int64))
    positions = np.arange(trial.needle_start, trial.needle_end)
    copied = (hit[..., None] & (looked_at[..., None] == positions)).any(axis=2)
    scores: Scores = copied.mean(axis=-1, dtype=np.float32)
    return scores


def rouge1_recall(reference: str, text: str) -> float:
    """Share of the reference's words that occur in the text, with multiplicity, in [0, 1] (Lin 2004, ROUGE-N with N = 1)."""
    wanted, found = (Counter(re.findall(r"[a-z0-9]+", part.lower())) for part in (reference, text))
    return (wanted & found).total() / max(1, wanted.total())
