"""The transformers backend: rows of a batch are read alone, and answer as if they were."""

from functools import wraps
from pathlib import Path

import pytest
import torch

from harness.api import Model
from harness.engines.cache import RoomyCache, has_plain_cache, stack
from harness.engines.hf import HFBackend
from harness.engines.options import EngineConfig
from tests.retmask.small import ARCHITECTURES, random_model, word_level

NEW = 6


def backend(path: Path, kind: str) -> HFBackend:
    random_model(kind).save_pretrained(path)
    word_level().save_pretrained(path)
    return HFBackend(Model(str(path), path, ""), EngineConfig("hf", "float32", "cpu", 0))


def generated(engine: HFBackend, rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    context = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    engine._model_generate(context, width + NEW, [], attention_mask=mask)
    return engine.generated


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_row_of_a_batch_is_answered_as_if_it_were_alone(kind: str, tmp_path: Path) -> None:
    engine = backend(tmp_path, kind)
    assert has_plain_cache(engine.model)
    rng = torch.Generator().manual_seed(1)
    rows = [torch.randint(5, 100, (size,), generator=rng).tolist() for size in (40, 17, 33, 2)]
    together = generated(engine, rows)
    for row, answer in zip(rows, together, strict=True):
        (alone,) = generated(engine, [row])
        assert answer[: len(alone)].tolist() == alone.tolist()


def test_no_row_is_read_with_padding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention would need a mask, which is a square of the length."""
    engine = backend(tmp_path, "Llama")
    widths: list[int] = []
    forward = engine.model.forward

    @wraps(forward)
    def spy(*args: object, **kwargs: object) -> object:
        ids = kwargs["input_ids"]
        assert isinstance(ids, torch.Tensor)
        widths.append(ids.shape[1])
        assert len(ids) == 1 or ids.shape[1] == 1
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", spy)
    generated(engine, [[7] * 30, [8] * 20, [9] * 10])
    assert widths[:3] == [29, 19, 9]
    assert set(widths[3:]) == {1}


def test_a_cache_can_be_cut_back_copied_and_stacked() -> None:
    keys = torch.arange(2 * 300.0).reshape(1, 2, 300, 1)
    cache = RoomyCache()
    for start in range(0, 300, 7):
        cache.update(keys[:, :, start : start + 7], -keys[:, :, start : start + 7], 0)
    cache.cut(250)
    cache.update(keys[:, :, :3], -keys[:, :, :3], 0)
    (found,) = cache.state()
    expected = torch.cat([keys[:, :, :250], keys[:, :, :3]], dim=2)
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], -expected)
    both = stack([[(keys, keys)], [(keys[:, :, :10], keys[:, :, :10])]])
    (together,) = both.state()
    assert torch.equal(together[0][1, :, -10:], keys[0, :, :10])
    assert not together[0][1, :, :-10].any()


def test_rows_of_a_cache_can_be_dropped() -> None:
    keys = torch.arange(3 * 20.0).reshape(3, 1, 20, 1)
    cache = stack([[(keys[row : row + 1], keys[row : row + 1])] for row in range(3)])
    cache.keep(torch.tensor([2, 0]))
    cache.update(keys[1:, :, :1], -keys[1:, :, :1], 0)
    ((found, values),) = cache.contents()
    assert torch.equal(found, torch.cat([keys[[2, 0]], keys[1:, :, :1]], dim=2))
    assert torch.equal(values[:, :, -1:], -keys[1:, :, :1])
