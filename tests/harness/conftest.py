"""Small models on disk, in the formats that users bring."""

import json
import shutil
from pathlib import Path

import pytest

from harness.builtin import MODEL_DIR


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """The shipped model's architecture and tokenizer with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    path = tmp_path / "untrained"
    shutil.copytree(MODEL_DIR, path)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig.from_pretrained(path)).save_pretrained(path)
    return path


@pytest.fixture
def weightless(tmp_path: Path) -> Path:
    """A checkpoint without weights."""
    path = tmp_path / "weightless"
    shutil.copytree(MODEL_DIR, path, ignore=shutil.ignore_patterns("*.safetensors"))
    return path


@pytest.fixture
def encoder_decoder(tmp_path: Path) -> Path:
    """A T5 that says so in its config."""
    path = tmp_path / "t5"
    shutil.copytree(MODEL_DIR, path)
    (path / "config.json").write_text(json.dumps({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}))
    return path
