"""Masks: what each kind holds, for any scores."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.api import HarnessError
from retmask.heads import masks
from retmask.heads.scores import Head, HeadScores, TrialFacts


def scores_of(mean: list[list[float]]) -> HeadScores:
    return HeadScores("", np.array([mean], np.float32), (TrialFacts(success=True),))


SCORES = scores_of([[0.9, 0.0, 0.1, 0.05], [0.2, 0.0, 0.0, 0.3]])
any_scores = st.lists(st.lists(st.floats(0, 1, width=16), min_size=4, max_size=4), min_size=1, max_size=5).map(scores_of)


def test_retrieval_by_threshold_and_by_count() -> None:
    assert masks.retrieval(SCORES, threshold=0.2).heads == ((0, 0), (1, 0), (1, 3))
    assert masks.retrieval(SCORES, top_k=2).heads == ((0, 0), (1, 3))


def test_a_threshold_no_head_reaches_names_the_maximum() -> None:
    with pytest.raises(HarnessError, match=r"no head scores 0\.95 or more \(the maximum is 0\.900\); lower threshold"):
        masks.retrieval(SCORES, threshold=0.95)


def test_a_threshold_every_head_reaches_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"all 8 heads score 0 or more .* raise threshold"):
        masks.retrieval(SCORES, threshold=0.0)


@pytest.mark.parametrize("count", [0, 8, -1])
def test_a_count_of_no_head_or_every_head_is_refused(count: int) -> None:
    with pytest.raises(HarnessError, match="choose top_k from 1 to 7"):
        masks.retrieval(SCORES, top_k=count)


def test_too_few_heads_for_a_control_is_an_error() -> None:
    with pytest.raises(HarnessError, match=r"cannot draw 6 control heads: only 5 score below 0\.1"):
        masks.nonretrieval(SCORES, 0.10001, 6, seed=0)
    full_layer = masks.HeadMask("retrieval", tuple(Head(0, head) for head in range(3)))
    with pytest.raises(HarnessError, match="only 1 are left in layer 0"):
        masks.layermatched((2, 4), full_layer, seed=0)


@given(any_scores, st.floats(0.01, 1), st.integers(0, 99))
def test_controls_have_as_many_heads_and_keep_their_promise(scores: HeadScores, threshold: float, seed: int) -> None:
    count = scores.at_least(threshold)
    total = len(scores.heads())
    assume(0 < count <= total // 2)
    target = masks.retrieval(scores, threshold=threshold)
    low = masks.nonretrieval(scores, threshold, count, seed)
    anyone = masks.random_mask(scores.shape, count, seed)
    assert len(target.heads) == len(low.heads) == len(anyone.heads) == count
    assert all(scores.mean[head] >= threshold for head in target.heads)
    assert all(scores.mean[head] < threshold for head in low.heads)
    assert set(anyone.heads) <= set(scores.heads())
    assert low == masks.nonretrieval(scores, threshold, count, seed)


@given(any_scores, st.integers(1, 2), st.integers(0, 99))
def test_layermatched_takes_as_many_from_each_layer_and_none_of_the_mask(scores: HeadScores, k: int, seed: int) -> None:
    target = masks.retrieval(scores, top_k=k)
    matched = masks.layermatched(scores.shape, target, seed)
    assert Counter(head.layer for head in matched.heads) == Counter(head.layer for head in target.heads)
    assert not set(matched.heads) & set(target.heads)


def test_seeds_give_different_draws_that_reach_every_head() -> None:
    drawn = [masks.random_mask((4, 8), 4, seed).heads for seed in range(100)]
    assert len(set(drawn)) > 90
    assert len({head for heads in drawn for head in heads}) == 32


def test_kinds_with_one_seed_are_unrelated() -> None:
    low = scores_of([[0.0] * 8, [0.0] * 7 + [1.0]])
    same = [masks.random_mask((2, 8), 3, seed).heads == masks.nonretrieval(low, 0.5, 3, seed).heads for seed in range(20)]
    assert not all(same)


def test_a_mask_is_sorted_and_groups_by_layer() -> None:
    with pytest.raises(ValueError, match="sorted"):
        masks.HeadMask("m", (Head(1, 0), Head(0, 0)))
    assert masks.HeadMask("m", (Head(0, 1), Head(0, 3), Head(2, 0))).by_layer() == {0: [1, 3], 2: [0]}
