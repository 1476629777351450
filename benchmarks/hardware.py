"""What `harness plan --hardware` says that reading, writing and training take, against what they take here.

    python benchmarks/hardware.py --model smollm2-135m        on one thread: about two minutes of processor time

The machine's own rates are measured first (a product of matrices, and of a large matrix with a vector) and stated as `--hardware` would
state them. Everything is processor time, which other work on the machine lengthens less than the clock. Exit code 1 if a ratio is off by
more than a factor of 1.5.
"""

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import click
import torch

from harness.api import Work
from harness.engines.cache import RoomyCache
from harness.models.lookup import resolve
from harness.planning.blueprint import Blueprint
from harness.planning.hardware import Hardware
from harness.planning.layouts import Layout, place
from retmask.model import load_model

FACTOR = 1.5
ROWS, BEFORE, SEQUENCE = 8, 512, 512
ALONE = Layout("none", 1)


def timed(act: Callable[[], object], times: int = 5) -> float:
    """Processor seconds of one call: the median of some, after one that does not count."""
    act()
    taken = []
    for _ in range(times):
        started = time.process_time()
        act()
        taken.append(time.process_time() - started)
    return median(taken)


def machine() -> Hardware:
    """This machine on one thread, as it would be stated."""
    square, large, vector = torch.rand(1536, 1536), torch.rand(8192, 8192), torch.rand(8192)
    flops = 2 * 1536**3 / timed(lambda: square @ square)
    memory = large.nbytes / timed(lambda: large @ vector)
    return Hardware(1, 16 << 30, flops, memory)


@click.command()
@click.option("--model", "name", default="builtin", show_default=True)
def main(name: str) -> None:
    """Measure, plan, print the ratios."""
    torch.set_num_threads(1)
    path = resolve(name).path
    blueprint, there, network = Blueprint.read(path), machine(), load_model(path, "float32", "cpu")
    ids = torch.arange(5, 5 + SEQUENCE)[None] % blueprint.shape.vocabulary

    def read() -> None:
        with torch.inference_mode():
            network(input_ids=ids, logits_to_keep=1)

    cache = RoomyCache()
    with torch.inference_mode():
        network(input_ids=ids[:, :BEFORE].repeat(ROWS, 1), past_key_values=cache, use_cache=True, logits_to_keep=1)

    def write() -> None:
        with torch.inference_mode():
            network(input_ids=ids[:, :1].repeat(ROWS, 1), past_key_values=cache, use_cache=True)
            cache.cut(BEFORE)

    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-9)

    def train() -> None:
        network(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    reading = Work("generate", prompts=1, prefill_tokens=SEQUENCE)
    writing = Work("generate", prompts=ROWS, prefill_tokens=ROWS * BEFORE, new_tokens=ROWS, passes=1)
    training = Work("sft", train_tokens=SEQUENCE, train_batch_tokens=SEQUENCE, train_passes=3, updates=1)
    planned = {
        title: place(work, ALONE, blueprint, there, "float32").seconds
        for title, work in (("read", reading), ("write", writing), ("train", training))
    }
    planned["write"] -= place(Work("generate", prompts=ROWS, prefill_tokens=ROWS * BEFORE), ALONE, blueprint, there, "float32").seconds
    measured = {"read": timed(read), "write": timed(write), "train": timed(train, 3)}
    ratios = {title: planned[title] / measured[title] for title in planned}
    rates = {"flops": there.flops, "memory": there.bandwidth}
    click.echo(json.dumps({"rates": rates, "planned": planned, "measured": measured, "planned_over_measured": ratios}, indent=1))
    sys.exit(int(any(not 1 / FACTOR < ratio < FACTOR for ratio in ratios.values())))


if __name__ == "__main__":
    main()
