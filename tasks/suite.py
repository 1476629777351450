"""The generated suite: which tasks there are, by name and category, in each wording; and tasks of other packages, by name.

The suite has five of HELMET's seven categories. The other two are asked by name, by category, or all seven together as ``seven``.
"""

from collections.abc import Mapping
from typing import Final

from tasks import plugins, terse
from tasks.cite import CiteTask
from tasks.example import Task
from tasks.gist import GistTask
from tasks.icl import IclTask
from tasks.rag import RagTask
from tasks.recall import JsonTask, NeedleTask
from tasks.rerank import RerankTask
from tasks.story import InOrder, OnePlace, StoryTask, TwoPlaces
from tasks.wording import Wording

CATEGORIES: Final = ("recall", "rag", "cite", "rerank", "icl")
#: Asked by name alone, so that a suite without names stays what it was.
LONGER: Final = ("longqa", "summ")
#: Names for several categories.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {"five": CATEGORIES, "seven": (*CATEGORIES, *LONGER)}


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

#: Tasks of the other two categories, in the full wording alone.
LONGER_TASKS: Final = _named(
    StoryTask("story_one", OnePlace),
    StoryTask("story_two", TwoPlaces),
    StoryTask("story_order", InOrder, metrics=("exact_match",), max_new_tokens=10),
    GistTask(),
)
#: Every task of our own by name, in the full wording.
EVERY: Final[Mapping[str, Task]] = {**TASKS, **LONGER_TASKS}

_SUITES: Final[Mapping[Wording, Mapping[str, Task]]] = {"full": TASKS, "terse": TERSE}


def worded(wording: Wording) -> Mapping[str, Task]:
    """List every task of the suite in that wording, by name."""
    return _SUITES[wording]


def find(name: str, wording: Wording = "full") -> Task:
    """Find the task called ``name``: one of the suite's, or one that another package brings, whose wording is its own.

    Raises ``KeyError`` if there is none, and :class:`tasks.plugins.PluginError` if a package's cannot be used.
    """
    if name in EVERY:
        return worded(wording).get(name) or LONGER_TASKS[name]
    plugin = plugins.find(name)
    if plugin is None:
        raise KeyError(name)
    return plugin.task


def select(names: tuple[str, ...], wording: Wording = "full") -> tuple[Task, ...]:
    """Find tasks by name, category or group, in suite order, then those of other packages, which are asked by name.

    No names mean the suite.

    Raises ``KeyError`` with the first name that is none of these, and :class:`tasks.plugins.PluginError` for a package's that cannot be
    used.
    """
    wanted = {part for name in names or ("five",) for part in GROUPS.get(name, (name,))}
    own = [find(task.name, wording) for task in EVERY.values() if task.name in wanted or task.category in wanted]
    known = {*EVERY, *GROUPS, *GROUPS["seven"]}
    return (*own, *(find(name) for name in dict.fromkeys(names) if name not in known))
