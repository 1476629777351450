"""The probe's arg-max is eager attention's, whatever the architecture."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.api import HarnessError
from retmask.heads import attention_probe as probe_module
from retmask.heads.attention_probe import attention_probe
from tests.retmask.small import ARCHITECTURES, random_model

ROWS = 12


def inputs() -> dict[str, Tensor]:
    """Two prompts of 40 and 31 tokens, padded on the left."""
    ids = torch.randint(5, 700, (2, 40), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[1, :9] = 0
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def eager_argmax(model: PreTrainedModel, rows: int) -> Tensor:
    with torch.no_grad():
        attentions = model(**inputs(), output_attentions=True).attentions
    return torch.stack([layer[:, :, -rows:].argmax(-1) for layer in attentions], dim=1)


def probed(model: PreTrainedModel, rows: int) -> Tensor:
    with torch.no_grad(), attention_probe(model, rows) as probe:
        model(**inputs())
        return probe.take(2)


def own_attention(kind: str) -> str:
    """What :func:`retmask.model.load_model` chooses."""
    return "eager" if kind == "Gemma2" else "sdpa"


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_mean_weights_equal_eager_attention(kind: str) -> None:
    with torch.no_grad():
        attentions = random_model(kind, "eager")(**inputs(), output_attentions=True).attentions
    expected = torch.stack([layer[:, :, -ROWS:].mean(dim=2) for layer in attentions], dim=1)
    model = random_model(kind, own_attention(kind))
    with torch.no_grad(), attention_probe(model, ROWS) as probe:
        probe.mass = True
        model(**inputs())
        torch.testing.assert_close(probe.take(2), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_argmax_equals_eager_attention(kind: str) -> None:
    expected = eager_argmax(random_model(kind, "eager"), ROWS)
    found = probed(random_model(kind, own_attention(kind)), ROWS)
    assert found.shape == (2, 2, 4, ROWS)
    assert torch.equal(found, expected)
    assert len(found.unique()) > 5  # heads do look at different places


def test_a_model_in_eager_attention_stays_in_it() -> None:
    model = random_model("Gemma2", "eager")  # its soft-capping is missing from SDPA, so the next layers would differ
    assert torch.equal(probed(model, ROWS), eager_argmax(model, ROWS))
    assert model.config._attn_implementation == "eager"


def test_a_sliding_window_bounds_where_heads_look() -> None:
    last = probed(random_model("Mistral"), 1)[0, :, :, 0]
    assert (last >= 40 - 7).all()
    assert (probed(random_model("Llama"), 1)[0, :, :, 0] < 40 - 7).any()


def test_few_scores_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("Llama")
    expected = probed(model, ROWS)
    monkeypatch.setattr(probe_module, "_CHUNK", 1)
    assert torch.equal(probed(model, ROWS), expected)


def test_the_output_and_the_attention_setting_are_untouched() -> None:
    model = random_model("Llama")
    with torch.no_grad():
        before = model(**inputs()).logits
        with attention_probe(model) as probe:
            during = model(**inputs()).logits
            assert probe.take(2).shape == (2, 2, 4, 40)
        after = model(**inputs()).logits
    assert torch.equal(before, during)
    assert torch.equal(before, after)
    assert model.config._attn_implementation == "sdpa"


def test_the_attention_setting_comes_back_after_an_error() -> None:
    model = random_model("Llama")
    with pytest.raises(RuntimeError, match="on purpose"), attention_probe(model):
        raise RuntimeError("on purpose")
    assert model.config._attn_implementation == "sdpa"


def test_a_layer_that_was_not_seen_is_named() -> None:
    model = random_model("Llama")
    with torch.no_grad(), attention_probe(model) as probe:
        model(**inputs())
        with pytest.raises(HarnessError, match="layers 2, 3 of 4 show no attention"):
            probe.take(4)
