"""``harness tasks``: the tasks by name, and for lm-eval's own command line."""

import json
from pathlib import Path
from typing import Any

import click

from harness.api import HarnessError
from harness.commands.groups import Listing
from harness.commands.parameters import Lengths, Names
from harness.engines.framing import FRAMINGS
from harness.screen.terminal import echo
from tasks.editions import EDITIONS, NEWEST
from tasks.wording import WORDINGS


@click.group("tasks", cls=Listing)
def tasks_group() -> None:
    """The tasks: list them, look at what they ask, or use them from lm-eval's own command line."""


@tasks_group.command("path")
def tasks_path() -> None:
    """Print the directory of the tasks' lm-eval YAML files.

    \b
    Example:
      lm_eval --model hf --model_args pretrained=MODEL \\
        --include_path "$(harness tasks path)" --tasks helmet_recall_8k
    """
    from harness.evaluation.lmeval_tasks import include_path

    echo(include_path())


@tasks_group.command("list")
def tasks_list() -> None:
    """Print every task with its category, metrics and answer budget.

    \b
    Example:
      harness tasks list
    """
    from harness.evaluation.sources import every_task

    for task, release in every_task():
        package = f"  ({release})" if release else ""
        echo(f"{task.category:8} {task.name:16} {task.max_new_tokens:4} tokens  {', '.join(task.metrics)}{package}")


@tasks_group.command("examples")
@click.option(
    "--model",
    "model_name",
    help="Whose tokens the prompts are fitted to; its weights are not read.  [default: published prompts whole, generated ones: builtin]",
)
@click.option("--tasks", type=Names(), help="Tasks or categories, such as recall,rag.  [default: all]")
@click.option("--data", default="generated", show_default=True, help="generated, or helmet (see `harness data`).")
@click.option("--edition", type=click.Choice(EDITIONS), default=NEWEST, show_default=True, help="Of HELMET's ICL sets.")
@click.option("--lengths", type=Lengths(), default="8k", show_default=True, help="Context lengths in tokens, such as 8k,32k,128k.")
@click.option("--examples", type=click.IntRange(min=1), help="Of each task at each length.  [default: 100, or as many as HELMET takes]")
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True)
@click.option("--framing", type=click.Choice(FRAMINGS), default="task", show_default=True, help="Which tokens are counted.")
@click.option("--wording", type=click.Choice(WORDINGS), default="full", show_default=True, help="Of generated tasks.")
@click.option(
    "--output",
    "--out",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSONL to write instead of showing the ends of each prompt.",
)
def tasks_examples(model_name: str | None, out: Path | None, **asked: Any) -> None:
    """Show exactly what is asked: prompts, right answers, depths, tokens. No weights are read.

    \b
    Examples:
      harness tasks examples --tasks rag_qa --lengths 512 --examples 2
      harness tasks examples --data helmet --tasks icl_banking77 --lengths 8k --examples 60 --output prompts.jsonl
      harness tasks examples --data helmet --tasks kilt_nq --lengths 128k --model MODEL

    Published prompts are whole, as their files make them, unless a model is named: they are then fitted to its tokens, and `dropped_tokens`
    says what that took.
    """
    from harness.evaluation import looking
    from harness.evaluation.sources import HELMET
    from harness.evaluation.suite import SuiteConfig
    from harness.models.lookup import BUILTIN, resolve
    from tasks.files import replacing

    config = SuiteConfig(tasks=tuple(asked.pop("tasks") or ()), lengths=tuple(asked.pop("lengths")), **asked)
    whole = model_name is None and config.data == HELMET
    found = looking.whole_records(config) if whole else looking.records(config, resolve(model_name or BUILTIN))
    if out is None:
        for record in found:
            echo(looking.in_lines(record))
        return
    count = 0
    try:
        with replacing(out, durable=False) as partial, partial.open("w", encoding="utf-8") as file:
            for record in found:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                count += 1
    except OSError as error:
        raise HarnessError(f"cannot write {out} ({error.strerror}); name another file with --output") from None
    echo(f"{out}: {count:,} examples")
