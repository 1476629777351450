"""What silencing heads costs: against hooks by hand, against the gradient, and on heads that stand in for each other."""

import doctest

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.builtin import MODEL_DIR
from retmask.heads import causal
from retmask.heads.ablate import output_projections
from retmask.heads.agreement import rank_correlation
from retmask.heads.causal import CausalDetector, estimated, lost, measured
from retmask.heads.detect import detect
from retmask.heads.detectors import find_detector
from retmask.heads.forced_answers import ForcedAnswer, forced_answers
from retmask.heads.greedy import grow
from retmask.heads.scores import Head, HeadScores
from retmask.heads.trials import Trial, build_trials, evenly
from retmask.model import load_model, load_tokenizer
from tests.retmask.small import random_model

COPYING = [Head(1, head) for head in range(8)]


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(causal).failed == 0


def by_hand(model: PreTrainedModel, ids: list[int], scored: int, first: int, silent: list[Head]) -> float:
    """The mean log-probability of the last ``scored`` ids in one pass, with heads silent from position ``first`` on."""
    hooks = []
    for projection in output_projections(model):
        heads = [head for layer, head in silent if layer == projection.layer]

        def zero(_module: object, inputs: tuple[torch.Tensor], heads: list[int] = heads, width: int = projection.width) -> object:
            states = inputs[0].clone()
            for head in heads:
                states[:, first:, head * width : (head + 1) * width] = 0
            return (states,)

        hooks.append(projection.module.register_forward_pre_hook(zero))
    with torch.no_grad():
        nats = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    for hook in hooks:
        hook.remove()
    return float(torch.stack([nats[place - 1, ids[place]] for place in range(len(ids) - scored, len(ids))]).mean())


@pytest.mark.parametrize("kind", ["Llama", "Gemma3Text", "GPT2", "Qwen3Moe"])
def test_each_heads_cost_is_that_of_hooks_by_hand(kind: str, tokenizer: PreTrainedTokenizerBase) -> None:
    trials = build_trials(tokenizer, [150], 2, evenly(2), seed=4)
    model = random_model(kind)
    for index, answer in forced_answers(model, trials):
        trial = trials[index]
        scored = trial.needle_end - trial.needle_start
        wordings = [
            list(trial.prompt_ids) + list(trial.prompt_ids[start : trial.needle_end]) for start in (trial.needle_start, trial.passage[0])
        ]
        first = len(trial.prompt_ids) - 1
        ids = max(wordings, key=lambda ids: by_hand(model, ids, scored, first, []))
        intact = by_hand(model, ids, scored, first, [])
        costs = [[intact - by_hand(model, ids, scored, first, [Head(layer, head)]) for head in range(4)] for layer in range(2)]
        torch.testing.assert_close(measured(answer), torch.tensor(costs), atol=1e-4, rtol=1e-3)
        two = torch.zeros(1, 2, 4, dtype=torch.bool)
        two[0, 0, 1] = two[0, 1, 3] = True
        together = by_hand(model, ids, scored, first, [Head(0, 1), Head(1, 3)])
        assert float(answer.log_probabilities(two)) == pytest.approx(together, abs=1e-4)


def test_what_it_leaves_behind_is_the_model_it_was_given(tokenizer: PreTrainedTokenizerBase) -> None:
    model = random_model("Llama")
    ids = torch.tensor([[5, 6, 7, 8]])
    before = model(ids).logits
    detect(model, tokenizer, build_trials(tokenizer, [150], 1, evenly(1), seed=4), "", detector=find_detector("greedy"))
    assert torch.equal(model(ids).logits, before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_gradient_is_the_slope_at_an_open_gate(tokenizer: PreTrainedTokenizerBase) -> None:
    """By the difference of two passes with the projection's columns of one head a little smaller and larger."""
    model = random_model("Llama").double()
    ((_, answer),) = forced_answers(model, build_trials(tokenizer, [150], 1, evenly(1), seed=4))
    found = estimated(answer)
    nothing = torch.zeros(1, *answer.shape, dtype=torch.bool)
    projection = output_projections(model)[1]
    columns = projection.columns([2], torch.device("cpu"))
    weight, said = projection.module.weight, []
    assert isinstance(weight, torch.Tensor)
    for factor in (1.001, 0.999 / 1.001):
        with torch.no_grad():
            weight[:, columns] *= factor
        said.append(float(answer.log_probabilities(nothing)))
    assert float(found[1, 2]) == pytest.approx((said[0] - said[1]) / 0.002, rel=1e-2, abs=1e-5)


@pytest.fixture(scope="module")
def shipped() -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[Trial]]:
    tokenizer = load_tokenizer(MODEL_DIR)
    return load_model(MODEL_DIR, "float32", "cpu"), tokenizer, build_trials(tokenizer, (150,), 5, evenly(5), 3)


