"""Threads beside other work: OpenMP's defaults against what `harness` chooses, with a process beside that never rests, and without.

    python benchmarks/threads.py --model smollm2-135m        decoding a batch of 8 and reading 512 tokens: about two minutes on two cores

Each side is a process of its own, since OpenMP reads its settings once; they take turns. Times are on the wall: what threads that spin cost
is other threads' time. On a machine that others use, too, the idle rows mean nothing.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import click

from harness.engines.threads import choose, usable_cores
from harness.models.lookup import resolve

SIDES = ("default", "ours")
SPIN = "while True: pass"


def measure(path: Path, steps: int) -> dict[str, float]:
    """Milliseconds of a decoding step of 8 rows at 512 tokens, and of reading 512 tokens: the median each."""
    import torch

    from harness.engines.cache import RoomyCache
    from retmask.model import load_model

    model = load_model(path, "float32", "cpu")
    times: dict[str, list[float]] = {"read": [], "decode": []}
    with torch.inference_mode():
        for _ in range(3):
            started = time.perf_counter()
            model(input_ids=torch.arange(5, 517)[None], logits_to_keep=1)
            times["read"].append(time.perf_counter() - started)
        cache = RoomyCache()
        model(input_ids=torch.arange(5, 517).repeat(8, 1), past_key_values=cache, use_cache=True, logits_to_keep=1)
        for _ in range(steps):
            started = time.perf_counter()
            model(input_ids=torch.full((8, 1), 7), past_key_values=cache, use_cache=True)
            times["decode"].append(time.perf_counter() - started)
    return {name: 1000 * sorted(each)[len(each) // 2] for name, each in times.items()} | {"threads": torch.get_num_threads()}


def side(name: str, path: Path, steps: int) -> dict[str, float]:
    """One side in a process of its own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    chosen = choose(None, clean)[0] if name == "ours" else {}
    command = [sys.executable, __file__, "--measure", str(path), "--steps", str(steps)]
    done = subprocess.run(command, env=clean | chosen, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@click.command()
@click.option("--model", "name", default="builtin", show_default=True)
@click.option("--rounds", default=2, show_default=True)
@click.option("--steps", default=20, show_default=True)
@click.option("--measure", "measured", type=click.Path(path_type=Path), hidden=True)
def main(name: str, rounds: int, steps: int, measured: Path | None) -> None:
    """Print milliseconds for both sides, and how many times as fast ours is."""
    if measured is not None:
        print(json.dumps(measure(measured, steps)))
        return
    path = resolve(name).path
    for beside in (0, 1):
        with ExitStack() as stack:
            for _ in range(beside):
                process = subprocess.Popen([sys.executable, "-c", SPIN])
                stack.callback(process.wait)
                stack.callback(process.kill)
            found = [{each: side(each, path, steps) for each in SIDES} for _ in range(rounds)]
        best = {each: {what: min(row[each][what] for row in found) for what in ("read", "decode", "threads")} for each in SIDES}
        ratios = {what: round(best["default"][what] / best["ours"][what], 2) for what in ("read", "decode")}
        rows = {each: {what: round(value, 1) for what, value in best[each].items()} for each in SIDES}
        print(json.dumps({"cores": usable_cores(), "busy_processes_beside": beside, **rows, "times_faster": ratios}), flush=True)


if __name__ == "__main__":
    main()
