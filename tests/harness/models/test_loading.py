"""Models with something odd in them: one line that names the model and the reason, from whatever library it comes."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from harness.engines import open_engine
from harness.engines.options import EngineConfig
from harness.models.footprint import most_numbers
from harness.models.loading import check_numbers, loading
from harness.models.lookup import resolve
from retmask.model import load_model, load_tokenizer

Change = Callable[[Path], object]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    shutil.copytree(MODEL_DIR, path)
    return path


def json_file(name: str, **values: Any) -> Change:
    """Set values in a JSON file."""

    def change(path: Path) -> None:
        (path / name).write_text(json.dumps({**json.loads((path / name).read_text()), **values}))

    return change


def config(**values: Any) -> Change:
    return json_file("config.json", **values)


def written(name: str, content: str | bytes) -> Change:
    return lambda path: (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def weights(header: Mapping[str, Any]) -> Change:
    """A safetensors file with this header and eight bytes."""
    text = json.dumps(header).encode()
    return written("model.safetensors", len(text).to_bytes(8, "little") + text + bytes(8))


def index(content: str) -> Change:
    def change(path: Path) -> None:
        (path / "model.safetensors").rename(path / "a.safetensors")
        (path / "model.safetensors.index.json").write_text(content)

    return change


def replaced(name: str, make: Change) -> Change:
    """Something else under a file's name."""

    def change(path: Path) -> None:
        (path / name).unlink()
        make(path / name)

    return change


NAMED = [{"name": "tools", "template": "{{ messages }}"}]


def no_end(path: Path) -> None:
    config(eos_token_id=None)(path)
    for name, key in (("generation_config.json", "eos_token_id"), ("tokenizer_config.json", "eos_token")):
        table = json.loads((path / name).read_text())
        table.pop(key, None)
        (path / name).write_text(json.dumps(table))


