"""How many threads compute, and how they wait for each other, by the load that is there.

OpenMP's threads spin while they wait. On cores of their own that is fastest; where another process works, a thread that spins keeps the one
it waits for from running, and everything takes several times as long. So on idle cores nothing is changed, and beside other work there are
as many threads as there are free cores, which sleep while they wait. The OpenMP library reads these settings when torch is loaded, and
processes that are started later inherit them.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

import click

from harness.screen.terminal import echo

_STAT: Final = Path("/proc/stat")
_CGROUP: Final = Path("/sys/fs/cgroup")
_LOOK: Final = 0.15
"""Seconds over which the load is measured."""
_NOISE: Final = 0.3
"""Cores: less than this is what an idle machine does anyway."""
#: Of /proc/stat's columns after the name: user, nice, system, irq, softirq, steal.
_BUSY: Final = (0, 1, 2, 5, 6, 7)
_SETTINGS: Final = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")


def threads_option(command: Any) -> Any:
    """Add ``--threads``, for every command that computes; without it, the load decides."""
    return click.option(
        "--threads",
        type=click.IntRange(min=1),
        expose_value=False,
        callback=_use,
        help="Threads that compute on the CPU.  [default: all cores that other work leaves free]",
    )(command)


def settings(threads: int | None, cores: int, busy: float) -> dict[str, str]:
    """Give OpenMP's environment for so many usable cores, of which others keep ``busy`` busy; empty if its own defaults are best."""
    passive = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    if threads is not None:
        return {"OMP_NUM_THREADS": str(threads)} | (passive if threads + busy > cores + _NOISE else {})
    if busy < _NOISE:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, round(cores - busy)))} | passive


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """List the processors that this process may use, by its affinity and its control group's quota."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(allowed, _quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Processors that the control group pays for; infinite without a quota."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota, period = ((cgroup / "cpu" / name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        return math.inf if int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def busy_cores(stat: Path = _STAT, wait: Callable[[float], None] = time.sleep) -> float:
    """Count how many of the processors that this process may use are kept busy by others just now; 0 where that is not known."""
    try:
        before = _ticks(stat.read_text())
        wait(_LOOK)
        after = _ticks(stat.read_text())
    except (OSError, ValueError, IndexError):
        return 0.0
    found = 0.0
    for processor in os.sched_getaffinity(0) & before.keys() & after.keys():
        busy, whole = (late - early for late, early in zip(after[processor], before[processor], strict=True))
        found += busy / whole if whole > 0 else 0.0
    return found


def _ticks(stat: str) -> dict[int, tuple[int, int]]:
    """Processor -> ticks busy and in all."""
    found = {}
    for line in stat.splitlines():
        name, *columns = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(column) for column in columns[:8]]
            found[int(name[3:])] = sum(ticks[column] for column in _BUSY), sum(ticks)
    return found


def choose(threads: int | None, environment: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Choose what to set, with one line that says so, empty if nothing is. What a person has set in the environment stays."""
    if threads is None and any(name in environment for name in _SETTINGS):
        return {}, ""
    cores, allowed = usable_cores(), len(os.sched_getaffinity(0))
    busy = busy_cores()
    chosen = settings(threads, cores, busy)
    if threads is None and not chosen and cores < allowed:
        return {"OMP_NUM_THREADS": str(cores)}, f"the control group pays for {cores} of {allowed} cores: {_count(cores)}"
    if threads is not None or not chosen:
        return chosen, ""
    return chosen, f"{busy:.1f} of {cores} cores are busy with other work: {_count(int(chosen['OMP_NUM_THREADS']))}; --threads overrules"


def _count(threads: int) -> str:
    return f"computing on {threads} thread{'s' if threads > 1 else ''}"


def _use(context: click.Context, _parameter: click.Parameter, threads: int | None) -> None:
    if context.resilient_parsing:
        return
    torch = sys.modules.get("torch")
    if torch is not None:  # the library has read its environment: only the number can still be changed
        if threads is not None:
            torch.set_num_threads(threads)
        return
    apply(threads, os.environ)


def apply(threads: int | None, environment: MutableMapping[str, str]) -> None:
    """Set what :func:`choose` chooses, and say it."""
    chosen, line = choose(threads, environment)
    environment.update(chosen)
    if line:
        echo(line, err=True)
