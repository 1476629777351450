"""The probe's arithmetic, and the process that it runs in. On the shipped model."""

from dataclasses import astuple, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import HarnessError, Model
from harness.models.footprint import ModelShape
from harness.models.lookup import resolve
from harness.planning.speed import Speed, fit, probe, steps

SMALL = st.floats(1e-6, 1e-2)


@given(SMALL, st.floats(0, 1e-6))
def test_the_fit_finds_the_law_that_made_the_times(linear: float, square: float) -> None:
    found = fit({128: linear * 128 + square * 128**2, 1024: linear * 1024 + square * 1024**2})
    assert found == pytest.approx((linear, square), rel=1e-3, abs=1e-9)


@given(st.floats(1e-6, 10), st.floats(1e-6, 10))
def test_the_fit_never_predicts_negative_times(short: float, long: float) -> None:
    assert min(fit({128: short, 1024: long})) >= 0


def test_one_prefill_is_a_straight_line() -> None:
    assert fit({128: 1.28}) == (0.01, 0.0)


@given(SMALL, SMALL, st.floats(0, 1e-5))
def test_the_steps_find_the_law_that_made_the_times(step: float, row: float, token: float) -> None:
    def law(rows: int, tokens: int) -> float:
        return step + rows * (row + token * tokens)

    found = steps({(1, 128): law(1, 128), (32, 128): law(32, 128), (8, 1016): law(8, 1016)})
    assert found == pytest.approx((step, row, token), rel=1e-3, abs=1e-8)


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=3))
def test_steps_are_never_negative_however_few_were_measured(seconds: list[float]) -> None:
    assert min(steps(dict(zip([(1, 128), (32, 128), (8, 1016)], seconds, strict=False)))) >= 0


def test_a_probe_measures_everything_in_a_process_of_its_own() -> None:
    model = resolve("builtin")
    found = probe(model, ModelShape.read(model), "auto", "cpu")
    for speed in (found.idle, found.now):
        assert min(astuple(speed)) >= 0
        assert speed.start > 0
        assert speed.prefill(512) > 0
        assert speed.decode(8, 512) > 0
    assert found.idle.start <= found.now.start, "alone, nothing takes longer than beside other work"


def test_a_probe_that_may_not_take_any_time_says_so() -> None:
    model = resolve("builtin")
    with pytest.raises(HarnessError, match="not read once within"):
        probe(model, ModelShape.read(model), "auto", "cpu", limit=0.01)


def test_a_model_that_is_not_loaded_in_time_is_judged_by_its_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = resolve("builtin")
    shape = ModelShape.read(model)
    (tmp_path / "sitecustomize.py").write_text(  # killed while it loads, as when time is up
        "import os, signal, sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Slow(MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'harness.engines.weights': os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = probe(model, shape, "float32", "cpu", limit=30)
    assert not found.timed
    larger = probe(model, replace(shape, parameters=100 * shape.parameters), "float32", "cpu", limit=30)
    assert larger.now.prefill(512) > 10 * found.now.prefill(512) > 0
    assert larger.now.decode(8, 512) > 10 * found.now.decode(8, 512) > 0


def test_what_cannot_be_loaded_is_said_with_the_reason(tmp_path: Path) -> None:
    shape = ModelShape.read(resolve("builtin"))
    with pytest.raises(HarnessError, match="for a probe: "):
        probe(Model("nothing", tmp_path, "0"), shape, "auto", "cpu")


def test_speeds_are_those_of_the_laws_that_they_state() -> None:
    speed = Speed(start=5, load=1, per_token=1e-3, per_token_squared=1e-6, step=0.1, per_row=0.01, per_row_token=1e-4)
    assert speed.prefill(1000) == pytest.approx(2.0)
    assert speed.decode(10, 100) == pytest.approx(0.3)
