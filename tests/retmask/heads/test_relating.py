"""Score files side by side: how far they agree, could agree, and whose knock-out curve falls first."""

import doctest

import numpy as np
import pytest

from harness.api import HarnessError
from retmask.heads import relating
from retmask.heads.masks import HeadMask
from retmask.heads.relating import curves, relate, reliability
from retmask.heads.scores import Head, HeadScores, TrialFacts


def scores_of(mean: np.ndarray, noise: float, trials: int, seed: int, detector: str = "copy") -> HeadScores:
    rng = np.random.default_rng(seed)
    values = np.clip(mean + rng.normal(0, noise, (trials, *mean.shape)), 0, 1).astype(np.float32)
    return HeadScores("", values, (TrialFacts(True),) * trials, detector)


MEAN = np.linspace(0.1, 0.9, 40).reshape(5, 8)


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(relating).failed == 0


def test_reliability_is_the_correlation_with_other_trials() -> None:
    """Stepped up from halves, it comes near what two files of as many fresh trials show."""
    first, second = (scores_of(MEAN, 0.9, 12, seed) for seed in (1, 2))
    found = relate({"a": first, "b": second}, threshold=0.5)
    assert found["reliability"] == [reliability(first), reliability(second)]
    assert found["ceiling"] == pytest.approx(np.sqrt(reliability(first) * reliability(second)))
    assert found["rank_correlation"] == pytest.approx(found["ceiling"], abs=0.15)
    assert reliability(scores_of(MEAN, 0.1, 1, 0)) is None


def test_two_files_give_one_table_and_three_give_three() -> None:
    files = {name: scores_of(MEAN, 0.1, 4, seed, name) for seed, name in enumerate(("copy", "query", "causal"))}
    two = relate({name: files[name] for name in ("copy", "query")}, threshold=0.5)
    assert two["detectors"] == ["copy", "query"]
    three = relate(files, threshold=0.5)["pairs"]
    assert [pair["files"] for pair in three] == [["copy", "query"], ["copy", "causal"], ["query", "causal"]]
    assert {key: value for key, value in three[0].items() if key != "files"} == two


class ScriptedLab:
    """Twenty needles, of which ten are found; one is lost for each of layer 4's heads that is masked."""

    def __init__(self) -> None:
        self.found = (np.arange(20) < 10).astype(float)

    def still(self, mask: HeadMask) -> np.ndarray:
        lost = sum(head.layer == 4 for head in mask.heads)
        return self.found * (np.arange(20) >= lost)


def test_the_file_that_ranks_what_matters_first_falls_first() -> None:
    right, wrong = scores_of(MEAN, 0, 2, 0), scores_of(MEAN[::-1, ::-1], 0, 2, 0)
    found = curves({"wrong": wrong, "right": right}, ScriptedLab())  # type: ignore[arg-type]
    assert (found["needles"], found["falls_first"], found["surely"]) == (10, "right", True)
    assert found["curves"]["right"]["k"] == [1, 2, 3, 4, 7, 12, 20]
    assert found["curves"]["right"]["still_found"] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.2])
    assert found["curves"]["wrong"]["still_found"] == pytest.approx([1] * 7)
    assert found["higher_by"]["wrong"][0] == pytest.approx(1 - np.mean([0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.2]))


def test_two_files_alike_are_not_surely_apart() -> None:
    both = scores_of(MEAN, 0, 2, 0)
    assert curves({"a": both, "b": both}, ScriptedLab())["surely"] is False  # type: ignore[arg-type]


def test_without_a_needle_found_there_is_nothing_to_lose() -> None:
    lab = ScriptedLab()
    lab.found[:] = 0
    with pytest.raises(HarnessError, match="finds no needle"):
        curves({"a": scores_of(MEAN, 0, 2, 0)}, lab)  # type: ignore[arg-type]


def test_heads_are_named_by_layer_first() -> None:
    assert Head(4, 0) in {head for head, _ in scores_of(MEAN, 0, 1, 0).top(8)}
