"""Answers: shared beginnings, guesses and batches change the time, never the outcome."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from retmask.heads.needle_answers import answer_trials
from retmask.heads.prefix_reader import reading, reading_order, shared
from retmask.heads.speculation import Drafts
from retmask.heads.trials import Trial, build_trials
from tests.retmask.small import random_model

token_lists = st.lists(st.integers(0, 2), max_size=12).map(tuple)


@given(token_lists, token_lists)
def test_shared_is_the_common_prefix(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    n = shared(first, second)
    assert first[:n] == second[:n]
    assert n == min(len(first), len(second)) or first[n] != second[n]


@given(st.lists(token_lists, min_size=1, max_size=8))
def test_in_reading_order_each_distinct_prefix_is_read_once(prompts: list[tuple[int, ...]]) -> None:
    ordered = [prompts[index] for index in reading_order(prompts)]
    read = sum(len(prompt) - shared(before, prompt) for before, prompt in zip([(), *ordered], ordered, strict=False))
    assert read == len({prompt[:n] for prompt in prompts for n in range(1, len(prompt) + 1)})


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Gemma3Text", "GPTNeoX"])
def test_a_reader_sees_what_one_pass_sees(kind: str) -> None:
    model = random_model(kind)
    generator = torch.Generator().manual_seed(0)
    base = torch.randint(5, 700, (60,), generator=generator).tolist()
    others = [tuple(base[:n] + torch.randint(5, 700, (20,), generator=generator).tolist()) for n in (0, 31, 32, 60)]
    prompts = [tuple(base), *others]
    with reading(model, chunk=16) as reader:
        for index in reading_order(prompts):
            ids = prompts[index]
            logits, looked_at = reader.read(ids, 5)
            with reading(model, chunk=1000) as fresh:
                expected, there = fresh.read(ids, 5)
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
            assert torch.equal(looked_at, there)
        assert reader.tokens_read < sum(map(len, prompts)) - 100  # beginnings were shared


class Told(Drafts):
    """Guesses what it is told, to see what a right and a wrong guess do."""

    told: Sequence[tuple[int, ...]] = ()
    asked = 0

    def guess(self, trial: Trial) -> tuple[int, ...]:
        self.asked += 1
        return self.told[(self.asked - 1) % len(self.told)]


@pytest.fixture(scope="module")
def trials(tokenizer: PreTrainedTokenizerBase) -> list[Trial]:
    built = build_trials(tokenizer, [150, 190], 2, (0.3,), seed=5)
    few = [replace(trial, prompt_ids=tuple(5 + token % 7 for token in trial.prompt_ids)) for trial in built]
    return [*few, few[0], replace(few[1], prompt_ids=(*few[1].prompt_ids[:-9], 6, 7))]


@pytest.mark.parametrize("kind", ["Llama", "Olmo3"])
@pytest.mark.parametrize("batch_tokens", [1, 400, 100_000])
def test_guesses_right_wrong_and_half_right_give_the_same_answers(
    kind: str, batch_tokens: int, tokenizer: PreTrainedTokenizerBase, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: PreTrainedModel = random_model(kind, vocab_size=12)
    monkeypatch.setattr("retmask.heads.needle_answers.Drafts", Told)
    monkeypatch.setattr(Told, "told", [()])
    plain = answer_trials(model, tokenizer, trials, [1], 9, batch_tokens=1)
    order = reading_order([trial.prompt_ids for trial in trials])
    right = [plain[index].ids for index in dict.fromkeys(order)]
    half = [ids[:3] + tuple(5 + (token + 1) % 7 for token in ids[3:]) for ids in right]
    for told in (right, half, [(5,)], [tuple([6] * 30)]):
        monkeypatch.setattr(Told, "told", told)
        found = answer_trials(model, tokenizer, trials, [1], 9, batch_tokens)
        for one, other in zip(found, plain, strict=True):
            assert one.ids == other.ids
            assert np.array_equal(one.looked_at, other.looked_at)
    assert len({answer.ids for answer in plain}) > 1
    assert plain[0].looked_at.shape == (2, 4, len(plain[0].ids))


@pytest.mark.parametrize("guess", [(), (5,)])
def test_heads_are_looked_at_only_where_it_matters(
    guess: tuple[int, ...], tokenizer: PreTrainedTokenizerBase, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model("Llama", vocab_size=12)
    monkeypatch.setattr("retmask.heads.needle_answers.Drafts", Told)
    monkeypatch.setattr(Told, "told", [guess])
    every = answer_trials(model, tokenizer, trials, [1], 9)
    some = answer_trials(model, tokenizer, trials, [1], 9, matters=lambda trial, ids: trial is trials[1])
    for index, (one, other) in enumerate(zip(every, some, strict=True)):
        assert one.ids == other.ids
        assert (other.looked_at is None) == (index != 1)
    assert np.array_equal(every[1].looked_at, some[1].looked_at)


@pytest.mark.parametrize("stops", [[1], [1, 5, 6]])
def test_rows_that_are_done_leave_the_batch(stops: list[int], tokenizer: PreTrainedTokenizerBase, trials: list[Trial]) -> None:
    model = random_model("Llama", vocab_size=12)
    alone = answer_trials(model, tokenizer, trials, stops, 12, batch_tokens=1)
    together = answer_trials(model, tokenizer, trials, stops, 12)
    assert [answer.ids for answer in alone] == [answer.ids for answer in together]
    assert len({len(answer.ids) for answer in alone}) > 1
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.looked_at, other.looked_at)


def test_drafts_learn_the_wording(tokenizer: PreTrainedTokenizerBase) -> None:
    first, second = build_trials(tokenizer, [200], 2, (0.5,), seed=3)
    drafts = Drafts(tokenizer)
    assert drafts.guess(second) == second.needle_ids
    sentence = slice(*first.passage)
    for wording, expected in (
        ((9, *first.needle_ids, 8, 1), (9, *second.needle_ids, 8)),
        ((7, *first.prompt_ids[sentence], 1), (7, *second.prompt_ids[slice(*second.passage)])),
        ((*first.prompt_ids[first.passage[0] + 1 : first.passage[1]], 1), second.prompt_ids[second.passage[0] + 1 : second.passage[1]]),
    ):
        drafts.learn(first, wording, [1])
        assert drafts.guess(first) == wording[:-1]
        assert drafts.guess(second) == expected
    drafts.learn(first, (5, 5, 5), [1])  # an answer without the needle teaches nothing
    assert drafts.guess(second) == expected


def test_drafts_learn_that_an_answer_starts_without_a_blank(tokenizer: PreTrainedTokenizerBase) -> None:
    first, second = build_trials(tokenizer, [200], 2, (0.5,), seed=3)
    alone = [tuple(tokenizer(trial.needle.answer, add_special_tokens=False)["input_ids"]) for trial in (first, second)]
    assert alone[0] != first.needle_ids
    drafts = Drafts(tokenizer)
    drafts.learn(first, (*alone[0], 1), [1])
    assert drafts.guess(second) == alone[1]
