"""Trials are added until enough count; rounds that are on disk are not asked again."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from harness.api import HarnessError
from retmask.heads.counting import MOST, Counting, roughness
from retmask.heads.detectors import TrialResult
from retmask.heads.trials import Trial, beginning, build_trials, evenly
from tests.retmask.small import byte_bpe

Ask = Callable[[Sequence[Trial]], list[TrialResult]]


@pytest.fixture(scope="module")
def build(tokenizer: PreTrainedTokenizerBase) -> Callable[[int, int], list[Trial]]:
    return lambda first, number: build_trials(tokenizer, [150, 200], number, evenly(3), seed=0, first=first)


def every(n: int, asked: list[Trial]) -> Ask:
    """A model that finds the needle in every n-th of the trials that it is asked; they go into ``asked``."""

    def ask(trials: Sequence[Trial]) -> list[TrialResult]:
        asked.extend(trials)
        marks = [1.0 if sum(map(ord, trial.needle.answer)) % n == 0 else 0.2 for trial in trials]
        return [TrialResult(trial, (3, 4), "x", mark, np.full((1, 2), mark, np.float32)) for trial, mark in zip(trials, marks, strict=True)]

    return ask


def test_trials_are_added_until_enough_count(build: Callable[[int, int], list[Trial]]) -> None:
    asked: list[Trial] = []
    results = Counting(9, 4, build).measure(every(3, asked))
    assert sum(result.success for result in results) >= 9
    assert [result.trial for result in results] == asked
    assert len({trial.prompt for trial in asked}) == len(asked) > 8, "each is another"


def test_enough_from_the_start_adds_none(build: Callable[[int, int], list[Trial]]) -> None:
    asked: list[Trial] = []
    Counting(8, 4, build).measure(every(1, asked))
    assert asked == build(0, 4)


def test_there_is_a_bound_and_it_is_said(build: Callable[[int, int], list[Trial]]) -> None:
    asked: list[Trial] = []
    said: list[str] = []
    Counting(5, 2, build).measure(every(10**9, asked), said.append)
    assert len(asked) == 2 * 2 * MOST
    assert "0 of 40 trials count and 5 were wanted" in said[0]


def test_a_killed_run_goes_on_with_the_round_it_was_in(build: Callable[[int, int], list[Trial]], tmp_path: Path) -> None:
    whole = Counting(9, 4, build).measure(every(3, []))
    calls = 0

    def killed(trials: Sequence[Trial]) -> list[TrialResult]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return every(3, [])(trials)

    with pytest.raises(KeyboardInterrupt):
        Counting(9, 4, build, tmp_path).measure(killed)
    asked: list[Trial] = []
    resumed = Counting(9, 4, build, tmp_path).measure(every(3, asked))
    assert len(asked) == len(whole) - 8
    assert [(each.trial, each.facts, each.answer, each.generated_ids) for each in resumed] == [
        (each.trial, each.facts, each.answer, each.generated_ids) for each in whole
    ]
    assert np.array_equal([each.scores for each in resumed], [each.scores for each in whole])


def test_a_damaged_round_is_an_error(build: Callable[[int, int], list[Trial]], tmp_path: Path) -> None:
    (tmp_path / "round-0-4.npz").write_bytes(b"PK")
    with pytest.raises(HarnessError, match="delete it"):
        Counting(9, 4, build, tmp_path).measure(every(3, []))


def test_few_trials_are_called_rough() -> None:
    assert "only 7 of 24 trials count" in (roughness(7, 24) or "")
    assert roughness(10, 10) == "heads: 10 trials are few, so the scores are rough: have more (--trials)"
    assert roughness(24, 24) is None


def test_a_base_model_gets_the_beginning_of_the_answer_and_a_chat_does_not() -> None:
    (chat,) = build_trials(byte_bpe(), [200], 1, (0.5,), seed=0)
    (base,) = build_trials(byte_bpe(template=None), [200], 1, (0.5,), seed=0)
    assert base.prompt.endswith(f"{base.needle.question}\nThe note about the {base.needle.key} says:")
    assert base.begun == beginning(base.needle)
    assert chat.begun == ""
    assert len(base.prompt_ids) <= 200
