"""``harness pairs`` and ``harness train``: a method's stages, one at a time (entry-point group ``harness.commands``)."""

import json
import shutil
from pathlib import Path
from typing import Any

import click

from harness.api import Artifact, HarnessError, Json
from harness.commands.groups import Grouped
from harness.commands.options import run_config, run_options, run_root, suite_options, yes_option
from harness.commands.parameters import Number, Setting
from harness.config import SUITE_SETTINGS
from harness.screen.terminal import echo
from harness.store.checkpoints import of_step
from tasks.files import replacing

_OTHER_MODEL = "smaller-model"


def _stage_options(command: Any) -> Any:
    setting = click.option(
        "--set", "settings", type=Setting(), multiple=True, metavar="KEY=VALUE", help="A method option, such as top_k=8."
    )
    method = click.option(
        "--method", multiple=True, callback=_one, help="Whose stage to run, such as 'retmask(top_k=20)'.  [default: retmask]"
    )
    for option in reversed(suite_options()):
        command = option(command)
    return run_options(method(setting(yes_option(command))))


def _one(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> str | None:
    """Refuse several methods, which `harness run` takes: the last one alone would be meant."""
    if len(value) > 1:
        raise click.BadParameter(f"{', '.join(value)}: a stage is one method's; give one, or take them all with `harness run`", ctx, param)
    return value[0] if value else None


@click.command(cls=Grouped)
@_stage_options
@click.option(
    "--prompts-from",
    help="Instructions: 'self' (the model writes them), 'self-context' (about a passage), a JSONL or Parquet file, a folder of them, a "
    "data set on the Hub, or 'generated'.",
)
@click.option("--prompts", type=click.IntRange(min=0), help="How many; 0 takes all.")
@click.option("--rejected-from", help="'mask' for the masked model's answers, or 'model NAME' for another model's.")
@click.option("--temperature", type=Number(min=0))
@click.option("--top-p", type=Number(min=0, min_open=True, max=1))
@click.option("--max-new-tokens", type=click.IntRange(min=1))
@click.option("--drop-repetitive", is_flag=True, default=None, help="Leave out pairs with an answer that repeats itself.")
@click.option("--drop-unfinished", is_flag=True, default=None, help="Leave out pairs with an answer that was cut off.")
@click.option("--prompts-only", is_flag=True, help="Stop when the instructions are there.")
@click.option(
    "--prompts-to",
    "--out",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write them to this file too, to be read, edited and passed back.",
)
def pairs(prompts_only: bool, out: Path | None, **arguments: Any) -> None:
    """Sample chosen and rejected answers, and pair them.

    \b
    Examples:
      harness pairs --model builtin --output runs/demo
      harness pairs --model builtin --lengths 512 --examples 20 --output runs/short
      harness pairs --model runs/big --prompts-from chats.jsonl --prompts 5000
      harness pairs --model runs/big --rejected-from "model runs/small"
      harness pairs --model runs/big --prompts-only --prompts-to mine.jsonl

    `harness train` and `harness run` with the same --model, --output and settings go on from there. Instructions are kept clear of the
    evaluation: of the questions that the run directory's last command asks, where --tasks, --lengths and the like name no others.
    """
    if out is not None and not prompts_only:
        raise HarnessError("--prompts-to is for --prompts-only; pairs are written into the run directory")
    if prompts_only:
        _prompts(_stage("prompts", arguments), out)
        return
    artifact = _stage("pairs", arguments)
    echo(json.dumps(dict(artifact.facts), indent=1))
    echo(f"\npairs: {artifact.path / 'pairs.jsonl'}")


def _prompts(artifact: Artifact, out: Path | None) -> None:
    path = artifact.path / "prompts.jsonl"
    if out is not None:
        with replacing(out) as partial:
            shutil.copyfile(path, partial)
        path = out
    echo(json.dumps(dict(artifact.facts), indent=1))
    echo(f"\nprompts: {path}")


@click.command(cls=Grouped)
@_stage_options
@click.option("--pairs-from", type=click.Path(dir_okay=False), help="Train on this file of pairs instead of sampling any.")
@click.option("--loss", help="sigmoid, ipo, hinge and trl's others, or sft on the chosen answers alone.")
@click.option("--learning-rate", type=Number(min=0, min_open=True))
@click.option("--epochs", type=Number(min=0, min_open=True))
@click.option("--batch-size", type=click.IntRange(min=1), help="Pairs in a step, over all devices.")
@click.option("--micro-batch-size", type=click.IntRange(min=1), help="Pairs in one pass of one device: speed and memory, not results.")
@click.option("--max-length", type=click.IntRange(min=1), help="Most tokens of prompt and answer together; nothing is truncated.")
@click.option("--lora-rank", type=click.IntRange(min=0), help="Train low-rank adapters of this rank; 0 trains all weights.")
@click.option("--gradient-checkpointing", is_flag=True, default=None, help="Less memory for more time.")
@click.option("--parallel", help="none, ddp, fsdp, zero1, zero2, zero3, or a .yaml file of `accelerate config`.")
@click.option("--processes", type=click.IntRange(min=0), help="Devices that train.")
@click.option("--report-to", help="Where transformers also sends the curves, such as wandb or tensorboard.")
def train(**arguments: Any) -> None:
    """Train on a method's pairs, sampling first what is missing of them.

    \b
    Examples:
      harness train --model builtin --output runs/demo
      harness train --model runs/big --pairs-from pairs.jsonl --loss ipo --lora-rank 16
      harness train --model runs/big --parallel fsdp --processes 8 --micro-batch-size 2

    A killed training goes on from its last checkpoint when the same command is started again.
    """
    artifact = _stage("train", arguments)
    echo(json.dumps(dict(artifact.facts), indent=1))
    echo(f"\nmodel: {of_step(artifact.path.parents[1], artifact.path / 'model')}")


def _stage(stage: Any, arguments: dict[str, Any]) -> Artifact:
    model_name, output, preset, yes = (arguments.pop(name) for name in ("model_name", "output", "preset", "yes"))
    method = _method(arguments.pop("method"), arguments.get("rejected_from"))
    run = {name: arguments.pop(name) for name in ("device", "allow_unsafe_weights", "allow", "allow_url", *SUITE_SETTINGS)}
    options: dict[str, Json] = dict(arguments.pop("settings"))
    options |= {name: value for name, value in arguments.items() if value is not None}
    root = run_root(output, model_name)
    config = run_config(model_name, preset, {**run, "methods": (method,)}, options)
    from harness.pipeline import run_stage
    from harness.planning.preview import preview
    from harness.record import recorded_suite

    config = recorded_suite(root, config, typed=run)
    preview(root, model_name, (method,), config, yes=yes, stage=stage)
    return run_stage(root, model_name, method, config, stage)


def _method(method: str | None, rejected_from: str | None) -> str:
    """Another model's answers are what ``smaller-model`` is made of."""
    other = bool(rejected_from) and rejected_from != "mask"
    if other and method not in (None, _OTHER_MODEL):
        raise HarnessError(f"--rejected-from {rejected_from!r} is for --method {_OTHER_MODEL}; {method} masks heads")
    return method or (_OTHER_MODEL if other else "retmask")