def test_the_shipped_models_copying_layer_is_found(shipped: tuple[PreTrainedModel, PreTrainedTokenizerBase, list[Trial]]) -> None:
    model, tokenizer, trials = shipped
    found = {
        name: detect(model, tokenizer, trials, "", detector=find_detector(name), protocol="grid")
        for name in ("causal", "attribution", "greedy")
    }
    for name, scores in found.items():
        assert scores.detector == name
        assert sorted(head for head, _ in scores.top(8)) == COPYING, name
        assert scores.trials[0].recall is None
    assert rank_correlation(found["causal"].mean.ravel(), found["attribution"].mean.ravel()) > 0.8
    # They stand in for each other: one by one they cost next to nothing, together everything.
    assert found["causal"].max < 0.05
    assert found["greedy"].at_least(0.3) == 8


def test_many_heads_are_estimated(
    shipped: tuple[PreTrainedModel, PreTrainedTokenizerBase, list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, trials = shipped
    monkeypatch.setattr(causal, "FEW_HEADS", 39)
    monkeypatch.setattr(causal, "measured", lambda _: pytest.fail("too many heads to measure each"))
    said: list[str] = []
    assert isinstance(find_detector("causal"), CausalDetector)
    detect(model, tokenizer, trials[:1], "", said.append, detector=find_detector("causal"))
    assert "heads: 40 heads, so what silencing each one costs is estimated by its gradient, not measured" in said


class Scripted(ForcedAnswer):
    """One layer of four heads: the answer is lost when heads 1 and 3 are silent, not by either alone; head 2 costs a little."""

    def __init__(self) -> None:
        self.shape = (1, 4)

    def log_probabilities(self, silent: torch.Tensor) -> torch.Tensor:
        s = silent[:, 0].float()
        return -5 * s[:, 1] * s[:, 3] - 0.001 * s[:, 3] - 0.0005 * s[:, 2]

    def gradient(self, silent: torch.Tensor) -> torch.Tensor:
        return torch.zeros(self.shape)


def test_heads_that_stand_in_for_each_other_are_grown_into_one_set() -> None:
    assert grow(Scripted()).round(2).tolist() == [[0.0, 1.0, 0.0, 1.0]]


class OneDoesAll(ForcedAnswer):
    """One layer of 20 heads: the answer is lost without head 15, whose gradient is flat; the others cost a little each."""

    def __init__(self) -> None:
        self.shape = (1, 20)

    def log_probabilities(self, silent: torch.Tensor) -> torch.Tensor:
        s = silent[:, 0].float()
        return -7 * s[:, 15] - 0.01 * s.sum(dim=1)

    def gradient(self, silent: torch.Tensor) -> torch.Tensor:
        costs = torch.full(self.shape, 0.01)
        costs[0, 15] = 0.0
        return costs


def test_a_head_that_does_everything_is_found_where_its_gradient_is_flat() -> None:
    found = grow(OneDoesAll())
    assert found[0, 15] == 1
    assert found.sum() == 1


def test_a_head_that_helps_when_silent_scores_nothing() -> None:
    assert np.allclose(lost(torch.tensor([[-3.0, 0.0, 50.0]])), [[0, 0, 1]])


def test_scores_are_shares(shipped: tuple[PreTrainedModel, PreTrainedTokenizerBase, list[Trial]]) -> None:
    model, tokenizer, trials = shipped
    scores: HeadScores = detect(model, tokenizer, trials[:2], "", detector=find_detector("causal"))
    assert scores.per_trial.min() >= 0
    assert scores.per_trial.max() <= 1
