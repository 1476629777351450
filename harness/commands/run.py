"""``harness run``: evaluate, apply each method, evaluate again, compare."""

from pathlib import Path
from typing import Any

import click

from harness.api import HarnessError, Json
from harness.commands.groups import Grouped
from harness.commands.options import evaluation_options, margin_option, run_config, run_root, stopping_options, yes_option
from harness.commands.parameters import Seeds, Setting
from harness.commands.plan import show_plan
from harness.methods import method_names
from harness.screen.terminal import echo


@click.command("run", cls=Grouped)
@evaluation_options
@click.option(
    "--method", "methods", multiple=True, help="A method to try, such as 'retmask(top_k=20)'; repeat it for controls and variants."
)
@click.option("--set", "options", type=Setting(), multiple=True, metavar="KEY=VALUE", help="A method option, such as top_k=8.")
@click.option("--dry-run", is_flag=True, help="Show the plan instead, as `harness plan` does.")
@click.option("--seeds", type=Seeds(), help="Train and evaluate each method once for each of these seeds, such as 1,2,3.")
@margin_option
@stopping_options
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
      harness run --model builtin --method "retmask(top_k=4)" --method "retmask(top_k=8)" --method "randmask(top_k=8)"
      harness run --model MODEL --method retmask --extra-tasks mmlu,gsm8k --extra-limit 200
      harness run --model meta-llama/Llama-3.1-8B-Instruct --preset paper-llama-3.1 --method retmask --lengths 8k,32k
      harness run --model MODEL --method retmask --lengths 128k --stop-early --stop-margin 2

    The same command again reuses whatever is finished, and goes on where it was killed. What is left to do, and how long that takes, is
    said first; where it is more than a day and there is a terminal, a question is asked.
    """
    chosen = dict(options) | ({} if heads is None else {"heads": heads})
    config = run_config(model_name, preset, {**settings, "methods": methods}, chosen)
    if not config.methods:
        raise HarnessError(f"name a method to try, such as --method retmask; installed: {', '.join(method_names())}")
    from harness.interface.calls import ran
    from harness.planning.preview import preview
    from harness.publishing.results import show
    from harness.store.find import models_of

    if dry_run:
        return show_plan(model_name, output, config, probe=True, as_json=False)
    root = run_root(output, model_name)
    preview(root, model_name, config.methods, config, yes=yes)
    results = ran(root, model_name, config.methods, config)
    show(root)
    echo(f"\nreport: {results.page}")
    for each in models_of(root):
        echo(f"model: {each.path}")
    return None
