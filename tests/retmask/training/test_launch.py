"""The trainer's process: its messages, its errors, its GPU. That it trains, and dies with its parent, is shown in test_methods."""

import doctest
import sys
from pathlib import Path

import pytest

from harness.api import HarnessError
from retmask.training import launch as launch_module
from retmask.training.launch import TrainConfig, _one_gpu, launch


def stand_in(script: str) -> tuple[str, ...]:
    """A launcher that runs a script in place of the trainer, with the trainer's arguments."""
    return sys.executable, "-c", script


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(model="m", pairs="p", output=str(tmp_path / "out"), batch_size=64)


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(launch_module).failed == 0


def test_messages_are_passed_on_and_facts_come_back(config: TrainConfig) -> None:
    script = """
import json, pathlib, sys
assert sys.argv[1:4] == ["-m", "retmask.training.train", "--config"]
table = json.load(open(sys.argv[4]))
print("one"); print("two")
(pathlib.Path(table["output"]) / "facts.json").write_text(json.dumps({"batch": table["batch_size"]}))
"""
    said: list[str] = []
    assert launch(config, said.append, stand_in(script)) == {"batch": 64}
    assert said == ["one", "two"]


def test_a_users_mistake_comes_through_as_it_was_said(config: TrainConfig) -> None:
    script = "import sys; print('warning: noise', file=sys.stderr); print('error: raise max_length', file=sys.stderr); sys.exit(2)"
    with pytest.raises(HarnessError, match=r"^raise max_length$"):
        launch(config, command=stand_in(script))


def test_a_crash_names_its_code_and_its_log(config: TrainConfig) -> None:
    with pytest.raises(HarnessError, match=r"training stopped with exit code 1: ValueError: out of luck \(all of it: .*train\.log\)"):
        launch(config, command=stand_in("raise ValueError('out of luck')"))
    with pytest.raises(HarnessError, match="exit code -9"):
        launch(config, command=stand_in("import os; os.kill(os.getpid(), 9)"))


def test_the_log_keeps_every_step_and_steps_are_not_the_reason(config: TrainConfig) -> None:
    script = """
import sys, time
from retmask.training.launch import STAMP
print("RuntimeError: boom", file=sys.stderr)
print(f"{time.strftime(STAMP)} step 1 of 4: loss 0.69", file=sys.stderr)
sys.exit(1)
"""
    with pytest.raises(HarnessError, match=r"exit code 1: RuntimeError: boom \(all of it"):
        launch(config, command=stand_in(script))
    assert "step 1 of 4: loss 0.69" in (Path(config.output) / "train.log").read_text()


def test_one_gpu_is_made_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _one_gpu("cpu") == _one_gpu("cuda") == {}
    assert _one_gpu("cuda:1") == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert _one_gpu("cuda:1") == {"CUDA_VISIBLE_DEVICES": "6"}
