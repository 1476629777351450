"""The command line. Every command parses, calls one function and prints; nothing heavy is imported before it is needed."""

import errno
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import click

from harness import consent, ends
from harness.allocator import keep_freed_memory
from harness.api import HarnessError, Json
from harness.config import RunConfig, load_preset, override, preset_names
from harness.consent import KINDS, Allowed
from harness.engines import BACKENDS, SERVED_APIS
from harness.framing import FRAMINGS
from harness.models import resolve
from harness.parameters import Lengths, Names, Seeds, Setting
from harness.quiet import hush
from harness.terminal import echo
from harness.threads import threads_option
from reports.safe import file_name, one_line
from tasks.editions import EDITIONS
from tasks.suite import WORDINGS

#: Entry points of click commands that other packages add.
_COMMANDS: Final = "harness.commands"
#: No space, no quota, or a limit on the size of files.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


#: At the end of `harness --help`; docs/reliability.md says more.
_EXIT_CODES: Final = """\b
Exit codes:
  0  done
  1  a check did not pass, or a reproduction came out differently
  2  an error, and the line above says what to do about it
  3  incomplete: some examples could not be answered; all others are kept, and the same command goes on
  70  a fault that nobody foresaw; please report it
  130, 143  ended by Ctrl-C or SIGTERM; the same command goes on
"""


class HarnessGroup(click.Group):
    """Turns a :class:`HarnessError` into one line and exit code 2, and finds the commands that other packages bring."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=_COMMANDS))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        loaded = (point.load() for point in entry_points(group=_COMMANDS, name=cmd_name))
        return next((command for command in loaded if isinstance(command, click.Command)), None)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        def command() -> Any:
            return click.Group.main(self, args, prog_name, complete_var, False, **extra)

        self._debug = False
        return sys.exit(ends.run(command, lambda: self._debug)) if standalone_mode else command()

    def _main_shell_completion(self, *args: Any, **extra: Any) -> None:
        try:
            super()._main_shell_completion(*args, **extra)
        except SystemExit as end:  # click's own way to end, where nothing was run
            raise click.exceptions.Exit(end.code if isinstance(end.code, int) else 0) from None

    def invoke(self, ctx: click.Context) -> Any:
        self._debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            if ctx.params.get("debug"):
                raise
            echo(f"harness: {one_line(str(error))}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if ctx.params.get("debug") or error.errno not in _FULL:
                raise
            where = f" for {error.filename}" if error.filename else ""
            echo(f"harness: {error.strerror}{where}; make room and start the same command again: what is finished is kept", err=True)
            ctx.exit(2)


@click.group(cls=HarnessGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES)
@click.version_option(package_name="retmask-harness")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Does this training method make this model better at long context, and how sure are we?

    \b
    Try it on the model that ships with the project:
      harness run --model builtin --method retmask --method randmask
    """
    keep_freed_memory()
    if not debug:
        hush()


