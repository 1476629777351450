"""Peak memory of one needle trial against its length, to 128K tokens: ``python benchmarks/memory.py --output runs/memory``.

Each length runs in a process of its own; the memory is what that process grew by from a loaded model to the end of the trial. On a GPU
(``--device cuda``) it is the allocator's own peak. The model has random weights and few, narrow heads, so that a CPU gets through 128K
tokens in minutes; the keys and values, and the rows of attention that detection looks at, grow with the length as in any model.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from transformers import LlamaConfig, LlamaForCausalLM

from harness.builtin import MODEL_DIR
from reports import canvas
from retmask.heads.detect import run_trials
from retmask.heads.trials import build_trials
from retmask.model import load_tokenizer

LENGTHS = (8_192, 16_384, 32_768, 65_536, 131_072)


def one(length: int, device: str, dtype: str) -> dict[str, float]:
    """Peak memory in MiB and seconds of one trial."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(MODEL_DIR)
    settings = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=LENGTHS[-1] + 1024, **settings)
    model = LlamaForCausalLM(config).to(device, getattr(torch, dtype)).eval()
    run_trials(model, tokenizer, build_trials(tokenizer, [512], 1, (0.5,), 0))  # loads what is loaded once
    trials = build_trials(tokenizer, [length], 1, (0.5,), 0)
    before = _used(device)
    started = time.perf_counter()
    run_trials(model, tokenizer, trials)
    return {"tokens": len(trials[0].prompt_ids), "mebibytes": _used(device) - before, "seconds": round(time.perf_counter() - started, 1)}


def _used(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def draw(points: list[dict[str, float]]) -> tuple[Figure, float]:
    """The plot, and R² of the straight line through it."""
    x, y = (np.array([point[name] for point in points]) for name in ("tokens", "mebibytes"))
    slope, offset = np.polyfit(x, y, 1)
    r2 = 1 - ((y - slope * x - offset) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    with canvas.style():
        figure = Figure(figsize=(4.8, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot(x / 1024, y, color=canvas.INK, marker="o", label="measured", linestyle="none")
        axes.plot(x / 1024, slope * x + offset, **_dashed(), label=f"line, R² = {r2:.4f}")
        axes.set_xlabel("context, thousands of tokens")
        axes.set_ylabel("peak memory, MiB")
        axes.set_ylim(bottom=0)
        axes.legend()
    return figure, float(r2)


def _dashed() -> dict[str, object]:
    look = canvas.look(0)
    return {"color": look.colour, "linestyle": look.dashes}


@click.command()
@click.option("--length", type=int, help="Measure this length in this process, and print JSON.")
@click.option("--longest", default=LENGTHS[-1], show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("runs/memory"), show_default=True, help="The plot, without suffix.")
def main(length: int | None, longest: int, device: str, dtype: str, output: Path) -> None:
    """Measure each length, print the points, and draw them."""
    if length is not None:
        print(json.dumps(one(length, device, dtype)))
        return
    points = []
    for each in (length for length in LENGTHS if length <= longest):
        command = [sys.executable, __file__, "--length", str(each), "--device", device, "--dtype", dtype]
        points.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]))
        print(json.dumps(points[-1]), flush=True)
    figure, r2 = draw(points)
    canvas.save(figure, output, "Peak memory of one needle trial against its length.")
    print(f"straight line: R² = {r2:.4f}; plot: {output}.png")


if __name__ == "__main__":
    main()
