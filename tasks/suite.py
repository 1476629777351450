"""The generated suite: which tasks there are, by name and category, in each wording; and tasks of other packages, by name."""

from collections.abc import Mapping
from typing import Final, Literal

from tasks import plugins, terse
from tasks.cite import CiteTask
from tasks.example import Task
from tasks.icl import IclTask
from tasks.rag import RagTask
from tasks.recall import JsonTask, NeedleTask
from tasks.rerank import RerankTask

CATEGORIES: Final = ("recall", "rag", "cite", "rerank", "icl")

#: How questions are put: ``full`` says what form the answer has, ``terse`` is what the shipped model was trained on (:mod:`tasks.terse`).
Wording = Literal["full", "terse"]
WORDINGS: Final[tuple[Wording, ...]] = ("full", "terse")


def _named(*tasks: Task) -> Mapping[str, Task]:
    return {task.name: task for task in tasks}


TASKS: Final = _named(
    NeedleTask("niah_mk", values=1, max_new_tokens=24),
    NeedleTask("niah_mv", values=3, max_new_tokens=48),
    JsonTask(),
    RagTask(),
    CiteTask(),
    RerankTask(),
    IclTask("icl_coarse", classes=6),
    IclTask("icl_fine", classes=40),
)

#: The same tasks in the terse wording.
TERSE: Final = _named(
    NeedleTask("niah_mk", values=1, max_new_tokens=24, episodes=terse.Needles),
    NeedleTask("niah_mv", values=3, max_new_tokens=56, episodes=terse.Needles),
    JsonTask(max_new_tokens=20, episodes=terse.Json),
    RagTask(max_new_tokens=24, episodes=terse.Documents),
    CiteTask(max_new_tokens=64, episodes=terse.Cited),
    RerankTask(max_new_tokens=80, episodes=terse.Reports),
    IclTask("icl_coarse", classes=6, max_new_tokens=16, episodes=terse.Shots),
    IclTask("icl_fine", classes=40, max_new_tokens=16, episodes=terse.Shots),
)

_SUITES: Final[Mapping[Wording, Mapping[str, Task]]] = {"full": TASKS, "terse": TERSE}


def worded(wording: Wording) -> Mapping[str, Task]:
    """Every task of the suite in that wording, by name."""
    return _SUITES[wording]


def find(name: str, wording: Wording = "full") -> Task:
    """Find the task called ``name``: one of the suite's, or one that another package brings, whose wording is its own.

    Raises ``KeyError`` if there is none, and :class:`tasks.plugins.PluginError` if a package's cannot be used.
    """
    if name in TASKS:
        return worded(wording)[name]
    plugin = plugins.find(name)
    if plugin is None:
        raise KeyError(name)
    return plugin.task


def select(names: tuple[str, ...], wording: Wording = "full") -> tuple[Task, ...]:
    """Tasks by name or category, in suite order, then those of other packages, which are asked by name; no names mean the whole suite.

    Raises ``KeyError`` with the first name that is neither, and :class:`tasks.plugins.PluginError` for a package's that cannot be used.
    """
    own = [task for task in worded(wording).values() if not names or task.name in names or task.category in names]
    brought = [find(name) for name in dict.fromkeys(names) if name not in TASKS and name not in CATEGORIES]
    return (*own, *brought)
