"""Retrieval-score detection: which heads copy the needle while the model answers.

A head hits at a decoding step when the key it attends to most lies in the needle and holds the very token that is generated. Its
score in a trial is the share of the needle's tokens that it hit, as a *set* (Wu et al., arXiv 2404.15574, section 2), so that it
stays in [0, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.api import HarnessError
from harness.models.footprint import CONTEXTS
from harness.screen.progress import Clock
from retmask.heads.counting import Counting, roughness
from retmask.heads.detectors import Detector, TrialResult
from retmask.heads.needle_answers import BATCH_TOKENS, Answer, answer_trials
from retmask.heads.scores import HeadScores
from retmask.heads.trial_scoring import RIGHT, SUCCESS, TrialScoring
from retmask.heads.trials import Trial


class NoNeedleFoundError(HarnessError):
    """No trial succeeded, so there is nothing to score heads by."""


def detect(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trials: Sequence[Trial],
    model_digest: str,
    say: Callable[[str], None] = lambda _: None,
    rules: TrialScoring = RIGHT,
    *,
    detector: Detector | None = None,
    protocol: str = "",
    keep: Callable[[Sequence[TrialResult]], None] = lambda _: None,
    counting: Counting | None = None,
) -> HeadScores:
    """Run the trials and gather the scores. ``keep`` gets every trial's result first. With ``counting``, ``trials`` are its first round.

    HarnessError, with sample answers, if no trial succeeds, and if the model's context is too short for a trial.
    """
    detector = detector or CopyDetector()
    _check_context(model, trials, rules)

    def ask(some: Sequence[Trial]) -> list[TrialResult]:
        return detector.measure(model, tokenizer, some, rules, say)

    results = ask(trials) if counting is None else counting.measure(ask, say)
    keep(results)
    if not any(result.success for result in results):
        samples = "; ".join(f"{result.answer.strip()[:80]!r} for {result.trial.needle.answer!r}" for result in results[:3])
        message = f"the model found the needle in none of {len(results)} trials, so no head is scored; it answered {samples}"
        raise NoNeedleFoundError(message)
    rough = roughness(sum(result.success for result in results), len(results))
    if rough is not None:
        say(rough)
    per_trial = np.stack([result.scores for result in results])
    return HeadScores(model_digest, per_trial, tuple(result.facts for result in results), detector.name, protocol)


class CopyDetector:
    """Heads that copy the needle's tokens (the retrieval score)."""

    name = "copy"

    def measure(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        trials: Sequence[Trial],
        rules: TrialScoring,
        say: Callable[[str], None],
    ) -> list[TrialResult]:
        """Answer every trial and count what each head copied."""
        return run_trials(model, tokenizer, trials, say, rules)


def run_trials(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trials: Sequence[Trial],
    say: Callable[[str], None] = lambda _: None,
    rules: TrialScoring = RIGHT,
    batch_tokens: int = BATCH_TOKENS,
    *,
    uncounted: bool = False,
) -> list[TrialResult]:
    """Answer every trial, in the order given, and score those that count; with ``uncounted``, the others too."""
    every, clock = max(10, len(trials) // 10), Clock(len(trials))

    def finished(count: int) -> None:
        if count % every == 0 and count < len(trials):
            say(f"heads: {count} of {len(trials)} trials{clock.left(count)}")

    def text(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    def matters(trial: Trial, ids: Sequence[int]) -> bool:
        return uncounted or rules.recall(trial.needle.answer, text(ids)) > SUCCESS

    stops = rules.stops(model, tokenizer)
    answers = answer_trials(model, tokenizer, trials, stops, rules.max_new_tokens, batch_tokens, finished, matters)
    results = [_result(trial, answer, text(answer.ids), rules, _heads(model)) for trial, answer in zip(trials, answers, strict=True)]
    say(f"heads: {len(results)} of {len(trials)} trials, needle found in {sum(result.success for result in results)}")
    return results


def _result(trial: Trial, answer: Answer, text: str, rules: TrialScoring, shape: tuple[int, int]) -> TrialResult:
    recall = rules.recall(trial.needle.answer, text)
    scores = np.zeros(shape, np.float32) if answer.looked_at is None else rules.scores(trial, answer.ids, answer.looked_at)
    return TrialResult(trial, answer.ids, text, recall, scores)


def _heads(model: PreTrainedModel) -> tuple[int, int]:
    """(layers, heads per layer)."""
    config = model.config.get_text_config()
    return int(config.num_hidden_layers), int(config.num_attention_heads)


def short(rules: TrialScoring, max_new_tokens: int) -> TrialScoring:
    """Give the same rules another bound on answers."""
    return replace(rules, max_new_tokens=max_new_tokens)


def _check_context(model: PreTrainedModel, trials: Sequence[Trial], rules: TrialScoring) -> None:
    room = next((size for name in CONTEXTS if (size := getattr(model.config.get_text_config(), name, None)) is not None), None)
    longest = max(len(trial.prompt_ids) for trial in trials) + rules.max_new_tokens
    if isinstance(room, int) and longest > room:
        raise HarnessError(
            f"the longest trial takes {longest} tokens with its answer, but the model's context is {room}; choose shorter lengths"
        )
