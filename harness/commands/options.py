"""Options that several commands have, and what they mean together: settings, run directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.commands.parameters import Lengths, Names, Number
from harness.consent import KINDS
from harness.engines.framing import FRAMINGS
from harness.engines.options import BACKENDS, SERVED_APIS
from harness.engines.threads import threads_option
from harness.interface.settings import run_config as run_config
from harness.interface.settings import run_root as run_root
from tasks.editions import EDITIONS
from tasks.modes import MODES
from tasks.wording import WORDINGS


def run_options(command: Any) -> Any:
    """Add the options of every command that works on a model in a run directory."""
    return _with(
        command,
        click.option(
            "--model",
            "model_name",
            required=True,
            help="A directory, a .gguf file, a Hub id, a name that `harness models` lists, or RUN:METHOD for what a run has trained.",
        ),
        click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Run directory.  [default: runs/MODEL]"),
        click.option("--preset", help="Settings to start from: a preset's name or a TOML file.  [default: by the model's size]"),
        click.option("--seed", type=int, help="Seed of the examples, the method and the bootstrap.  [default: 42]"),
        click.option("--device", help="Torch device, such as cuda:0.  [default: CUDA if there is one]"),
        click.option(
            "--allow-unsafe-weights",
            is_flag=True,
            default=None,
            help="Also load pytorch_model.bin (tensors alone, no other objects) where there are no safetensors.",
        ),
        *allow_options(),
        threads_option,
    )


def allow_options() -> list[Callable[[Any], Any]]:
    """List the options for what a file of somebody else's may ask for."""
    return [
        click.option("--allow", type=click.Choice(KINDS), multiple=True, help="What a preset's file may ask for; repeat it for several."),
        click.option("--allow-url", multiple=True, metavar="HOST", help="A host that a preset's file may send prompts, and your key, to."),
    ]


def evaluation_options(command: Any) -> Any:
    """Add the options of every command that evaluates."""
    return _with(
        run_options(command),
        *suite_options(),
        click.option("--scoring", type=click.Choice(MODES), help="As published, or corrected.  [default: as the data]"),
        click.option(
            "--reference-points",
            is_flag=True,
            default=None,
            help="Also ask each question with its gold passages alone (ceiling) and without them (floor).",
        ),
        click.option("--judge", help="For the citations of --data helmet: an NLI model, or exact-words.  [default: none]"),
        *judge_options(),
        click.option(
            "--generations",
            type=click.IntRange(min=1),
            help="Sampled answers to each prompt; their mean is its score.  [default: 1]",
        ),
        click.option("--temperature", type=Number(min=0), help="Of sampled answers, such as 0.7; 0 is greedy decoding.  [default: 0]"),
        click.option("--backend", type=click.Choice(BACKENDS), help="Engine that generates.  [default: hf]"),
        click.option("--tensor-parallel", type=click.IntRange(min=1), help="vllm: devices that share every layer.  [default: 1]"),
        click.option(
            "--pipeline-parallel", type=click.IntRange(min=1), help="vllm: groups of devices that share the layers out.  [default: 1]"
        ),
        click.option("--url", help="served: an OpenAI-compatible server, such as http://localhost:8000/v1."),
        click.option("--served-model", help="served: the server's name for the model.  [default: the only one it has]"),
        click.option("--served-api", type=click.Choice(SERVED_APIS), help="served: send token ids or messages.  [default: completions]"),
        click.option(
            "--probe-context",
            is_flag=True,
            default=None,
            help="served: first ask for what stands at the start of a prompt as long as the suite's longest.",
        ),
        click.option("--timeout", type=Number(min=0, min_open=True), help="served: seconds an answer may take.  [default: 600]"),
        click.option(
            "--dtype", help="Number format of the weights, such as bfloat16.  [default: float32 on a CPU, the checkpoint's own elsewhere]"
        ),
        click.option("--trust-remote-code", is_flag=True, default=None, help="Run the model's own Python files (harness eval alone)."),
        click.option(
            "--batch-tokens",
            type=click.IntRange(min=1),
            help="Prompt tokens in a batch: speed, not results.  [default: the preset's; else 131072]",
        ),
        click.option(
            "--extra-tasks", type=Names(), help="lm-eval tasks to ask too, outside the means: mmlu,gsm8k or my.yaml.  [default: none]"
        ),
        click.option("--include-path", type=click.Path(), help="Folder with the YAML files of further lm-eval tasks."),
        click.option("--extra-limit", type=click.IntRange(min=1), help="First so many documents of each extra task.  [default: all]"),
        click.option("--extra-fewshot", type=click.IntRange(min=0), help="Examples before each question.  [default: the task's own]"),
        click.option("--extra-chat-template", is_flag=True, default=None, help="Put extra tasks into the model's chat template."),
    )


