"""How fast heads are found: against the published loop, and against merely reading the prompts.

    python benchmarks/detection.py                                   the shipped model, all of it: about ten minutes on two cores
    python benchmarks/detection.py --part loop --needles 1           the comparison with the published loop alone, smaller
    python benchmarks/detection.py --part paper --needles 1 --thin 4 --depths 5         a 24th of the paper's grid
    python benchmarks/detection.py --model smollm2-135m --part grid                     as `heads detect --lengths 512 --trials 24`
    python benchmarks/detection.py --shape llama-3.1-8b --device cuda --dtype bfloat16 --part loop

Every comparison runs side by side in this one process, on the same prompts. Without ``--model`` or ``--shape`` it is the shipped model.
"""

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from _published import published_scores
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

from harness.models.lookup import resolve
from retmask.heads.detect import run_trials
from retmask.heads.protocols import LENGTHS, paper_trials, parity_trials
from retmask.heads.trial_scoring import PUBLISHED, RIGHT
from retmask.heads.trials import Trial, build_trials, evenly
from retmask.model import load_model, load_tokenizer

SHAPES: dict[str, dict[str, Any]] = {
    "llama-3.1-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "max_position_embeddings": 131_072,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    }
}


class Clock(NamedTuple):
    """Seconds on the wall, and of this process's own computing, which other work on the machine does not lengthen."""

    wall: float
    own: float

    def __sub__(self, earlier: "Clock") -> "Clock":
        return Clock(self.wall - earlier.wall, self.own - earlier.own)

    def plus(self, other: "Clock") -> "Clock":
        """Both together."""
        return Clock(self.wall + other.wall, self.own + other.own)


def now(device: str) -> Clock:
    """The time, once the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return Clock(time.perf_counter(), time.process_time())


def random_weights(shape: str, device: str, dtype: str) -> PreTrainedModel:
    """A model of a published shape with random weights."""
    with torch.device(device):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[shape]), dtype=getattr(torch, dtype), attn_implementation="sdpa")
    network: PreTrainedModel = model.eval()
    return network


def against_loop(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, length: int, needles: int, device: str) -> dict[str, Any]:
    """Both detectors on the published layout, and on the same number of trials that all differ."""
    steps = PUBLISHED.max_new_tokens
    stops = PUBLISHED.stops(model, tokenizer)
    layouts = {
        "parity: published layout and scoring": (parity_trials, PUBLISHED),
        "depths right, published scoring": (paper_trials, PUBLISHED),
        "depths right, our scoring": (paper_trials, RIGHT),
    }
    run_trials(model, tokenizer, paper_trials(tokenizer, 7, needles=1, lengths=(length // 4,), depths=2))  # warm up
    found: dict[str, Any] = {}
    published: dict[int, tuple[np.ndarray, Clock]] = {}
    for name, (layout, rules) in layouts.items():
        trials: list[Trial] = layout(tokenizer, 42, needles=needles, lengths=(length,))
        if id(layout) not in published:
            started = now(device)
            scores = published_scores(model, trials, stops, steps)
            published[id(layout)] = scores, now(device) - started
        theirs, their_time = published[id(layout)]
        started = now(device)
        results = run_trials(model, tokenizer, trials, rules=rules, uncounted=True)
        our_time = now(device) - started
        ours = np.array([result.scores for result in results])
        found[name] = {
            "trials": len(trials),
            "distinct": len({trial.prompt_ids for trial in trials}),
            "succeeded": sum(result.success for result in results),
            "prompt_tokens": max(len(trial.prompt_ids) for trial in trials),
            "published_seconds": round(their_time.wall, 1),
            "our_seconds": round(our_time.wall, 1),
            "times_faster": round(their_time.wall / our_time.wall, 2),
            "times_faster_in_cpu_time": round(their_time.own / our_time.own, 2),
            "largest_score_difference": float(np.abs(ours - theirs).max()) if rules is PUBLISHED else None,
        }
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    return found


@torch.inference_mode()
def read_plainly(model: PreTrainedModel, trials: Sequence[Trial], device: str) -> Clock:
    """Time to prefill every trial's prompt once, each on its own."""
    started = now(device)
    for trial in trials:
        model(input_ids=torch.tensor([trial.prompt_ids], device=device), use_cache=True, logits_to_keep=1)
    return now(device) - started


def against_reading(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, trials: Sequence[Trial], device: str) -> dict[str, Any]:
    """Trials, from prompts to scores, against reading each of their distinct prompts once."""
    distinct = list({trial.prompt_ids: trial for trial in trials}.values())
    half = len(distinct) // 2
    reading = read_plainly(model, distinct[:half], device)  # half before and half after: the machine may change its pace
    started = now(device)
    results = run_trials(model, tokenizer, trials)
    detecting = now(device) - started
    reading = reading.plus(read_plainly(model, distinct[half:], device))
    found = {
        "trials": len(trials),
        "succeeded": sum(result.success for result in results),
        "prompt_tokens": sum(len(trial.prompt_ids) for trial in trials),
        "reading_seconds": round(reading.wall, 1),
        "detecting_seconds": round(detecting.wall, 1),
        "ratio": round(detecting.wall / reading.wall, 3),
        "ratio_in_cpu_time": round(detecting.own / reading.own, 3),
    }
    print(f"against reading: {json.dumps(found)}", flush=True)
    return found


@click.command()
@click.option("--model", "name", default="builtin", show_default=True, help="A directory, or a name that `harness` knows.")
@click.option("--shape", type=click.Choice(sorted(SHAPES)), help="Random weights in this shape, with the shipped tokenizer.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--length", default=4096, show_default=True, help="Tokens of the haystack in the comparison with the loop.")
@click.option("--needles", type=int, help="Needles: 2 in the comparison with the loop and 3 in the paper's grid, unless given.")
@click.option("--thin", default=1, show_default=True, help="Take every n-th length of the paper's grid.")
@click.option("--depths", default=10, show_default=True, help="Depths of the paper's grid.")
@click.option("--part", type=click.Choice(["all", "loop", "paper", "grid"]), default="all", show_default=True)
@click.option("--trials", default=24, show_default=True, help="Of the grid, with prompts of 512 tokens.")
@click.option("--require", type=float, default=0.0, help="Fail if parity is not this many times faster.")
def main(
    name: str,
    shape: str | None,
    device: str,
    dtype: str,
    length: int,
    needles: int | None,
    thin: int,
    depths: int,
    part: str,
    trials: int,
    require: float,
) -> None:
    """Time detection side by side with the published loop and with plain reading."""
    path = resolve(name).path
    tokenizer = load_tokenizer(path)
    model = random_weights(shape, device, dtype) if shape else load_model(path, dtype, device)
    print(f"{shape or name} on {device} in {dtype}, {torch.get_num_threads()} threads", flush=True)
    if part in ("all", "loop"):
        found = against_loop(model, tokenizer, length, needles or 2, device)
        fastest = found["parity: published layout and scoring"]["times_faster"]
        if fastest < require:
            raise SystemExit(f"parity is {fastest} times faster, not {require}")
    if part == "grid":
        against_reading(model, tokenizer, build_trials(tokenizer, [512], trials, evenly(10), 42), device)
    if part in ("all", "paper"):
        lengths = LENGTHS[min(1, thin - 1) :: thin]
        against_reading(model, tokenizer, paper_trials(tokenizer, 42, needles=needles or 3, lengths=lengths, depths=depths), device)


if __name__ == "__main__":
    main()
