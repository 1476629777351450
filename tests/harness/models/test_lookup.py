"""Where weights may come from, and that no model brings code unless someone asked for it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from harness.commands.root import main
from harness.config import load_preset
from harness.models.footprint import ModelShape
from harness.models.lookup import resolve

SMALL = ("--lengths", "256", "--examples", "1", "--tasks", "niah_mk", "--preset", "builtin", "--device", "cpu")


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """The shipped model as people saved models before safetensors."""
    from safetensors.torch import load_file

    path = tmp_path / "pickled"
    shutil.copytree(MODEL_DIR, path, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(load_file(MODEL_DIR / "model.safetensors"), path / "pytorch_model.bin")
    return path


def test_pickled_weights_are_refused_in_one_line_that_names_the_flag(pickled: Path, tmp_path: Path) -> None:
    for command in (("eval", *SMALL), ("heads", "detect", "--out", tmp_path / "h.safetensors")):
        result = harness(*command, "--model", pickled)
        assert result.exit_code == 2
        assert result.stderr.startswith("harness: ")
        assert len(result.stderr.strip().splitlines()) == 1
        assert "--allow-unsafe-weights" in result.stderr


def test_a_decoy_beside_pickled_weights_is_no_excuse(pickled: Path) -> None:
    shutil.copy(MODEL_DIR / "model.safetensors", pickled / "decoy.safetensors")  # transformers would not look at it
    with pytest.raises(HarnessError, match="--allow-unsafe-weights"):
        resolve(str(pickled))


def test_with_the_flag_they_are_loaded_and_part_of_the_identity(pickled: Path, tmp_path: Path) -> None:
    result = harness("eval", "--model", pickled, *SMALL, "--output", tmp_path / "run", "--allow-unsafe-weights")
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["config"]["allow_unsafe_weights"] is True
    model = resolve(str(pickled), allow_unsafe_weights=True)
    assert manifest["model"]["digest"] == model.digest != resolve("builtin").digest
    assert ModelShape.read(model).parameters == pytest.approx(ModelShape.read(resolve("builtin")).parameters, rel=0.05)
    torch.save({"lm_head.weight": torch.zeros(1)}, pickled / "pytorch_model.bin")
    assert resolve(str(pickled), allow_unsafe_weights=True).digest != model.digest


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.path,))


def test_even_with_the_flag_a_pickle_runs_nothing(pickled: Path, tmp_path: Path) -> None:
    torch.save({"lm_head.weight": Bomb(tmp_path / "exploded")}, pickled / "pytorch_model.bin")
    result = harness("eval", "--model", pickled, *SMALL, "--output", tmp_path / "run", "--allow-unsafe-weights")
    assert result.exit_code == 2, repr(result.exception)
    assert "pickled weights with other objects than tensors in them, which could run code" in result.output
    assert not (tmp_path / "exploded").exists()
    Bomb(tmp_path / "exploded").__reduce__()[0](tmp_path / "exploded")  # type: ignore[operator]
    assert (tmp_path / "exploded").exists(), "the bomb works"


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    """The shipped model with an architecture of its own, whose code leaves a file when it is imported."""
    path = tmp_path / "coded"
    shutil.copytree(MODEL_DIR, path)
    config = json.loads((path / "config.json").read_text())
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    (path / "config.json").write_text(json.dumps({**config, "model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": auto}))
    (path / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    return path


def test_a_models_code_runs_only_when_asked_for(coded: Path, tmp_path: Path) -> None:
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/usr/bin:/bin"}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "harness.commands.root",
            "eval",
            "--model",
            str(coded),
            *SMALL,
            "--output",
            str(tmp_path / "run"),
            *more,
        ]
        return subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)

    refused = run()
    assert refused.returncode == 2, refused.stderr
    assert "--trust-remote-code" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "ran").exists()
    trusted = run("--trust-remote-code")
    assert trusted.returncode == 0, trusted.stderr
    assert (tmp_path / "ran").exists()
    assert json.loads((tmp_path / "run/manifest.json").read_text())["config"]["trust_remote_code"] is True


def test_trusted_code_is_part_of_the_identity(coded: Path) -> None:
    before = resolve(str(coded), trust_remote_code=True).digest
    assert before != resolve(str(coded)).digest
    (coded / "own.py").write_text("raise SystemExit")
    assert resolve(str(coded), trust_remote_code=True).digest != before


def test_methods_take_no_code(coded: Path, tmp_path: Path) -> None:
    result = harness("run", "--model", coded, "--method", "retmask", *SMALL, "--output", tmp_path / "r", "--trust-remote-code")
    assert result.exit_code == 2
    assert "harness eval" in result.stderr


@pytest.mark.parametrize("name", ["allow_unsafe_weights", "trust_remote_code"])
def test_no_preset_takes_a_risk_for_its_user(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.toml").write_text(f"[run]\n{name} = true\n")
    with pytest.raises(HarnessError, match=f"--{name.replace('_', '-')}"):
        load_preset(str(tmp_path / "p.toml"))