ODD: Mapping[str, tuple[Change, str]] = {
    "no heads": (config(num_attention_heads=0), "ZeroDivisionError"),
    "layers in words": (config(num_hidden_layers="six"), "num_hidden_layers.*expected int, got str"),
    "a bogus activation": (config(hidden_act="bogus"), "KeyError 'bogus'"),
    "a bogus rope": (config(rope_parameters={"rope_type": "bogus"}), "KeyError 'bogus'"),
    "a bogus dtype": (config(dtype="bogus"), "AttributeError.*bogus"),
    "a list for a type": (config(model_type=["llama"]), "unhashable"),
    "no dictionary": (config(return_dict=False), "has no attribute"),
    "a million layers": (config(num_hidden_layers=1_000_000), "num_hidden_layers is 1000000, more than any model has"),
    "many small layers": (
        config(num_hidden_layers=9_000, hidden_size=8, intermediate_size=1, head_dim=1),
        "describes a model of more than",
    ),
    "a wide model": (config(hidden_size=1_000_000_000), "describes a model of more than"),
    "a large vocabulary": (config(vocab_size=2_000_000_000), "describes a model of more than"),
    "a number of labels": (config(num_labels=20_000), "num_labels is 20000"),
    "a long number": (config(max_position_embeddings=10**400), "more than any model has"),
    "a bogus cache": (json_file("generation_config.json", cache_implementation="bogus"), "cache_implementation"),
    "no tokens to write": (json_file("generation_config.json", max_new_tokens=-5), "max_new_tokens"),
    "a padding in words": (json_file("generation_config.json", pad_token_id="x"), "TypeError"),
    "templates without a default": (
        lambda path: ((path / "chat_template.jinja").unlink(), json_file("tokenizer_config.json", chat_template=NAMED)(path)),
        "no default specified",
    ),
    "a long name of a shard": (index(json.dumps({"weight_map": {"x": "y" * 300}})), "which is not there"),
    "a folder for other weights": (lambda path: (path / "other.safetensors").mkdir(), "other.safetensors cannot be read"),
    "an end in words": (json_file("generation_config.json", eos_token_id=[1, "x"]), "eos_token_id is .*, which is no token"),
    "no size": (config(vocab_size=0.5), "vocab_size"),
    "no end": (no_end, "names no token that ends a text"),
    "an empty tokenizer": (written("tokenizer.json", "{}"), "KeyError 'added_tokens'"),
    "a list for a tokenizer": (written("tokenizer.json", "[]"), "TypeError"),
    "another kind of tokenizer": (json_file("tokenizer.json", model={"type": "Unigram"}), "cannot load"),
    "no regular expression": (
        json_file("tokenizer.json", pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": False}),
        "Oniguruma",
    ),
    "a longest text in words": (json_file("tokenizer_config.json", model_max_length="x"), "TypeError"),
    "a list for the tokenizer's settings": (written("tokenizer_config.json", "[]"), "AttributeError"),
    "a long header": (written("model.safetensors", (2**40).to_bytes(8, "little") + b"{}"), "its header is too large"),
    "a shape beyond all": (weights({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 8]}}), "SafetensorError"),
    "a shape below nothing": (weights({"a": {"dtype": "F32", "shape": [-3], "data_offsets": [0, 8]}}), "SafetensorError"),
    "a shape in words": (weights({"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 8]}}), "not a safetensors file"),
    "an index of lists": (index('{"weight_map": []}'), "not an index of weights"),
    "an index of numbers": (index('{"weight_map": {"x": 5}}'), "not an index of weights"),
    "an index without its facts": (index('{"weight_map": {"x": "a.safetensors"}}'), "KeyError 'metadata'"),
    "a folder for a tokenizer": (replaced("tokenizer.json", Path.mkdir), "cannot load"),
    "a folder for weights": (replaced("model.safetensors", Path.mkdir), "has no safetensors weights"),
    "a pipe for a vocabulary": (lambda path: os.mkfifo(path / "vocab.txt"), "vocab.txt is a pipe or a device"),
    "a device for a template": (replaced("chat_template.jinja", lambda path: path.symlink_to("/dev/zero")), "is a pipe or a device"),
    "a large vocabulary file": (lambda path: os.truncate(path / "tokenizer.json", 1 << 40), "more than any file of a model"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_about_a_model_is_one_line(model: Path, name: str) -> None:
    change, message = ODD[name]
    change(model)
    with pytest.raises(HarnessError, match=message) as found:
        open_engine(resolve(str(model)), EngineConfig("hf", "auto", "cpu", 4096))
    assert str(model) in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["no heads", "a wide model", "no dictionary", "a longest text in words"])
def test_nor_do_methods_fall_over_it(model: Path, name: str) -> None:
    ODD[name][0](model)

    def load() -> None:
        load_tokenizer(model)
        load_model(model, "float32", "cpu")

    with pytest.raises(HarnessError, match=str(model)):
        load()


def test_a_panic_is_no_end() -> None:
    class PanicException(BaseException):  # pyo3's name
        pass

    with pytest.raises(HarnessError, match="cannot load x: PanicException gave up"), loading(Path("x")):
        raise PanicException("gave up")


def test_what_ends_a_command_still_does() -> None:
    for kind in (KeyboardInterrupt, SystemExit, MemoryError):
        with pytest.raises(kind), loading(Path("x")):
            raise kind


def test_usual_models_have_room() -> None:
    check_numbers({"num_hidden_layers": 126, "vocab_size": 262_144, "max_position_embeddings": 10_485_760, "num_experts": 512}, Path("x"))
    assert most_numbers(MODEL_DIR) > 2 * 600_000


def test_a_token_that_the_model_does_not_know_is_named(model: Path) -> None:
    """As where somebody added a pad token to the tokenizer alone: the row of a batch that is padded would end the command."""
    tokenizer = load_tokenizer(model)
    tokenizer.add_special_tokens({"pad_token": "<|new|>"})
    tokenizer.save_pretrained(model)
    with pytest.raises(HarnessError, match=r"its tokenizer gives token \d+ and its model knows"):
        open_engine(resolve(str(model)), EngineConfig("hf", "auto", "cpu", 4096))


def test_so_is_one_in_a_prompt(model: Path) -> None:
    tokenizer = load_tokenizer(model)
    tokenizer.add_tokens(["rivers"])
    tokenizer.save_pretrained(model)
    engine = open_engine(resolve(str(model)), EngineConfig("hf", "auto", "cpu", 4096))
    assert engine._backend.tok_encode("the river")
    with pytest.raises(HarnessError, match="its tokenizer gives token"):
        engine._backend.tok_encode("the rivers")
