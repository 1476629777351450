"""``harness tasks``: the tasks by name, and for lm-eval's own command line."""

import click

from harness.screen.terminal import echo


@click.group("tasks")
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
