"""Families that call their sizes otherwise than Llama's are read, planned and evaluated like any other."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BloomConfig,
    GPT2Config,
    GPTBigCodeConfig,
    MptConfig,
)
from transformers import PretrainedConfig as Config

from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from harness.commands.root import main
from harness.models.footprint import ModelShape, context_length
from harness.models.lookup import resolve

VOCABULARY = 1_024
#: Family -> configuration, its context in tokens, its KV heads.
FAMILIES = {
    "gpt2": (GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=512), 512, 4),
    "bigcode": (GPTBigCodeConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=512, multi_query=True), 512, 1),
    "bloom": (BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, seq_length=512), 512, 4),
    "mpt": (MptConfig(vocab_size=VOCABULARY, d_model=32, n_layers=2, n_heads=4, max_seq_len=512), 512, 4),
}


def made(config: Config, path: Path) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    torch.manual_seed(0)
    config.vocab_size = len(tokenizer)
    config.eos_token_id = config.bos_token_id = tokenizer.eos_token_id
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_with_names_of_its_own(family: str, tmp_path: Path) -> None:
    config, context, kv_heads = FAMILIES[family]
    model = resolve(str(made(config, tmp_path / "model")))
    shape = ModelShape.read(model)
    assert (shape.layers, shape.heads, shape.kv_heads, shape.head_dim, shape.hidden) == (2, 4, kv_heads, 8, 32)
    assert shape.context == context_length(model) == context
    command = [
        "eval",
        "--model",
        str(tmp_path / "model"),
        "--tasks",
        "niah_mk",
        "--examples",
        "1",
        "--yes",
        "--output",
        str(tmp_path / "run"),
    ]
    beyond = CliRunner().invoke(main, [*command, "--lengths", "1k"])
    assert beyond.exit_code == 2
    assert str(context) in beyond.output
    assert not list(tmp_path.glob("run/steps/suite-*")), "found before the suite is built"
    done = CliRunner().invoke(main, [*command, "--lengths", "256"])
    assert done.exit_code == 0, done.output


def test_a_model_that_writes_nothing_is_said(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match=r"not a decoder-only language model \(architectures: BertForMaskedLM\)"):
        resolve(str(tmp_path))
