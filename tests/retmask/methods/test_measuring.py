"""The detector as an option of a method: the plugin that it names is the one that measures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.api import HarnessError, Json
from retmask.heads import detectors
from retmask.heads.detectors import TrialResult
from retmask.heads.scores import HeadScores
from retmask.heads.trials import Trial
from retmask.methods.controls import RandMask
from retmask.methods.measuring import measured_heads
from retmask.methods.retmask import RetMask
from retmask.options import parse_options
from tests.retmask.directory import DirectoryContext

OPTIONS: dict[str, Json] = {"top_k": 2, "detection_lengths": [120], "detection_trials": 2, "prompts_from": "generated"}


class Last:
    """A detector that finds the last heads."""

    name = "last"

    def measure(
        self, model: object, tokenizer: object, trials: Sequence[Trial], rules: object, say: Callable[[str], None]
    ) -> list[TrialResult]:
        return [TrialResult(trial, (), "", None, np.arange(8, dtype=np.float32).reshape(2, 4) / 8) for trial in trials]


class Point:
    name, value = "last", "a.test:Last"

    def load(self) -> type[Last]:
        return Last


def test_a_detectors_plugin_measures_for_every_method(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "entry_points", lambda **_: [Point()])
    contexts = [DirectoryContext(tmp_path, words, {**OPTIONS, "detector": "last"}) for _ in range(2)]
    for method, context in zip((RetMask(), RandMask()), contexts, strict=True):
        method.prepare(context)
    (first,), (second,) = (context.artifacts for context in contexts)
    assert second.reused
    scores = HeadScores.load(first.path / "heads.safetensors")
    assert scores.detector == "last"
    assert [tuple(head) for head, _ in scores.top(2)] == [(1, 3), (1, 2)]


def test_the_query_detector_measures_a_model_that_finds_no_needle(words: Path, tmp_path: Path) -> None:
    context = DirectoryContext(tmp_path, words, {**OPTIONS, "detector": "query"})
    RetMask().prepare(context)
    (measured,) = context.artifacts
    assert measured.manifest["inputs"]["detector"] == "query"  # type: ignore[index,call-overload]
    with pytest.raises(HarnessError, match="found the needle in none"):
        RetMask().prepare(DirectoryContext(tmp_path, words, OPTIONS))


def inputs_of(words: Path, tmp_path: Path, detector: str) -> dict[str, Json]:
    class Told(DirectoryContext):
        def step(self, name: str, inputs: object, build: object, *, version: int = 1) -> object:  # type: ignore[override]
            raise StopIteration(inputs)

    with pytest.raises(StopIteration) as stop:
        measured_heads(Told(tmp_path, words, {}), parse_options({"detector": detector}))
    found: dict[str, Json] = stop.value.args[0]
    return found


def test_the_keys_of_detectors_that_never_changed_are_as_they_were(words: Path, tmp_path: Path) -> None:
    assert "detector" not in inputs_of(words, tmp_path, "copy")
    assert "detector_version" not in inputs_of(words, tmp_path, "query")


def test_a_detector_that_scores_otherwise_than_before_measures_anew(words: Path, tmp_path: Path) -> None:
    assert inputs_of(words, tmp_path, "greedy")["detector_version"] == 2


def test_an_unknown_detector_is_named() -> None:
    with pytest.raises(HarnessError, match=r"\[method\]: unknown detector 'qeury'; did you mean 'query'\?"):
        parse_options({"detector": "qeury"})