def suite_options() -> list[Callable[[Any], Any]]:
    """List the options that say which questions are asked."""
    return [
        click.option("--tasks", type=Names(), help="Tasks or categories, such as recall,rag.  [default: all]"),
        click.option("--lengths", type=Lengths(), help="Context lengths in tokens, such as 8k,32k.  [default: the preset's]"),
        click.option(
            "--examples", type=click.IntRange(min=1), help="Of each task at each length.  [default: the preset's; else 100, or HELMET's]"
        ),
        click.option("--clip", is_flag=True, default=None, help="Leave out lengths that the model cannot take, instead of refusing them."),
        click.option("--data", help="Where examples come from: generated, or helmet (see `harness data`).  [default: generated]"),
        click.option("--edition", type=click.Choice(EDITIONS), help="Of HELMET's ICL sets, as its code drew them.  [default: 2025-04]"),
        click.option("--wording", type=click.Choice(WORDINGS), help="Of generated tasks: full, or terse.  [default: full]"),
        click.option("--framing", type=click.Choice(FRAMINGS), help="Chat template, or a text to go on with.  [default: as each task]"),
        click.option(
            "--think-tokens",
            type=click.IntRange(min=0),
            help="Budget for a reasoning model's thoughts, which are kept but not scored.  [default: 0, thoughts off]",
        ),
    ]


def judge_options() -> list[Callable[[Any], Any]]:
    """Add the options that say who judges prose."""
    return [
        click.option("--judge-model", help="For the prose of --data helmet: a model, or a server's name for it.  [default: none]"),
        click.option("--judge-backend", type=click.Choice(BACKENDS), help="Engine of the judge.  [default: hf]"),
        click.option("--judge-url", help="Server of the judge, such as http://localhost:8000/v1; it gets OPENAI_API_KEY."),
        click.option("--judge-tokens", type=click.IntRange(min=16), help="Budget of a verdict.  [default: as published, 2048 or 4096]"),
        click.option("--judge-generations", type=click.IntRange(min=1), help="Verdicts on each answer; their mean counts.  [default: 1]"),
    ]


def yes_option(command: Any) -> Any:
    """Add the option of commands that may take days."""
    return _with(command, click.option("--yes", "-y", is_flag=True, help="Do not ask, however long it takes."))


def stopping_options(command: Any) -> Any:
    """Add the options of commands whose evaluation may stop before its last example."""
    return _with(
        command,
        click.option("--stop-early", is_flag=True, default=None, help="Ask in rounds; stop when the difference to the baseline is known."),
        click.option(
            "--stop-margin",
            type=Number(0, 100),
            help="Points: also stop when the difference is known to be smaller.  [default: 1.0]",
        ),
    )


def margin_option(command: Any) -> Any:
    """Add the option of commands that compare."""
    option = click.option(
        "--margin",
        type=Number(0, 100, min_open=True),
        help="Points of difference that do not matter: also say where two are equal within them.",
    )
    return _with(command, option)


def _with(command: Any, *options: Callable[[Any], Any]) -> Any:
    for option in reversed(options):
        command = option(command)
    return command
