"""Tasks that other packages bring, by the entry-point group ``harness.tasks``: each is a :class:`tasks.example.Task` by its name.

They are asked by name alone, so that what ``recall``, or all tasks, means does not depend on what is installed.
"""

import inspect
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from tasks.example import Example, Task
from tasks.files import read_bytes
from tasks.modes import Mode
from tasks.scoring import Scored

GROUP: Final = "harness.tasks"


class PluginError(ValueError):
    """A task of another package that cannot be used, in one line."""


@dataclass(frozen=True)
class Plugin:
    """A task, and where it comes from."""

    task: Task
    place: str
    """Module and class, as the package registers it."""
    release: str
    """Package and version."""
    digest: str
    """Of the module's source: a changed task asks other examples."""

    def score(self, example: Example, output: str, mode: Mode) -> Scored:
        """Score one output. Raises :class:`PluginError` for anything but a number in [0, 1] for each of the task's metrics."""
        try:
            found = dict(self.task.score(example, output, mode))
        except Exception as error:
            raise PluginError(f"task {self.task.name} ({self.place}) cannot score {example.id}: {_reason(error)}") from error
        for metric in self.task.metrics:
            value = found.get(metric)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise PluginError(f"task {self.task.name} ({self.place}) scores {example.id} {value!r} in {metric}; a score is in [0, 1]")
        return Scored({metric: float(found[metric]) for metric in self.task.metrics})


def names() -> list[str]:
    """List the names of the installed tasks of other packages."""
    return sorted({point.name for point in entry_points(group=GROUP)})


@cache
def find(name: str) -> Plugin | None:
    """Find the installed task called ``name``; None if there is none. Raises :class:`PluginError` if it cannot be used."""
    found = sorted(entry_points(group=GROUP, name=name), key=lambda point: point.value)
    if not found:
        return None
    if len(found) > 1:
        raise PluginError(f"two packages bring a task {name} ({', '.join(map(_release, found))}); uninstall one of them")
    point = found[0]
    try:
        task = point.load()()
    except Exception as error:
        raise PluginError(f"task {name} ({point.value}) cannot be loaded: {_reason(error)}") from error
    if fault := _fault(task, name):
        raise PluginError(f"task {name} ({point.value}): {fault}")
    source = inspect.getsourcefile(type(task))
    return Plugin(task, point.value, _release(point), sha256(read_bytes(source)).hexdigest() if source else "")


def _fault(task: object, name: str) -> str:
    """What a task lacks, in words; empty if nothing."""

    def wrong(attribute: str, wanted: str) -> str:
        return f"{attribute} is {getattr(task, attribute, None)!r}, and has to be {wanted}"

    if getattr(task, "name", None) != name:
        return wrong("name", f"{name!r}, as it is registered")
    category, metrics = getattr(task, "category", None), getattr(task, "metrics", None)
    if not isinstance(category, str) or not category.isidentifier():
        return wrong("category", "one word")
    if not isinstance(metrics, tuple) or not metrics or not all(isinstance(metric, str) for metric in metrics):
        return wrong("metrics", "a tuple of names")
    for attribute in ("max_new_tokens", "placements"):
        if not isinstance(getattr(task, attribute, None), int) or getattr(task, attribute) < 1:
            return wrong(attribute, "a number, at least 1")
    return next((f"it has no {method}()" for method in ("episode", "score") if not callable(getattr(task, method, None))), "")


def _release(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".removesuffix(": ")
