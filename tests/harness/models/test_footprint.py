"""Sizes from headers, against the models themselves."""

import json
from pathlib import Path

import pytest

from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from harness.models.footprint import ModelShape, context_length, device_of, devices, gib
from harness.models.lookup import resolve


def test_the_shape_of_the_shipped_model_is_what_transformers_loads() -> None:
    from transformers import AutoModelForCausalLM

    shape = ModelShape.read(resolve("builtin"))
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert shape.weight_bytes("auto") == sum(parameter.nbytes for parameter in model.parameters())
    assert shape.weight_bytes("bfloat16") == shape.weight_bytes("float32") // 2


def test_the_kv_cache_is_as_large_as_the_one_that_transformers_makes() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
    with torch.inference_mode():
        cache = model(torch.zeros(1, 40, dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert ModelShape.read(resolve("builtin")).kv_bytes(40, "auto") == held


def test_grouped_query_attention_and_its_published_size(tmp_path: Path) -> None:
    """Llama-3.1-8B in bfloat16: 128 KiB of cache a token."""
    llama = {"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 128256}
    (tmp_path / "config.json").write_text(json.dumps({**llama, "architectures": ["LlamaForCausalLM"], "dtype": "bfloat16"}))
    _save(tmp_path)
    shape = ModelShape.read(resolve(str(tmp_path)))
    assert shape.kv_bytes(1, "auto") == 128 * 1024
    assert gib(shape.kv_bytes(131_072, "auto")) == "16.0 GiB"


def _save(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, folder / "model.safetensors")


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 64, b"\x04\0\0\0\0\0\0\0null", b"\x02\0\0\0\0\0\0\0{]"])
def test_a_damaged_weights_file_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "config.json").write_text((MODEL_DIR / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(damage)
    with pytest.raises(HarnessError, match=r"model\.safetensors is not a safetensors file"):
        ModelShape.read(resolve(str(tmp_path)))


def test_a_config_without_sizes_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["XForCausalLM"]}))
    _save(tmp_path)
    with pytest.raises(HarnessError, match=r"config\.json does not give the model's sizes.*num_attention_heads"):
        ModelShape.read(resolve(str(tmp_path)))


@pytest.mark.parametrize("value", [[512], "512", 0, -1, 2.5, True])
def test_a_context_that_is_none_is_named(tmp_path: Path, value: object) -> None:
    config = json.loads((MODEL_DIR / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": value}))
    _save(tmp_path)
    model = resolve(str(tmp_path))
    for ask in (context_length, ModelShape.read):
        with pytest.raises(HarnessError, match=r"max_position_embeddings is .*, which is no size"):
            ask(model)


def test_this_machine_has_some_memory() -> None:
    (memory,) = devices("cpu")
    assert 0 < memory.free <= memory.total


@pytest.mark.parametrize("name", ["tpu", "gpu", "cuda:", "cuda:x", "cuda:99999999", "CPU", "cpu,cuda", ""])
def test_a_device_of_no_such_name_is_refused(name: str) -> None:
    """lm-eval took the CPU for it, without a word."""
    with pytest.raises(HarnessError, match="names no device; write cpu"):
        device_of(name)
    assert [device_of(known) for known in ("cpu", "cuda", "cuda:1", "mps", "all")] == ["cpu", "cuda", "cuda:1", "mps", "all"]
