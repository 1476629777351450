"""What `harness plan` says that a run takes, against what its steps then take.

    python benchmarks/plan.py                         the shipped model: some minutes
    python benchmarks/plan.py --model smollm2-135m    SmolLM2-135M-Instruct: a quarter of an hour on two idle cores

For every step the plan's seconds, the clock's, and the processor's divided by the threads, which other work on the machine hardly
lengthens. The plan's are those of an idle machine. Exit code 1 if the sum is off by more than a factor of 1.5, by the clock on an idle
machine or by processor time on a busy one.
"""

import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import click
from _sides import Clock

from harness import pipeline
from harness.api import Artifact, Json
from harness.commands.options import run_config
from harness.planning.plan import make_plan, timed
from harness.planning.table import as_text

FACTOR = 1.5
#: Load average, in cores, from which a machine counts as busy.
BUSY = 0.3


class Timing(pipeline.Run):
    """A run that notes what each of its steps takes, in the order in which they are built."""

    spent: ClassVar[defaultdict[str, list[Clock]]] = defaultdict(list)

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        """As the run does."""

        def timed_build(work: Path) -> Mapping[str, Json] | None:
            wall, own = time.perf_counter(), sum(os.times()[:4])
            facts = build(work)
            self.spent[name].append(Clock(time.perf_counter() - wall, sum(os.times()[:4]) - own))
            return facts

        return super().step(name, inputs, timed_build, version=version)


@click.command()
@click.option("--model", default="builtin", show_default=True)
@click.option("--examples", default=4, show_default=True)
@click.option("--prompts", default=48, show_default=True)
@click.option("--new-tokens", default=48, show_default=True)
@click.option("--trials", default=8, show_default=True)
def main(model: str, examples: int, prompts: int, new_tokens: int, trials: int) -> None:
    """Plan, run, print the ratios."""
    options: dict[str, Json] = {
        "detection_lengths": [512],
        "detection_trials": trials,
        "prompts": prompts,
        "max_new_tokens": new_tokens,
        "batch_size": 16,
        "micro_batch_size": 4,
    }
    config = run_config(model, None, {"lengths": (512,), "examples": examples}, options)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "run"
        plan = timed(make_plan(root, model, ("retmask",), config), config)
        print(as_text(plan, config), "\n")
        if plan.seconds is None:
            sys.exit(1)
        busy = os.getloadavg()[0] / (os.cpu_count() or 1) > BUSY
        pipeline.Run = Timing  # type: ignore[misc]
        wall, own = time.perf_counter(), sum(os.times()[:4])
        pipeline.run_methods(root, model, ("retmask",), config)
        whole = Clock(time.perf_counter() - wall, sum(os.times()[:4]) - own)
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    print(f"\n{'step':34} {'planned':>9} {'clock':>9} {'processor':>10} {'clock':>7} {'processor':>10}")
    for step in plan.steps:
        if step.seconds and Timing.spent[step.work.step]:
            _line(step.name, step.seconds, Timing.spent[step.work.step].pop(0), threads)
    others = {name: Clock(*map(sum, zip(*spent, strict=True))) for name, spent in Timing.spent.items() if spent}
    for name, spent in others.items():
        print(f"{name:34} {'':9} {spent.wall:9.1f} {spent.own / threads:10.1f}")
    _line("together", plan.seconds, whole, threads)
    ratio = plan.seconds / (whole.own / threads if busy else whole.wall)
    print(f"\nplanned over taken, {'processor time: this machine is busy' if busy else 'by the clock'}: {ratio:.2f}")
    sys.exit(not 1 / FACTOR <= ratio <= FACTOR)


def _line(name: str, planned: float, took: Clock, threads: int) -> None:
    own = took.own / threads
    print(f"{name:34} {planned:9.1f} {took.wall:9.1f} {own:10.1f} {planned / took.wall:7.2f} {planned / own:10.2f}")


if __name__ == "__main__":
    main()
