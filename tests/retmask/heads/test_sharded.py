"""A model whose layers are spread, or wait on a disk until their turn, has the heads of the same model on one device."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from retmask.heads.ablate import ablated, save_ablated
from retmask.heads.detect import detect, run_trials
from retmask.heads.detectors import find_detector
from retmask.heads.lab import Lab
from retmask.heads.masks import HeadMask
from retmask.heads.scores import Head
from retmask.heads.trials import Trial, build_trials, evenly
from retmask.model import load_model, load_tokenizer

MASK = HeadMask("some", (Head(1, 0), Head(1, 3), Head(2, 5)))
#: Layers 1 and 3 stay on the disk until they are computed.
SPREAD = {
    "model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu",
    **{f"model.layers.{layer}": "disk" if layer in (1, 3) else "cpu" for layer in range(5)},
}  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> PreTrainedModel:
    return load_model(MODEL_DIR, "float32", "cpu")


@pytest.fixture(scope="module")
def offloaded(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    folder = tmp_path_factory.mktemp("offload")
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32, device_map=SPREAD, offload_folder=folder)
    places = {each.device.type for each in model.parameters()}
    assert places == {"cpu", "meta"}, "two of its layers are to be elsewhere"
    return model.eval()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(MODEL_DIR)


@pytest.fixture(scope="module")
def trials(tokenizer: PreTrainedTokenizerBase) -> list[Trial]:
    return build_trials(tokenizer, (150,), 3, evenly(3), 3)


@pytest.mark.parametrize("name", ["copy", "query", "causal", "attribution", "greedy"])
def test_every_detector_measures_the_same(
    name: str, whole: PreTrainedModel, offloaded: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, trials: list[Trial]
) -> None:
    expected, found = (detect(model, tokenizer, trials, "", detector=find_detector(name)) for model in (whole, offloaded))
    torch.testing.assert_close(torch.tensor(found.per_trial), torch.tensor(expected.per_trial), atol=1e-6, rtol=1e-4)
    assert expected.max > 0


def test_masked_answers_and_losses_are_the_same(
    whole: PreTrainedModel, offloaded: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, trials: list[Trial]
) -> None:
    said = []
    for model in (whole, offloaded):
        with ablated(model, MASK):
            said.append([result.generated_ids for result in run_trials(model, tokenizer, trials)])
    assert said[0] == said[1]
    (found, loss), (same, losses) = (Lab(model, tokenizer, trials, 0).measure(MASK) for model in (whole, offloaded))
    assert found.tolist() == same.tolist()
    assert losses == pytest.approx(loss, rel=1e-5)


def test_a_masked_checkpoint_needs_the_weights(offloaded: PreTrainedModel, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="offloaded"):
        save_ablated(offloaded, MASK, tmp_path / "masked")
