"""Masks that grow until enough answers differ, and heads that are scaled: a model of random weights, and the shipped one."""

from pathlib import Path

import numpy as np
import pytest

from harness.api import HarnessError, Json
from harness.builtin import MODEL_DIR
from retmask.heads.growing import Grown
from retmask.heads.masks import retrieval
from retmask.heads.scores import HeadScores
from retmask.methods.controls import RandMask
from retmask.methods.retmask import RetMask
from retmask.options import parse_options
from tests.retmask.directory import DirectoryContext

OPTIONS: dict[str, Json] = {
    "detector": "query",
    "detection_lengths": [120],
    "detection_trials": 2,
    "prompts_from": "generated",
    "prompts": 12,
    "contrast_prompts": 8,
    "max_new_tokens": 4,
}


def steps(context: DirectoryContext) -> dict[str, dict[str, Json]]:
    return {artifact.name: dict(artifact.facts) for artifact in context.artifacts}


def test_a_mask_grows_until_enough_answers_differ(words: Path, tmp_path: Path) -> None:
    context = DirectoryContext(tmp_path, words, {**OPTIONS, "contrast": 0.5})
    RetMask().prepare(context)
    facts = steps(context)["contrast"]
    tried = dict(facts["tried"])  # type: ignore[arg-type]
    assert facts["value"] == tried[facts["k"]] >= 0.5
    assert all(share < 0.5 for k, share in tried.items() if k < facts["k"])  # type: ignore[operator]
    again = DirectoryContext(tmp_path, words, {**OPTIONS, "contrast": 0.5})
    RandMask().pairs(again)
    assert [a.name for a in again.artifacts if a.reused] == ["heads", "fluency", "prompts", "contrast", "prompts"]
    assert f"randmask: {facts['k']} of 8 heads masked" in again.said, "a control masks as many"


def test_a_share_out_of_reach_takes_the_nearest_and_says_so(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retmask.methods.contrast.smallest", lambda sizes, share, wanted: Grown(2, 0.25, ((1, 0.0), (2, 0.25))))
    context = DirectoryContext(tmp_path, words, {**OPTIONS, "contrast": 0.5})
    RetMask().prepare(context)
    (warning,) = [line for line in context.said if line.startswith("warning")]
    assert "no mask changes 50% of the answers; that of 2 heads changes 25%" in warning


def test_masks_that_change_no_answer_are_refused(words: Path, tmp_path: Path) -> None:
    context = DirectoryContext(tmp_path, words, {**OPTIONS, "contrast": 1.0, "strength": 0.999999})
    with pytest.raises(HarnessError, match=r"none of 8 answers changes under any mask of up to \d+ heads"):
        RetMask().prepare(context)


def test_a_mask_that_is_not_fluent_is_refused(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retmask.heads.lab.ShortTexts.losses", lambda self: np.array([9.0]) if hasattr(self, "loss") else np.array([1.0]))
    with pytest.raises(HarnessError, match=r"masking one of the heads makes perplexity of short texts grow .* leave contrast out"):
        RetMask().prepare(DirectoryContext(tmp_path, words, {**OPTIONS, "contrast": 0.5}))


def test_strength_changes_the_rejected_answers_and_nothing_before_them(words: Path, tmp_path: Path) -> None:
    contexts = [DirectoryContext(tmp_path, words, {**OPTIONS, "top_k": 3, "strength": strength}) for strength in (0.0, 3.0)]
    for context in contexts:
        RetMask().pairs(context)
    silenced, scaled = ({a.name: a for a in context.artifacts} for context in contexts)
    assert {name for name in silenced if silenced[name].key != scaled[name].key} == {"rejected-retmask", "pairs"}
    assert "strength" not in silenced["rejected-retmask"].manifest["inputs"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.0}, "strength = 1; give a factor from 0, but not 1"),
        ({"strength": -0.5}, "strength = -0.5; give a factor"),
        ({"contrast": 1.5}, "contrast = 1.5 and contrast_prompts = 32; give a share"),
        ({"contrast": 0.5, "top_k": 3}, "contrast chooses the number of heads itself"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Json], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        parse_options(options)


def test_the_shipped_models_mask_is_the_highest_heads_that_it_takes(tmp_path: Path) -> None:
    context = DirectoryContext(tmp_path, MODEL_DIR, {**OPTIONS, "contrast": 0.5, "max_new_tokens": 8})
    artifact = RetMask().pairs(context)
    found = {each.name: each for each in context.artifacts}
    scores, k = HeadScores.load(found["heads"].path / "heads.safetensors"), found["contrast"].facts["k"]
    assert isinstance(k, int)
    masked = found["rejected-retmask"].manifest["inputs"]["masked"]  # type: ignore[index,call-overload]
    assert masked == [list(head) for head in retrieval(scores, top_k=k).heads]
    assert found["contrast"].facts["value"] >= 0.5 or k == found["fluency"].facts["k"]  # type: ignore[operator]
    assert (artifact.path / "pairs.jsonl").is_file()
