"""``harness plan``: what a run would do."""

from pathlib import Path
from typing import Any

import click

from harness.api import Json
from harness.commands.groups import Grouped
from harness.commands.options import evaluation_options, margin_option, run_config, run_root, stopping_options
from harness.commands.parameters import Seeds, Setting
from harness.config import DEFAULT_PRESET, RunConfig
from harness.screen.terminal import echo


@click.command("plan", cls=Grouped)
@evaluation_options
@click.option("--method", "methods", multiple=True, help="A method to try; without any, the plan of `harness eval`.")
@click.option("--set", "options", type=Setting(), multiple=True, metavar="KEY=VALUE", help="A method option, such as top_k=8.")
@click.option("--seeds", type=Seeds(), help="Train and evaluate each method once for each of these seeds, such as 1,2,3.")
@margin_option
@stopping_options
@click.option("--probe/--no-probe", default=True, show_default=True, help="Time the model for some seconds, for an estimate.")
@click.option(
    "--hardware",
    help="Plan for hardware that is not here, from the model's config.json alone: 8x80GiB, or 8x80GiB,flops=312T,memory=2T,link=300G.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan_command(
    model_name: str,
    output: Path | None,
    preset: str | None,
    methods: tuple[str, ...],
    options: tuple[tuple[str, Json], ...],
    probe: bool,
    hardware: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """What a run would do: steps, what is there already, tokens, memory, time. Nothing is computed but a short probe.

    \b
    Examples:
      harness plan --model builtin --method retmask
      harness plan --model meta-llama/Llama-3.1-8B-Instruct --method retmask --device cuda --no-probe
      harness plan --model configs/llama-70b --method retmask --hardware 8x80GiB --set parallel=fsdp --set processes=8
    """
    config_settings = {**settings, "methods": methods}
    if hardware is not None:
        return show_cluster(hardware, model_name, preset, config_settings, dict(options), as_json)
    return show_plan(model_name, output, run_config(model_name, preset, config_settings, dict(options)), probe, as_json)


def show_cluster(
    hardware: str, model_name: str, preset: str | None, settings: dict[str, Any], options: dict[str, Json], as_json: bool
) -> None:
    """Print the plan of a run on stated hardware. A directory needs no more than its ``config.json``."""
    import json

    from harness.models.lookup import resolve
    from harness.planning.cluster import as_text, plan_on
    from harness.planning.hardware import Hardware

    there = Hardware.parse(hardware)
    path = Path(model_name)
    path = path if (path / "config.json").is_file() else resolve(model_name).path
    plan = plan_on(there, model_name, path, run_config(model_name, preset or DEFAULT_PRESET, settings, options))
    echo(json.dumps(plan.as_json(), indent=1) if as_json else as_text(plan))


def show_plan(model_name: str, output: Path | None, config: RunConfig, probe: bool, as_json: bool) -> None:
    """Print the plan of a run."""
    import json

    from harness.planning.plan import make_plan, timed
    from harness.planning.table import as_text

    plan = make_plan(run_root(output, model_name), model_name, config.methods, config)
    if probe:
        plan = timed(plan, config)
    echo(json.dumps(plan.as_json(), indent=1) if as_json else as_text(plan, config))
