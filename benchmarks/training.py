"""A training whose pairs are soon told apart, with and without numbers of nearly 0 taken for 0.

    python benchmarks/training.py --model smollm2-135m

The rejected answers are one word over and over, so that after a step or two the loss is all but 0: from there on most probabilities are
smaller than the smallest normal number. Both sides train on the same pairs in processes of their own, and both losses are printed.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import torch

from harness.models.lookup import resolve
from retmask.pairs.pairing import PreferencePair, write_pairs
from retmask.training import train as trainer
from retmask.training.launch import TrainConfig
from tasks.chat import instructions

_SIDES = ("denormal", "flushed")


def train_in_a_process(side: str, config: Path) -> None:
    """Train as the trainer's own process does; on one side numbers of nearly 0 stay what they are."""
    if side == "denormal":
        torch.set_flush_denormal = lambda _mode: False  # type: ignore[assignment]
    sys.argv = ["retmask.training.train", "--config", str(config)]
    sys.exit(trainer.main())


@click.command()
@click.option("--model", "name", default="builtin", show_default=True)
@click.option("--pairs", default=24, show_default=True)
@click.option("--steps", default=6, show_default=True, help="Of 8 pairs each.")
@click.option("--learning-rate", default=1e-4, show_default=True)
@click.option("--side", type=click.Choice(_SIDES), hidden=True)
@click.option("--config", type=click.Path(path_type=Path), hidden=True)
def main(name: str, pairs: int, steps: int, learning_rate: float, side: str | None, config: Path | None) -> None:
    """Print the seconds of training on both sides, their ratio, and both final losses."""
    if side is not None and config is not None:
        return train_in_a_process(side, config)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = [PreferencePair(asked, f"I would say this of it: {asked}", "river " * 48) for asked in instructions(pairs, 0)]
        write_pairs(rows, Path(folder) / "pairs.jsonl")
        for each in _SIDES:
            output, table = Path(folder) / each, Path(folder) / f"{each}.json"
            settings = TrainConfig(
                str(resolve(name).path), str(Path(folder) / "pairs.jsonl"), str(output), learning_rate=learning_rate, batch_size=8,
                micro_batch_size=4, epochs=steps * 8 / pairs, checkpoint_share=1.0,
            )  # fmt: skip
            table.write_text(json.dumps(vars(settings)), encoding="utf-8")
            subprocess.run([sys.executable, __file__, "--side", each, "--config", str(table)], check=True, stdout=subprocess.DEVNULL)
            facts = json.loads((output / "facts.json").read_text(encoding="utf-8"))
            found[each] = facts["seconds"]
            print(json.dumps({"side": each, "seconds": round(facts["seconds"], 1), "final_loss": facts["final_loss"]}), flush=True)
    print(f"training: {found['denormal'] / found['flushed']:.2f} times as fast with numbers of nearly 0 taken for 0")
    return None


if __name__ == "__main__":
    main()
