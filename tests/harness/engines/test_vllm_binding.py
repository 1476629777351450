"""How vLLM's CPU workers are bound to processors; no engine is started."""

import os

import pytest

from harness.engines.vllm import _environment, cpu_shares


def test_each_worker_gets_its_part_and_a_single_one_is_free() -> None:
    assert cpu_shares([0, 1, 2, 3], 2) == "0,1|2,3"
    assert cpu_shares([0, 1], 4) == "nobind"
    assert cpu_shares([0, 1], 1) == "nobind"


def test_what_a_person_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "VLLM_CPU_OMP_THREADS_BIND"
    monkeypatch.delenv(name, raising=False)
    with _environment():
        assert os.environ[name] == "nobind"
    monkeypatch.setenv(name, "0-3")
    with _environment():
        assert os.environ[name] == "0-3"
