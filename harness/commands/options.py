"""Options that several commands have, and what they mean together: settings, run directory."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from harness import consent
from harness.api import HarnessError, Json
from harness.commands.parameters import Lengths, Names
from harness.config import RunConfig, load_preset, override, preset_names
from harness.consent import KINDS, Allowed
from harness.engines.framing import FRAMINGS
from harness.engines.options import BACKENDS, SERVED_APIS
from harness.engines.threads import threads_option
from harness.options import read_table
from harness.screen.terminal import echo
from harness.variants import parse
from reports.safe import file_name
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
        click.option(
            "--temperature", type=click.FloatRange(min=0), help="Of sampled answers, such as 0.7; 0 is greedy decoding.  [default: 0]"
        ),
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
        click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="served: seconds an answer may take.  [default: 600]"),
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
            type=click.FloatRange(0, 100),
            help="Points: also stop when the difference is known to be smaller.  [default: 1.0]",
        ),
    )


def margin_option(command: Any) -> Any:
    """Add the option of commands that compare."""
    option = click.option(
        "--margin",
        type=click.FloatRange(0, 100, min_open=True),
        help="Points of difference that do not matter: also say where two are equal within them.",
    )
    return _with(command, option)


def _with(command: Any, *options: Callable[[Any], Any]) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


def run_config(model_name: str, preset: str | None, settings: dict[str, Any], options: dict[str, Json]) -> RunConfig:
    """Read the preset, with the command line's choices. Which preset suits the model's size is found, and said, where none is named.

    HarnessError if a preset of somebody's asks for what ``--allow`` has to allow, and for methods, tasks and options that do not exist: for
    these first, before anything is looked up that a message about them does not need.
    """
    allowed = Allowed(settings.pop("allow", ()), settings.pop("allow_url", ()))
    named = None if preset is None else load_preset(preset)
    _check_names(named or RunConfig(), settings, options)
    chosen = preset or _suitable(model_name, settings)
    config = override(named or load_preset(chosen), settings, options)
    if chosen not in preset_names():
        consent.check(config, chosen, allowed, settings, options)
    return config


def _check_names(config: RunConfig, settings: Mapping[str, Any], options: Mapping[str, Json]) -> None:
    from harness.methods import check_name, find_method

    variants = [parse(name) for name in settings.get("methods") or config.methods]
    for each in variants:
        check_name(each.method)
    if settings.get("tasks"):
        from harness.evaluation.sources import find_source

        find_source(settings.get("data") or config.data).tasks(settings["tasks"])
    for each in variants:
        if options or each.options:
            known = find_method(each.method).settings
            if known is not None:
                read_table(known, {**options, **each.options}, str(each) if each.options else "[method]")


def _suitable(model_name: str, settings: dict[str, Any]) -> str:
    from harness.models.footprint import device_of
    from harness.models.lookup import resolve
    from harness.planning.sizing import suitable

    risks = {name: bool(settings.get(name)) for name in ("allow_unsafe_weights", "trust_remote_code")}
    preset, why = suitable(resolve(model_name, **risks), device_of(settings.get("device") or "auto"))
    if why:
        echo(why, err=True)
    return preset


def run_root(output: Path | None, model_name: str) -> Path:
    """Name the run directory, which is never the model's own. HarnessError for an ``output`` that is, or is in it."""
    path = Path(model_name)
    root = output or Path("runs") / file_name(path.resolve().name if path.is_dir() else path.name)
    model = path.resolve()
    if (path / "config.json").is_file() and (root.resolve() == model or model in root.resolve().parents):
        beside = Path("runs") / f"{file_name(model.name)}-run"
        if output is not None or model in beside.resolve().parents:
            raise HarnessError(f"{root} is in the model's own directory, which stays as it is; name another with --output")
        return beside
    return root
