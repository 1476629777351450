"""Tokens a second when answers for pairs are sampled, against the least that arithmetic and memory allow.

    python benchmarks/sampling.py --model smollm2-135m --prompts 32 --new-tokens 48

The floor of a step is the longer of two times, both measured here: multiplying every weight with every row, at the rate of a large matrix
product, and reading every weight and every key once, at the rate of summing a large array. `--plain` also times transformers' own cache and
attention, which is what the harness did before.
"""

import json
import tempfile
from pathlib import Path
from unittest import mock

import click
import torch
from _sides import timed
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harness.models.lookup import resolve
from retmask.model import encode, load_model, load_tokenizer, render
from retmask.pairs import hf_sampler as sampler
from retmask.pairs.responses import Sampling

WORDS = ("Tell", "me", "why", "old", "rivers", "bend", "where", "quiet", "towns", "are", "built", "and", "how", "people", "cross", "them")


def rates() -> tuple[float, float]:
    """Operations a second of a matrix product, and bytes a second of reading, in this process's processor time."""
    square, array = torch.randn(1536, 1536), torch.randn(1 << 26)
    torch.mm(square, square), array.sum()
    product = timed(lambda: [torch.mm(square, square) for _ in range(10)]).own / 10
    reading = timed(lambda: [array.sum() for _ in range(10)]).own / 10
    return 2 * 1536**3 / max(product, 1e-9), 4 * array.numel() / max(reading, 1e-9)


def floor(model: torch.nn.Module, rows: int, context: int, operations: float, bandwidth: float) -> float:
    """Least seconds of a step of so many rows, each with so many tokens before it."""
    config = model.config
    weights = sum(parameter.numel() for parameter in model.parameters())
    width = config.num_key_value_heads * (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    keys = 2 * config.num_hidden_layers * width * context * rows
    return max(2 * weights * rows / operations, 4 * (weights + keys) / bandwidth)


@click.command()
@click.option("--model", "name", default="builtin", show_default=True)
@click.option("--prompts", default=160, show_default=True)
@click.option("--new-tokens", default=96, show_default=True)
@click.option("--plain", is_flag=True, help="Also time transformers' own cache and attention.")
def main(name: str, prompts: int, new_tokens: int, plain: bool) -> None:
    """Print tokens a second of processor time, and the share of the floor."""
    path = resolve(name).path
    tokenizer, model = load_tokenizer(path), load_model(path, "float32", "cpu")
    asked = [f"{' '.join(WORDS[: 6 + index % 10])} (number {index})?" for index in range(prompts)]
    settings = Sampling(seed=0, temperature=0.6, max_new_tokens=new_tokens)
    operations, bandwidth = rates()
    written: dict[str, list[tuple[int, ...]]] = {}

    def run(side: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            found = sampler.sample(model, tokenizer, asked, settings, Path(folder) / "journal")
        written[side] = [tuple(response.ids) for response in found]

    def measure(side: str) -> float:
        seconds = timed(lambda: run(side)).own
        tokens = sum(map(len, written[side]))
        read = sum(len(encode(tokenizer, render(tokenizer, prompt))) for prompt in asked)
        least = floor(model, prompts, read // prompts + new_tokens // 2, operations, bandwidth) * new_tokens
        least += floor(model, read, 0, operations, bandwidth)  # the prompts, once
        row = {"tokens": tokens, "seconds": round(seconds, 1), "tokens_a_second": round(tokens / seconds, 1)}
        print(json.dumps({"side": side, **row, "floor_seconds": round(least, 1), "times_the_floor": round(seconds / least, 2)}), flush=True)
        return seconds

    print(json.dumps({"gflops": round(operations / 1e9, 1), "gigabytes_a_second": round(bandwidth / 1e9, 1)}))
    ours = measure("harness")
    if plain:
        AttentionInterface.register("sdpa", sdpa_attention_forward)
        with mock.patch.object(sampler, "has_plain_cache", return_value=False):
            theirs = measure("transformers' own")
        same = sum(one == other for one, other in zip(written["harness"], written["transformers' own"], strict=True))
        print(f"sampling: {theirs / ours:.2f} times as fast as with transformers' own; {same} of {prompts} answers the same")


if __name__ == "__main__":
    main()
