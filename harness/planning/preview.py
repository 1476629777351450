"""What a command will take, said before its first step, and a question where that is more than a day.

Nothing is said where all is there already. The question is asked on a terminal alone: where nobody can answer it (a scheduler's job, a
pipe, continuous integration), the command goes on.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from harness.api import HarnessError
from harness.config import RunConfig
from harness.planning.plan import Plan, Stage, UnplannedError, make_plan, timed
from harness.planning.table import DAY, as_text, cheaper, duration
from harness.screen import progress

#: Seconds that a probe may take before a run; ``harness plan`` may take longer.
PROBE_LIMIT: Final = 20.0


def preview(
    root: Path, model_name: str, methods: Sequence[str], config: RunConfig, *, yes: bool = False, stage: Stage | None = None
) -> None:
    """Say what is to come. HarnessError for what a plan refuses, and if the person at the terminal would rather not."""
    try:
        plan = make_plan(root, model_name, methods, config, stage=stage)
    except UnplannedError:
        return  # what only a plan cannot do does not matter to the command
    if not plan.left:
        return
    if plan.is_little:
        progress.say(f"{_count(plan)}: too little to be timed first; harness plan times it")
        for warning in plan.warnings:
            progress.say(warning)
        return
    progress.say(f"looking at what is to do (at most {PROBE_LIMIT:.0f} s) ...")
    plan = timed(plan, config, limit=PROBE_LIMIT)
    progress.say(as_text(plan, config) + "\n")
    _ask(plan, config, yes=yes)


def _count(plan: Plan) -> str:
    counts = f"{plan.prefill_tokens:,} tokens to read, {plan.new_tokens:,} to write, {plan.train_tokens:,} to train on"
    return f"{len(plan.left)} steps to do, {counts}"


def _ask(plan: Plan, config: RunConfig, *, yes: bool) -> None:
    if yes or plan.seconds is None or plan.seconds <= DAY:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        progress.say(f"this takes about {duration(plan.seconds)}; going on, since there is no terminal to ask on")
        return
    if not click.confirm(f"This takes about {duration(plan.seconds)}. Go on?", err=True):
        raise HarnessError(f"stopped before the first step; {cheaper(plan, config)}, or pass --yes")
