"""``harness eval``: evaluate one model."""

from pathlib import Path
from typing import Any

import click

from harness.commands.groups import Grouped
from harness.commands.options import evaluation_options, run_config, run_root, stopping_options, yes_option
from harness.screen.terminal import echo


@click.command("eval", cls=Grouped)
@evaluation_options
@stopping_options
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
    root = run_root(output, model_name)
    config = run_config(model_name, preset, settings, {})
    from harness.evaluation.references import show_references
    from harness.interface.calls import evaluated
    from harness.pipeline import check_against
    from harness.planning.preview import preview
    from harness.publishing.results import show_extra, show_scores
    from harness.store.find import find_one

    check_against(config, against)
    preview(root, model_name, (), config, yes=yes)
    samples = evaluated(root, model_name, config, None if against is None else find_one(against))
    show_scores(samples.frame)
    show_references(root)
    show_extra(root)
    echo(f"\nsamples: {samples.path}")
    echo(f"report: {samples.page}")
