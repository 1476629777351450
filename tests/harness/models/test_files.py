"""Every file that is opened when a model is loaded is part of its digest: seen for ten kinds of checkpoints by watching what is opened."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from harness.models.lookup import resolve, tokenizer_digest
from tests.ggufs import write_gguf
from tests.retmask.small import byte_bpe, random_model

#: The shipped model's before additional files were counted: run directories of before are used again.
BUILTIN = "0f5a1bb340389cc3b26b8065bd5d4d06e36f636de6ff435b71d10800cba7ef13"
TOKENIZER = "3dab260a38772ddfb29aac91db9aa51c97d97f772fc5278ca9acb81a35811509"


def single(path: Path) -> None:
    shutil.copytree(MODEL_DIR, path)


def shards(path: Path) -> None:
    shutil.copytree(MODEL_DIR, path, ignore=shutil.ignore_patterns("*.safetensors"))
    AutoModelForCausalLM.from_pretrained(MODEL_DIR).save_pretrained(path, max_shard_size="1MB")
    assert (path / "model.safetensors.index.json").is_file()


def adapter_beside(path: Path) -> None:
    single(path)
    get_peft_model(AutoModelForCausalLM.from_pretrained(MODEL_DIR), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(path)


def adapter_alone(path: Path) -> None:
    adapter_beside(path)
    (path / "config.json").unlink()


def tied(path: Path) -> None:
    random_model("Llama", tie_word_embeddings=True).save_pretrained(path)
    byte_bpe().save_pretrained(path)


def pickled(path: Path) -> None:
    shutil.copytree(MODEL_DIR, path, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(load_file(MODEL_DIR / "model.safetensors"), path / "pytorch_model.bin")


def partial(path: Path) -> None:
    single(path)
    tensors = load_file(path / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if ".layers.1." not in name}, path / "model.safetensors", {"format": "pt"})


def extra_template(path: Path) -> None:
    single(path)
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates/tools.jinja").write_text("{{ messages }}")
    (path / "added_tokens.json").write_text("{}")


def with_sentencepiece(path: Path) -> None:
    random_model("Llama").save_pretrained(path)
    corpus = path / "corpus"
    corpus.write_text("the cat sat on the mat and the dog ran to the sun\n" * 50)
    sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(path / "tokenizer"), vocab_size=40, hard_vocab_limit=False)
    corpus.unlink()
    (path / "tokenizer.vocab").unlink()
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))


def gguf(path: Path) -> None:
    tokenizer = byte_bpe()
    file = write_gguf(path.with_suffix(".gguf"), random_model("Llama", vocab_size=len(tokenizer)), tokenizer)
    shutil.copytree(resolve(str(file)).path, path)


KINDS = {make.__name__: make for make in
         (single, shards, adapter_beside, adapter_alone, tied, pickled, partial, extra_template, with_sentencepiece, gguf)}  # fmt: skip
#: Files that have to be among those that were opened, so that the watch is known to see.
SEEN = {
    "single": "model.safetensors",
    "shards": "model.safetensors.index.json",
    "adapter_beside": "adapter_model.safetensors",
    "pickled": "pytorch_model.bin",
    "extra_template": "additional_chat_templates/tools.jinja",
    "with_sentencepiece": "tokenizer.model",
    "gguf": "tokenizer.json",
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, set[str]]]:
    """Kind -> its directory, and the files that were opened when it was loaded, relative to it."""
    root = tmp_path_factory.mktemp("kinds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(root / "cache"))
        for kind, make in KINDS.items():
            make(root / kind)
    watched = [str(root / kind) for kind in KINDS if kind != "adapter_alone"]
    command = [sys.executable, str(Path(__file__).parents[1] / "opened.py"), *watched]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "HF_HUB_OFFLINE": "1"}
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=500).stdout.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    faults = {Path(each["path"]).name: each["fault"] for each in found}
    assert {kind for kind, fault in faults.items() if fault} == {"partial"}, faults
    return {
        Path(each["path"]).name: (Path(each["path"]), {os.path.relpath(name, each["path"]) for name in each["opened"]}) for each in found
    }


def identity(path: Path) -> str:
    """The digest, or why there is none."""
    try:
        return resolve(str(path), allow_unsafe_weights=True).digest
    except HarnessError as error:
        return str(error)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "adapter_alone"])
def test_every_opened_file_is_in_the_digest(kind: str, opened: dict[str, tuple[Path, set[str]]], tmp_path: Path) -> None:
    path, names = opened[kind]
    assert {"config.json", SEEN.get(kind, "model.safetensors")} <= names
    before = identity(path)
    assert len(before) == 64
    for name in names:
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(path, copy)
        assert identity(copy) == before
        (copy / name).write_bytes(b"another")
        assert identity(copy) != before, f"{name} was opened, and is not in the digest"


def test_an_adapter_without_its_model_is_refused(tmp_path: Path) -> None:
    adapter_alone(tmp_path / "adapter")
    with pytest.raises(HarnessError, match="adapter without its model"):
        resolve(str(tmp_path / "adapter"))


def test_the_strength_of_an_adapter_is_in_the_digest(tmp_path: Path) -> None:
    adapter_beside(tmp_path / "model")
    before = resolve(str(tmp_path / "model")).digest
    file = tmp_path / "model/adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lora_alpha": 400}))
    assert resolve(str(tmp_path / "model")).digest != before


def test_the_order_of_shards_is_in_the_digest(tmp_path: Path) -> None:
    """Which file a weight comes from, where two hold one of its name."""
    shards(tmp_path / "model")
    before = resolve(str(tmp_path / "model")).digest
    index = tmp_path / "model/model.safetensors.index.json"
    table = json.loads(index.read_text())
    table["weight_map"]["model.norm.weight"] = min(table["weight_map"].values())
    index.write_text(json.dumps(table))
    assert resolve(str(tmp_path / "model")).digest != before


def _outside(path: Path) -> None:
    shutil.copy(MODEL_DIR / "model.safetensors", path.parent / "other.safetensors")
    _rename_shard(path, "../other.safetensors")


def _absolute(path: Path) -> None:
    _rename_shard(path, str(MODEL_DIR / "model.safetensors"))


def _pickled_shard(path: Path) -> None:
    torch.save({}, path / "shard.bin")
    _rename_shard(path, "shard.bin")


def _gone(path: Path) -> None:
    _rename_shard(path, "gone.safetensors")


def _rename_shard(path: Path, name: str) -> None:
    index = path / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    table["weight_map"][next(iter(table["weight_map"]))] = name
    index.write_text(json.dumps(table))


def _shapeless(path: Path) -> None:
    (path / "model.safetensors.index.json").write_text('{"weight_map": [{}]}')


def _elsewhere(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "transformers_weights": "other.bin"}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_outside, "outside the model's directory"),
        (_absolute, "outside the model's directory"),
        (_pickled_shard, "--allow-unsafe-weights"),
        (_gone, "not there"),
        (_shapeless, "not an index"),
        (_elsewhere, "names other weights"),
    ],
)
def test_an_index_names_nothing_but_the_models_own_safetensors(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    shards(tmp_path / "model")
    resolve(str(tmp_path / "model"))
    spoil(tmp_path / "model")
    with pytest.raises(HarnessError, match=said):
        resolve(str(tmp_path / "model"))


def test_a_pickled_adapter_needs_the_flag(tmp_path: Path) -> None:
    adapter_beside(tmp_path / "model")
    torch.save(load_file(tmp_path / "model/adapter_model.safetensors"), tmp_path / "model/adapter_model.bin")
    (tmp_path / "model/adapter_model.safetensors").unlink()
    with pytest.raises(HarnessError, match="--allow-unsafe-weights"):
        resolve(str(tmp_path / "model"))
    resolve(str(tmp_path / "model"), allow_unsafe_weights=True)


def test_what_has_no_such_files_keeps_its_digest() -> None:
    model = resolve("builtin")
    assert model.digest == BUILTIN
    assert tokenizer_digest(model) == TOKENIZER
