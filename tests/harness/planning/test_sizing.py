"""Which preset a model gets, by what its config and its weights' header say: the weights here are a header and nothing else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.api import HarnessError, Model
from harness.builtin import MODEL_DIR
from harness.commands.root import main
from harness.config import load_preset
from harness.files import write_sealed
from harness.models.lookup import resolve
from harness.planning.sizing import short, suitable


def model_of(parameters: int, folder: Path) -> Model:
    """A directory that says it holds so many parameters."""
    config = {"num_attention_heads": 8, "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 100}
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"weight": {"dtype": "F32", "shape": [parameters], "data_offsets": [0, 4 * parameters]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return Model("mine", folder, "0")


@pytest.mark.parametrize(
    ("parameters", "device", "preset", "words"),
    [
        (135_000_000, "cpu", "small", "preset small: 135M parameters on a CPU"),
        (999_000_000, "cuda", "small", "preset small: 999M parameters on a GPU"),
        (8_000_000_000, "cuda:1", "default", "preset default: 8.0B parameters on a GPU"),
        (8_000_000_000, "cpu", "small", "preset small: 8.0B parameters on a CPU"),
    ],
)
def test_the_preset_suits_size_and_device_and_says_why(parameters: int, device: str, preset: str, words: str, tmp_path: Path) -> None:
    found, why = suitable(model_of(parameters, tmp_path), device)
    assert found == preset
    assert why.startswith(words)
    other = "small" if preset == "default" else "default"
    assert f"--preset {other}" in why


def test_the_shipped_model_has_its_own_without_a_word() -> None:
    assert suitable(resolve("builtin"), "cpu") == ("builtin", "")


@pytest.mark.parametrize(("trained_from", "preset"), [("builtin", "builtin"), ("mine", "small")])
def test_what_a_run_has_trained_is_asked_as_its_model(trained_from: str, preset: str, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "models" / "retmask"
    folder.mkdir(parents=True)
    (tmp_path / "run" / "steps").mkdir()
    write_sealed(tmp_path / "run" / "models" / "models.json", {"models": {"retmask": "0"}})
    write_sealed(tmp_path / "run" / "manifest.json", {"model": {"name": trained_from}})
    model = replace(model_of(1_500_000, folder), name=f"{tmp_path / 'run'}:retmask")
    assert suitable(model, "cpu")[0] == preset
    (tmp_path / "run" / "manifest.json").write_text("damaged")
    assert suitable(model, "cpu")[0] == "small"


def test_a_copy_of_what_was_trained_from_the_shipped_model_is_asked_as_that(tmp_path: Path) -> None:
    """By its folder's path, exported or moved: its name leads to no run."""
    copy = tmp_path / "exported"
    shutil.copytree(MODEL_DIR, copy)
    preset, why = suitable(resolve(str(copy)), "cpu")
    assert preset == "builtin"
    assert why.startswith(f"preset builtin: {copy} has the shipped model's words; --preset small")
    (copy / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert suitable(resolve(str(copy)), "cpu")[0] == "small"
    (copy / "chat_template.jinja").unlink()
    assert suitable(resolve(str(copy)), "cpu")[0] == "small"


def test_a_model_of_unknown_size_is_an_error(tmp_path: Path) -> None:
    model = model_of(1, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(HarnessError, match="not a safetensors file"):
        suitable(model, "cpu")


def test_the_small_preset_is_small() -> None:
    small, default = load_preset("small"), load_preset("default")
    assert max(small.lengths) <= 2048 < min(default.lengths)
    assert small.clip, "some small models take fewer tokens"
    prompts, lengths = small.options["prompts"], small.options["detection_lengths"]
    assert isinstance(prompts, int)
    assert prompts <= 320
    assert isinstance(lengths, list)
    assert all(isinstance(length, int) and length <= 1024 for length in lengths)


def test_a_command_names_the_preset_that_it_chose(tmp_path: Path) -> None:
    from harness.builtin import MODEL_DIR

    told = CliRunner().invoke(main, ["plan", "--model", str(MODEL_DIR), "--no-probe", "--output", str(tmp_path / "run")])
    assert told.exit_code == 0, told.output
    assert "preset builtin: " in told.stderr
    quiet = CliRunner().invoke(main, ["plan", "--model", str(MODEL_DIR), "--preset", "builtin", "--no-probe", "--output", str(tmp_path)])
    assert "preset" not in quiet.stderr


def test_counts_as_people_say_them() -> None:
    assert [short(count) for count in (1_500_000, 134_515_008, 8_030_261_248)] == ["2M", "135M", "8.0B"]
