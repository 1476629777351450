"""Threads by the load that is there: what is read, what is chosen, and that OpenMP goes by it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.engines import threads
from harness.engines.threads import busy_cores, choose, settings, usable_cores

PASSIVE = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}


@pytest.mark.parametrize(
    ("asked", "cores", "busy", "chosen"),
    [
        (None, 2, 0.1, {}),  # idle: OpenMP's own defaults, which spin
        (None, 2, 1.0, {"OMP_NUM_THREADS": "1"} | PASSIVE),
        (None, 2, 2.0, {"OMP_NUM_THREADS": "1"} | PASSIVE),
        (None, 16, 4.2, {"OMP_NUM_THREADS": "12"} | PASSIVE),
        (2, 2, 0.0, {"OMP_NUM_THREADS": "2"}),
        (2, 2, 1.0, {"OMP_NUM_THREADS": "2"} | PASSIVE),
        (1, 2, 1.0, {"OMP_NUM_THREADS": "1"}),
        (4, 2, 0.0, {"OMP_NUM_THREADS": "4"} | PASSIVE),
    ],
)
def test_threads_take_the_cores_that_are_free(asked: int | None, cores: int, busy: float, chosen: dict[str, str]) -> None:
    assert settings(asked, cores, busy) == chosen


def stat(path: Path, ticks: Sequence[Sequence[int]]) -> None:
    lines = [f"cpu{number} {' '.join(map(str, columns))} 0 0" for number, columns in enumerate(ticks)]
    path.write_text("\n".join(["cpu  1 1 1 1 1 1 1 1 0 0", *lines, "intr 5 6", "ctxt 7"]))


def test_busy_cores_are_those_that_did_not_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stat"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 3})
    stat(file, [[0] * 8] * 4)
    #       user nice system idle iowait irq softirq steal
    later = [[6, 2, 2, 0, 0, 0, 0, 0], [0, 0, 0, 8, 2, 0, 0, 0], [10, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 5, 0, 1, 1, 3]]
    assert busy_cores(file, lambda _: stat(file, later)) == pytest.approx(1.5)


def test_where_the_load_is_not_known_nothing_is_busy(tmp_path: Path) -> None:
    assert busy_cores(tmp_path / "none", lambda _: None) == 0.0
    (tmp_path / "odd").write_text("cpu0 x y")
    assert busy_cores(tmp_path / "odd", lambda _: None) == 0.0


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "1000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.max": "nonsense"}, 8),
    ],
)
def test_a_quota_counts_as_fewer_cores(files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert usable_cores(tmp_path) == cores


def test_what_a_person_set_stays_and_only_a_change_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(threads, "busy_cores", lambda: 1.0)
    assert choose(None, {"OMP_NUM_THREADS": "7"}) == ({}, "")
    assert choose(None, {"OMP_WAIT_POLICY": "active"}) == ({}, "")
    chosen, line = choose(None, {})
    assert chosen["OMP_NUM_THREADS"] == "1"
    assert line == "1.0 of 2 cores are busy with other work: computing on 1 thread; --threads overrules"
    assert choose(2, {"OMP_NUM_THREADS": "7"})[0]["OMP_NUM_THREADS"] == "2"
    monkeypatch.setattr(threads, "busy_cores", lambda: 0.0)
    assert choose(None, {}) == ({}, "")
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    assert choose(None, {}) == ({"OMP_NUM_THREADS": "1"}, "the control group pays for 1 of 2 cores: computing on 1 thread")


@pytest.mark.parametrize("command", ["run", "eval", "plan", "pairs", "train", "heads detect", "heads audit"])
def test_commands_that_compute_take_it(command: str) -> None:
    from click.testing import CliRunner

    from harness.commands.root import main

    assert "--threads" in CliRunner().invoke(main, [*command.split(), "--help"]).output


def test_openmp_goes_by_it() -> None:
    """Set in the process itself, before torch is loaded."""
    code = "import os; from harness.engines.threads import apply; apply(3, os.environ); import torch"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    done = subprocess.run([sys.executable, "-c", code], env=clean | {"OMP_DISPLAY_ENV": "TRUE"}, capture_output=True, text=True, check=True)
    assert "OMP_NUM_THREADS = '3'" in done.stderr
