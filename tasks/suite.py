"""The generated suite: which tasks there are, by name and category."""

from typing import Final

from tasks.cite import CiteTask
from tasks.example import Task
from tasks.icl import IclTask
from tasks.rag import RagTask
from tasks.recall import JsonTask, NeedleTask
from tasks.rerank import RerankTask

CATEGORIES: Final = ("recall", "rag", "cite", "rerank", "icl")

TASKS: Final[dict[str, Task]] = {
    task.name: task
    for task in (
        NeedleTask("niah_mk", values=1, max_new_tokens=24),
        NeedleTask("niah_mv", values=3, max_new_tokens=56),
        JsonTask(),
        RagTask(),
        CiteTask(),
        RerankTask(),
        IclTask("icl_coarse", classes=6),
        IclTask("icl_fine", classes=40),
    )
}


def select(names: tuple[str, ...]) -> tuple[Task, ...]:
    """Tasks by name or category, in suite order; an empty selection means all.

    Raises ``KeyError`` with the first name that is neither.
    """
    for name in names:
        if name not in TASKS and name not in CATEGORIES:
            raise KeyError(name)
    return tuple(task for task in TASKS.values() if not names or task.name in names or task.category in names)
