"""``harness heads``: measure, look at and ablate heads by hand (entry-point group ``harness.commands``)."""

import json
from pathlib import Path

import click

from harness.api import HarnessError
from harness.models import resolve
from retmask import masks
from retmask.heads import HeadScores
from retmask.masks import HeadMask


@click.group()
def heads() -> None:
    """Retrieval heads: detect, show, ablate."""


@heads.command()
@click.option("--model", "model_name", required=True, help="A directory, a Hub id, or 'builtin'.")
@click.option("--lengths", default="512,1024", show_default=True, help="Prompt lengths of the needle trials, in tokens.")
@click.option("--trials", default=20, show_default=True, type=click.IntRange(min=1), help="Trials for each length.")
@click.option("--depths", default=10, show_default=True, type=click.IntRange(min=1), help="Depths that the trials go round.")
@click.option("--max-new-tokens", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=42, show_default=True)
@click.option("--dtype", default="auto", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File for the scores (.safetensors).")
def detect(
    model_name: str, lengths: str, trials: int, depths: int, max_new_tokens: int, seed: int, dtype: str, device: str, output: Path
) -> None:
    """Measure the retrieval score of every head.

    \b
    Example:
      harness heads detect --model builtin --lengths 512,1024 --trials 20 --output heads.safetensors
    """
    model_path = resolve(model_name)
    asked = [int(length) if length.strip().isdecimal() else 0 for length in lengths.split(",")]
    if min(asked) < 1:
        raise HarnessError(f"--lengths {lengths}: write whole numbers of tokens joined by commas, such as 512,1024")
    from retmask.detect import detect as measure
    from retmask.model import load_model, load_tokenizer, resolve_dtype
    from retmask.trials import build_trials, evenly

    tokenizer = load_tokenizer(model_path.path)
    needles = build_trials(tokenizer, asked, trials, evenly(depths), seed)
    model = load_model(model_path.path, resolve_dtype(dtype, device), device)
    scores = measure(model, tokenizer, needles, model_path.digest, lambda line: click.echo(line, err=True), max_new_tokens)
    output.parent.mkdir(parents=True, exist_ok=True)
    scores.save(output)
    click.echo(json.dumps(scores.summary(), indent=1))


@heads.command()
@click.argument("file", type=click.Path(path_type=Path))
def show(file: Path) -> None:
    """Print a score file's statistics as JSON.

    \b
    Example:
      harness heads show heads.safetensors
    """
    click.echo(json.dumps(HeadScores.load(file).summary(), indent=1))


@heads.command()
@click.option("--model", "model_name", required=True, help="A directory, a Hub id, or 'builtin'.")
@click.option("--scores", "file", type=click.Path(path_type=Path), required=True, help="What `harness heads detect` wrote.")
@click.option("--mask", type=click.Choice(["retrieval", "nonretrieval", "random"]), default="retrieval", show_default=True)
@click.option("--threshold", default=0.1, show_default=True, help="Retrieval heads score this or more.")
@click.option("--seed", default=0, show_default=True, help="Of the nonretrieval and random masks, which draw as many heads.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory for the ablated checkpoint.")
def ablate(model_name: str, file: Path, mask: str, threshold: float, seed: int, output: Path) -> None:
    """Write a checkpoint with the masked heads' output weights zeroed, to evaluate like any other.

    \b
    Example:
      harness heads ablate --model builtin --scores heads.safetensors --mask random --seed 1 --output runs/random-1
      harness eval --model runs/random-1 --preset builtin --lengths 1k --tasks recall
    """
    model_path = resolve(model_name)
    chosen = _mask(mask, HeadScores.load(file), threshold, seed)
    if output.exists() and any(output.iterdir()):
        raise HarnessError(f"{output} is not empty; name a new directory with --output")
    from retmask.ablate import save_ablated
    from retmask.model import load_model, load_tokenizer

    save_ablated(load_model(model_path.path, "float32", "cpu"), chosen, output, load_tokenizer(model_path.path))
    click.echo(f"{output}: {len(chosen.heads)} heads ablated: {' '.join(f'{head.layer}-{head.head}' for head in chosen.heads)}")


def _mask(name: str, scores: HeadScores, threshold: float, seed: int) -> HeadMask:
    target = masks.retrieval(scores, threshold=threshold)
    if name == "retrieval":
        return target
    if name == "nonretrieval":
        return masks.nonretrieval(scores, threshold, len(target.heads), seed)
    return masks.random_mask(scores.shape, len(target.heads), seed)
