"""Several processes train the model that one would have trained, also after a kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.api import HarnessError
from retmask.pairs.pairing import PreferencePair, write_pairs
from retmask.training.launch import PARALLEL, TrainConfig, launch, launcher
from retmask.training.train import train

STEPS = 30


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> TrainConfig:
    """Eleven pairs of different lengths: the last of an epoch's three steps has to be filled up."""
    root = tmp_path_factory.mktemp("parallel")
    again = [f"Near the river {'again ' * index}" for index in range(11)]
    write_pairs([PreferencePair(text, f"{text} the door was wet.", "Nobody knew the map.") for text in again], root / "pairs.jsonl")
    paths = {"model": str(checkpoint), "pairs": str(root / "pairs.jsonl"), "output": str(root / "one")}
    return TrainConfig(**paths, learning_rate=3e-4, batch_size=4, micro_batch_size=2, epochs=STEPS / 3, seed=3)


@pytest.fixture(scope="module")
def alone(config: TrainConfig) -> Path:
    """What one process makes, undisturbed."""
    train(config)
    return Path(config.output)


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def assert_same_training(folder: Path, alone: Path) -> None:
    expected = curve(alone)
    assert [point["step"] for point in expected] == list(range(1, STEPS + 1))
    assert expected[-1]["loss"] < 0.5 * expected[0]["loss"], "a curve that does not fall shows nothing"
    assert [point["loss"] for point in curve(folder)] == pytest.approx([point["loss"] for point in expected], abs=1e-3)
    made, wanted = (AutoModelForCausalLM.from_pretrained(path / "model").state_dict() for path in (folder, alone))
    for name, value in wanted.items():
        torch.testing.assert_close(made[name], value, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_follow_the_curve_of_one(config: TrainConfig, alone: Path, tmp_path: Path, parallel: str) -> None:
    facts = launch(replace(config, output=str(tmp_path), micro_batch_size=1), command=launcher(parallel, 2))
    assert facts["processes"] == 2
    assert_same_training(tmp_path, alone)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is an extra")
@pytest.mark.parametrize("parallel", ["zero1", "zero2", "zero3"])
def test_deepspeed_follows_the_curve_of_one_process_too(config: TrainConfig, alone: Path, tmp_path: Path, parallel: str) -> None:
    facts = launch(replace(config, output=str(tmp_path), micro_batch_size=1), command=launcher(parallel, 2))
    assert facts["processes"] == 2
    assert_same_training(tmp_path, alone)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for the trainers' processes in /proc")
def test_two_killed_processes_go_on_to_the_same_weights(config: TrainConfig, alone: Path, tmp_path: Path) -> None:
    ours = replace(config, output=str(tmp_path), micro_batch_size=1)
    script = "import json, sys\nfrom retmask.training.launch import *\n"
    script += "launch(TrainConfig(**json.loads(sys.argv[1])), command=launcher('ddp', 2))"
    parent = subprocess.Popen([sys.executable, "-c", script, json.dumps(asdict(ours))], cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("checkpoints/checkpoint-*/trainer_state.json")):
        assert parent.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    while trainers(tmp_path):
        assert time.monotonic() < deadline, "the trainers outlived the command that started them"
        time.sleep(0.05)
    assert not (tmp_path / "facts.json").exists()
    facts = launch(ours, command=launcher("ddp", 2))
    assert 0 < facts["resumed_from_step"] < STEPS  # type: ignore[operator]
    assert_same_training(tmp_path, alone)


def trainers(output: Path) -> list[Path]:
    """Processes that name the training's folder on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes()
        except OSError:  # it just ended
            continue
        if b"retmask.training.train" in words and str(output).encode() in words:
            found.append(path)
    return found


def test_a_users_mistake_comes_through_accelerate_as_it_was_said(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"^batch_size = 5 cannot be split evenly among 2 processes; give a multiple of 2$"):
        launch(replace(config, output=str(tmp_path), batch_size=5), command=launcher("ddp", 2))


@pytest.mark.parametrize("name", [name for name in PARALLEL if name != "none"])
def test_accelerate_takes_the_shipped_configurations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands.config import load_config_from_file

    monkeypatch.setattr("retmask.training.launch.find_spec", lambda _: True)  # DeepSpeed need not be here to read its settings
    command = launcher(name, 8)
    found = load_config_from_file(command[command.index("--config_file") + 1])
    assert (found.num_machines, found.use_cpu) == (1, False)
    assert command[command.index("--num_processes") + 1] == "8"
    if name.startswith("zero"):
        assert found.deepspeed_config["zero_stage"] == int(name[-1])


@pytest.mark.parametrize(
    ("parallel", "processes", "rank", "message"),
    [
        ("none", 2, 0, "processes = 2 needs parallel; choose from ddp, fsdp"),
        ("dpp", 2, 0, "parallel = 'dpp': choose from none, ddp"),
        ("zero2", 2, 0, r"needs DeepSpeed, which is not installed; pip install 'retmask-harness\[deepspeed\]'"),
        ("fsdp", 2, 8, "lora_rank = 8 cannot be merged under parallel = fsdp; use ddp"),
    ],
)
def test_what_cannot_work_is_refused(parallel: str, processes: int, rank: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retmask.training.launch.find_spec", lambda _: None)
    with pytest.raises(HarnessError, match=message):
        launcher(parallel, processes, rank)


def test_a_configuration_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("distributed_type: MULTI_GPU\n")
    assert launcher(str(path), 0)[-2:] == ("--config_file", str(path))