def run_options(command: Any) -> Any:
    """The options of every command that works on a model in a run directory."""
    return _with(
        command,
        click.option(
            "--model",
            "model_name",
            required=True,
            help="A directory, a .gguf file, a Hub id, or a name that `harness models` lists.",
        ),
        click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Run directory.  [default: runs/MODEL]"),
        click.option("--preset", help="Settings to start from: a preset's name or a TOML file.  [default: by the model's size]"),
        click.option("--seed", type=int, help="Seed of the examples, the method and the bootstrap."),
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
    """What a file of somebody else's may ask for."""
    return [
        click.option("--allow", type=click.Choice(KINDS), multiple=True, help="What a preset's file may ask for; repeat it for several."),
        click.option("--allow-url", multiple=True, metavar="HOST", help="A host that a preset's file may send prompts, and your key, to."),
    ]


def _evaluation_options(command: Any) -> Any:
    """The options of every command that evaluates."""
    return _with(
        run_options(command),
        click.option("--tasks", type=Names(), help="Tasks or categories, such as recall,rag.  [default: all]"),
        click.option("--data", help="Where examples come from: generated, or helmet (see `harness data`).  [default: generated]"),
        click.option("--edition", type=click.Choice(EDITIONS), help="Of HELMET's ICL sets, as its code drew them.  [default: 2025-04]"),
        click.option("--scoring", type=click.Choice(["parity", "strict"]), help="As published, or corrected.  [default: as the data]"),
        click.option("--framing", type=click.Choice(FRAMINGS), help="Chat template, or a text to go on with.  [default: as each task]"),
        click.option(
            "--reference-points",
            is_flag=True,
            default=None,
            help="Also ask each question with its gold passages alone (ceiling) and without them (floor).",
        ),
        click.option("--wording", type=click.Choice(WORDINGS), help="Of generated tasks: full, or terse.  [default: full]"),
        click.option("--judge", help="For the citations of --data helmet: an NLI model, or exact-words."),
        click.option("--lengths", type=Lengths(), help="Context lengths in tokens, such as 8k,32k,128k."),
        click.option("--examples", type=click.IntRange(min=1), help="Examples of each task at each length."),
        click.option("--clip", is_flag=True, default=None, help="Leave out lengths that the model cannot take, instead of refusing them."),
        click.option(
            "--think-tokens",
            type=click.IntRange(min=0),
            help="Budget for a reasoning model's thoughts, which are kept but not scored.  [default: 0, thoughts off]",
        ),
        click.option(
            "--generations",
            type=click.IntRange(min=1),
            help="Sampled answers to each prompt; their mean is its score.  [default: 1]",
        ),
        click.option(
            "--temperature", type=click.FloatRange(min=0), help="Of sampled answers, such as 0.7; 0 is greedy decoding.  [default: 0]"
        ),
        click.option("--backend", type=click.Choice(BACKENDS), help="Engine that generates.  [default: hf]"),
        click.option("--tensor-parallel", type=click.IntRange(min=1), help="vllm: devices that share every layer."),
        click.option("--pipeline-parallel", type=click.IntRange(min=1), help="vllm: groups of devices that share the layers out."),
        click.option("--url", help="served: an OpenAI-compatible server, such as http://localhost:8000/v1."),
        click.option("--served-model", help="served: the server's name for the model.  [default: the only one it has]"),
        click.option("--served-api", type=click.Choice(SERVED_APIS), help="served: send token ids or messages.  [default: completions]"),
        click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="served: seconds an answer may take.  [default: 600]"),
        click.option("--dtype", help="Number format of the weights: auto, float32, bfloat16."),
        click.option("--trust-remote-code", is_flag=True, default=None, help="Run the model's own Python files (harness eval alone)."),
        click.option("--batch-tokens", type=click.IntRange(min=1), help="Prompt tokens in one batch: speed and memory, not results."),
        click.option("--extra-tasks", type=Names(), help="lm-eval tasks to ask too, outside the means, such as mmlu,gsm8k or my.yaml."),
        click.option("--include-path", type=click.Path(), help="Folder with the YAML files of further lm-eval tasks."),
        click.option("--extra-limit", type=click.IntRange(min=1), help="First so many documents of each extra task.  [default: all]"),
        click.option("--extra-fewshot", type=click.IntRange(min=0), help="Examples before each question.  [default: the task's own]"),
        click.option("--extra-chat-template", is_flag=True, default=None, help="Put extra tasks into the model's chat template."),
    )


def yes_option(command: Any) -> Any:
    """The option of commands that may take days."""
    return _with(command, click.option("--yes", "-y", is_flag=True, help="Do not ask, however long it takes."))


def _stopping_options(command: Any) -> Any:
    """The options of commands whose evaluation may stop before its last example."""
    return _with(
        command,
        click.option("--stop-early", is_flag=True, default=None, help="Ask in rounds; stop when the difference to the baseline is known."),
        click.option(
            "--stop-margin",
            type=click.FloatRange(0, 100),
            help="Points: also stop when the difference is known to be smaller.  [default: 1.0]",
        ),
    )


def _margin_option(command: Any) -> Any:
    """The option of commands that compare."""
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
    """The preset, with the command line's choices. Which preset suits the model's size is found, and said, where none is named.

    HarnessError if a preset of somebody's asks for what ``--allow`` has to allow.
    """
    allowed = Allowed(settings.pop("allow", ()), settings.pop("allow_url", ()))
    chosen = preset or _suitable(model_name, settings)
    config = override(load_preset(chosen), settings, options)
    if chosen not in preset_names():
        consent.check(config, chosen, allowed, settings, options)
    return config


def _suitable(model_name: str, settings: dict[str, Any]) -> str:
    from harness.footprint import device_of
    from harness.sizing import suitable

    risks = {name: bool(settings.get(name)) for name in ("allow_unsafe_weights", "trust_remote_code")}
    preset, why = suitable(resolve(model_name, **risks), device_of(settings.get("device") or "auto"))
    if why:
        echo(why, err=True)
    return preset


def run_root(output: Path | None, model_name: str) -> Path:
    """The run directory."""
    path = Path(model_name)
    return output or Path("runs") / file_name(path.resolve().name if path.is_dir() else path.name)


