"""Detection against a plain loop: one full forward pass a token, with eager attention's own weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.api import HarnessError
from retmask.heads.detect import detect, run_trials
from retmask.heads.detectors import TrialResult
from retmask.heads.trial_scoring import RIGHT, TrialScoring, rouge1_recall
from retmask.heads.trials import Trial, build_trials, evenly
from tests.retmask.small import ARCHITECTURES, random_model

STEPS = 8
SHORT = TrialScoring(max_new_tokens=STEPS)


@pytest.fixture(scope="module")
def trials(tokenizer: PreTrainedTokenizerBase) -> list[Trial]:
    """Of three lengths. The needle is most of the prompt and there are seven different tokens, so that random weights hit it often."""
    built = build_trials(tokenizer, [150, 190, 230], 2, evenly(2), seed=5)
    few = [replace(trial, prompt_ids=tuple(5 + token % 7 for token in trial.prompt_ids)) for trial in built]
    return [replace(trial, needle_start=10, needle_end=len(trial.prompt_ids)) for trial in few]


def plain_loop(model: PreTrainedModel, trial: Trial, stop: int) -> tuple[list[int], np.ndarray]:
    """The definition, step by step: generated tokens and the score of each head [layers, heads]."""
    ids = list(trial.prompt_ids)
    copied: dict[tuple[int, int], set[int]] = {}
    for _ in range(STEPS):
        with torch.no_grad():
            output = model(torch.tensor([ids]), output_attentions=True)
        token = int(output.logits[0, -1].argmax())
        for layer, attention in enumerate(output.attentions):
            for head, key in enumerate(attention[0, :, -1].argmax(-1).tolist()):
                found = copied.setdefault((layer, head), set())
                if trial.needle_start <= key < trial.needle_end and ids[key] == token:
                    found.add(key)
        ids.append(token)
        if token == stop:
            break
    scores = np.zeros((2, 4))
    for place, found in copied.items():
        scores[place] = len(found) / (trial.needle_end - trial.needle_start)
    return ids[len(trial.prompt_ids) :], scores


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_scores_equal_the_plain_loop(kind: str, tokenizer: PreTrainedTokenizerBase, trials: list[Trial]) -> None:
    model = random_model(kind, "eager" if kind == "Gemma2" else "sdpa", vocab_size=12)  # as load_model would
    found = run_trials(model, tokenizer, trials, rules=SHORT, uncounted=True)
    eager = random_model(kind, "eager", vocab_size=12)
    for result, trial in zip(found, trials, strict=True):
        generated, scores = plain_loop(eager, trial, stop=1)
        assert list(result.generated_ids) == generated
        np.testing.assert_allclose(result.scores, scores, atol=1e-6)
    assert max(result.scores.max() for result in found) > 0


def test_batches_change_nothing(tokenizer: PreTrainedTokenizerBase, trials: list[Trial]) -> None:
    model = random_model("Mistral", vocab_size=12)
    alone = run_trials(model, tokenizer, trials, rules=SHORT, batch_tokens=1, uncounted=True)
    together = run_trials(model, tokenizer, trials, rules=SHORT, batch_tokens=10_000, uncounted=True)
    for one, other in zip(alone, together, strict=True):
        assert one.trial is other.trial
        assert one.generated_ids == other.generated_ids
        assert np.array_equal(one.scores, other.scores)
    assert max(result.scores.max() for result in alone) > 0


def test_trials_that_do_not_count_are_not_scored_unless_asked(tokenizer: PreTrainedTokenizerBase, trials: list[Trial]) -> None:
    model = random_model("Mistral", vocab_size=12)
    asked = run_trials(model, tokenizer, trials, rules=SHORT, uncounted=True)
    found = run_trials(model, tokenizer, trials, rules=SHORT)
    assert max(result.scores.max() for result in asked) > 0
    for one, other in zip(asked, found, strict=True):
        assert (one.answer, one.recall, one.success) == (other.answer, other.recall, False)
        assert other.scores.shape == one.scores.shape
        assert not other.scores.any()


def test_generation_ends_at_the_end_of_text(tokenizer: PreTrainedTokenizerBase, trials: list[Trial]) -> None:
    model = random_model("Llama", vocab_size=12)
    free = run_trials(model, tokenizer, trials[:1], rules=SHORT)[0].generated_ids
    model.generation_config.eos_token_id = [1, free[0]]
    stopped = run_trials(model, tokenizer, trials[:1], rules=SHORT)[0].generated_ids
    assert len(free) > 1
    assert stopped == free[:1]


def test_a_model_that_never_answers_is_an_error_that_shows_what_it_said(tokenizer: PreTrainedTokenizerBase) -> None:
    real = build_trials(tokenizer, [150], 2, (0.5,), seed=1)
    said: list[str] = []
    with pytest.raises(HarnessError, match=r"needle in none of 2 trials, so no head is scored; it answered '.*' for '.*'; '.*' for '.*'$"):
        detect(random_model("Llama"), tokenizer, real, "digest", said.append, TrialScoring(max_new_tokens=4))
    assert said == ["heads: 2 of 2 trials, needle found in 0"]


def test_a_result_counts_only_above_half_recall(trials: list[Trial]) -> None:
    half = TrialResult(trials[0], (), "", 0.5, np.zeros((1, 1), np.float32))
    assert not half.success
    assert replace(half, recall=0.51).success
    assert half.facts.realised_depth == trials[0].realised_depth


def test_copies_are_counted_once_and_only_where_token_and_place_agree(trials: list[Trial]) -> None:
    trial = replace(trials[0], prompt_ids=(7, 8, 9, 8, 5), needle_start=1, needle_end=4)
    looked_at = np.array([[[1, 1, 2], [3, 0, 4], [2, 2, 2]]])  # one layer, three heads, three steps
    scores = RIGHT.scores(trial, [8, 8, 9], looked_at)
    np.testing.assert_allclose(scores, [[2 / 3, 1 / 3, 1 / 3]])


@given(st.text("ab ,.B1", max_size=30), st.text("ab ,.B1", max_size=30))
def test_rouge_recall_is_the_reference_implementations(reference: str, text: str) -> None:
    expected = RougeScorer(["rouge1"]).score(reference, text)["rouge1"].recall
    assert rouge1_recall(reference, text) == pytest.approx(expected)