@main.command("run")
@_evaluation_options
@click.option(
    "--method", "methods", multiple=True, required=True, help="A method to try; repeat it for controls, which share what they can."
)
@click.option("--set", "options", type=Setting(), multiple=True, metavar="KEY=VALUE", help="A method option, such as top_k=8.")
@click.option("--dry-run", is_flag=True, help="Show the plan instead, as `harness plan` does.")
@click.option("--seeds", type=Seeds(), help="Train and evaluate each method once for each of these seeds, such as 1,2,3.")
@_margin_option
@_stopping_options
@click.option("--heads", help="The method option of this name: 'auto' lets an audit choose how many heads are masked.")
@yes_option
def run_command(
    model_name: str,
    output: Path | None,
    preset: str | None,
    methods: tuple[str, ...],
    options: tuple[tuple[str, Json], ...],
    dry_run: bool,
    heads: str | None,
    yes: bool,
    **settings: Any,
) -> None:
    """Evaluate, apply each method, evaluate again, and compare.

    \b
    Examples:
      harness run --model builtin --method retmask --method randmask
      harness run --model builtin --method retmask --method randmask --seeds 1,2,3 --margin 1
      harness run --model builtin --method retmask --seeds 1,2,3 --generations 4 --temperature 0.7
      harness run --model MODEL --method retmask --extra-tasks mmlu,gsm8k --extra-limit 200
      harness run --model meta-llama/Llama-3.1-8B-Instruct --preset paper-llama-3.1 --method retmask --lengths 8k,32k
      harness run --model MODEL --method retmask --lengths 128k --stop-early --stop-margin 2

    The same command again reuses whatever is finished, and goes on where it was killed. What is left to do, and how long that takes, is
    said first; where it is more than a day and there is a terminal, a question is asked.
    """
    from harness.pipeline import run_methods
    from harness.preview import preview
    from harness.results import show

    chosen = dict(options) | ({} if heads is None else {"heads": heads})
    config = run_config(model_name, preset, settings, chosen)
    if dry_run:
        return _plan(model_name, output, methods, config, probe=True, as_json=False)
    root, names = run_root(output, model_name), tuple(dict.fromkeys(methods))
    preview(root, model_name, names, config, yes=yes)
    page = run_methods(root, model_name, names, config)
    show(root)
    echo(f"\nreport: {page}")
    return None


@main.command("plan")
@_evaluation_options
@click.option("--method", "methods", multiple=True, help="A method to try; without any, the plan of `harness eval`.")
@click.option("--set", "options", type=Setting(), multiple=True, metavar="KEY=VALUE", help="A method option, such as top_k=8.")
@click.option("--seeds", type=Seeds(), help="Train and evaluate each method once for each of these seeds, such as 1,2,3.")
@_margin_option
@_stopping_options
@click.option("--probe/--no-probe", default=True, show_default=True, help="Time the model for some seconds, for an estimate.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan_command(
    model_name: str,
    output: Path | None,
    preset: str | None,
    methods: tuple[str, ...],
    options: tuple[tuple[str, Json], ...],
    probe: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """What a run would do: steps, what is there already, tokens, memory, time. Nothing is computed but a short probe.

    \b
    Examples:
      harness plan --model builtin --method retmask
      harness plan --model meta-llama/Llama-3.1-8B-Instruct --method retmask --device cuda --no-probe
    """
    _plan(model_name, output, methods, run_config(model_name, preset, settings, dict(options)), probe, as_json)


def _plan(model_name: str, output: Path | None, methods: tuple[str, ...], config: RunConfig, probe: bool, as_json: bool) -> None:
    import json

    from harness.plan import make_plan, timed
    from harness.plantable import as_text

    plan = make_plan(run_root(output, model_name), model_name, tuple(dict.fromkeys(methods)), config)
    if probe:
        plan = timed(plan, config)
    echo(json.dumps(plan.as_json(), indent=1) if as_json else as_text(plan, config))


@main.command("eval")
@_evaluation_options
@_stopping_options
@click.option("--against", help="With --stop-early: the baseline, a run directory, RUN:METHOD or a samples file.")
@yes_option
def eval_command(model_name: str, output: Path | None, preset: str | None, against: str | None, yes: bool, **settings: Any) -> None:
    """Evaluate one model.

    \b
    Examples:
      harness eval --model builtin --lengths 1k,4k --tasks recall,rag
      harness eval --model builtin --generations 4 --temperature 0.7
      harness eval --model MODEL --backend vllm --tensor-parallel 8
      harness eval --model MODEL --backend served --url http://localhost:8000/v1
      harness eval --model NEW --stop-early --against runs/base
    """
    from harness.evaluations import find_one
    from harness.pipeline import check_against, run_evaluation
    from harness.preview import preview
    from harness.references import show_references
    from harness.results import show_extra, show_scores

    root = run_root(output, model_name)
    config = run_config(model_name, preset, settings, {})
    check_against(config, against)
    preview(root, model_name, (), config, yes=yes)
    samples = run_evaluation(root, model_name, config, None if against is None else find_one(against))
    show_scores(samples)
    show_references(root)
    show_extra(root)
    echo(f"\nsamples: {samples.path / 'samples.parquet'}")


@main.group("tasks")
def tasks_group() -> None:
    """The generated tasks: list them, or use them from lm-eval's own command line."""


@tasks_group.command("path")
def tasks_path() -> None:
    """Print the directory of the tasks' lm-eval YAML files.

    \b
    Example:
      lm_eval --model hf --model_args pretrained=MODEL \\
        --include_path "$(harness tasks path)" --tasks helmet_recall_8k
    """
    from harness.lmeval import include_path

    echo(include_path())


@tasks_group.command("list")
def tasks_list() -> None:
    """Print every task with its category, metrics and answer budget.

    \b
    Example:
      harness tasks list
    """
    from harness.sources import every_task

    for task, release in every_task():
        package = f"  ({release})" if release else ""
        echo(f"{task.category:8} {task.name:16} {task.max_new_tokens:4} tokens  {', '.join(task.metrics)}{package}")


if __name__ == "__main__":
    sys.exit(main())
