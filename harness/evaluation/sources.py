"""Where examples come from: ``--data generated`` (invented, any length) or ``--data helmet`` (the published files)."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from harness.api import HarnessError, Json
from harness.options import near
from tasks import plugins
from tasks.build import Budget, BudgetError, build
from tasks.editions import NEWEST, Edition
from tasks.example import Example, Task
from tasks.judges import Judge
from tasks.modes import Mode
from tasks.plugins import PluginError
from tasks.references import REFERENCES, reference_examples
from tasks.scoring import Scored, score_all
from tasks.suite import EVERY, GROUPS, find, select
from tasks.wording import Wording

GENERATED: Final = "generated"
HELMET: Final = "helmet"

Count = Callable[[str, str], int]
"""Tokens of a finished prompt, given its text and the answer's prefix."""


@dataclass(frozen=True)
class TaskInfo:
    """What an evaluation needs to know of a task, wherever its examples come from."""

    name: str
    category: str
    metrics: tuple[str, ...]
    max_new_tokens: int
    judged: bool = False
    """Whether its citations need a judge (generated facts are known and need none)."""
    opinion: str = ""
    """The metric that a model's judgement of its prose makes, in place of its others; empty where there is none."""
    chat: bool = True
    """Whether by itself it is asked in the model's chat template, if there is one: :mod:`harness.engines.framing`."""
    until: tuple[str, ...] = ()
    """What ends an answer that goes on from its prefix. A model that completes a text goes on to the next question otherwise."""


class Source(Protocol):
    """One kind of data."""

    name: str
    mode: Mode
    """How outputs are scored unless the user says otherwise."""

    def tasks(self, names: Sequence[str]) -> tuple[TaskInfo, ...]:
        """List the tasks by name or category; all for none. HarnessError for a name that is neither."""

    def identity(self, names: Sequence[str], lengths: Sequence[int]) -> dict[str, Json]:
        """Say what the examples depend on besides names, lengths, number, seed and tokenizer. HarnessError if something is missing."""

    def notes(self) -> dict[str, Json]:
        """Give what else the manifest should say of the examples."""

    def build(self, task: str, length: int, count: Count, examples: int | None, seed: int) -> Iterator[Example]:
        """Build the examples of one task at one length, one in memory at a time."""

    def references(self, task: str, length: int, count: Count, examples: int | None, seed: int) -> Iterator[Example]:
        """Build, as :meth:`build` does, the reference points of the same questions: :mod:`tasks.references`.

        None where gold is not known.
        """

    def expected(self, names: Sequence[str], lengths: Sequence[int], examples: int | None) -> int:
        """Count how many examples there will be, at most."""

    def expected_references(self, names: Sequence[str], lengths: Sequence[int], examples: int | None) -> int:
        """Count the same of the reference points."""

    def score(self, task: TaskInfo, length: int, outputs: Sequence[tuple[Example, str]], mode: Mode, judge: Judge | None) -> list[Scored]:
        """Score answers to one task, in order. A :class:`tasks.records.FieldError` says which in its ``index``."""


#: HELMET chats where the answer is prose. Stories and summaries say so themselves.
_CHATS: Final = ("cite",)
#: Tasks whose answer may take several lines.
_LINES: Final = ("cite_facts", "niah_mv")


def generated_info(task: Task) -> TaskInfo:
    """Describe a generated task with the frame of its published twin, and the end of the line as the end of answers that take only one.

    A task of another package may say ``chat`` and ``until`` itself.
    """
    chat = bool(getattr(task, "chat", task.category in _CHATS))
    until = tuple(getattr(task, "until", () if task.name in _LINES else ("\n",)))
    return TaskInfo(task.name, task.category, task.metrics, task.max_new_tokens, chat=chat, until=until)


def every_task() -> list[tuple[Task, str]]:
    """List the suite's tasks, then those of other packages, each with its package and version. HarnessError for one of no use."""
    try:
        brought = {name: found for name in plugins.names() if (found := plugins.find(name)) is not None}
    except PluginError as error:
        raise HarnessError(str(error)) from None
    hidden = {*EVERY, *GROUPS, *GROUPS["seven"]}
    releases = {name: f"{found.release}{'; not used, the name is taken' if name in hidden else ''}" for name, found in brought.items()}
    return [*((task, "") for task in EVERY.values()), *((found.task, releases[name]) for name, found in brought.items())]


class Generated:
    """Invented facts: :mod:`tasks.suite`."""

    name = GENERATED
    mode: Mode = "strict"
    #: Examples of each task at each length, unless the user says how many.
    EXAMPLES = 100

    def __init__(self, wording: Wording = "full") -> None:
        self._wording = wording

    def _select(self, names: Sequence[str]) -> tuple[Task, ...]:
        try:
            return select(tuple(names), self._wording)
        except KeyError as error:
            known = (*GROUPS["seven"], *GROUPS, *EVERY, *plugins.names())
            raise HarnessError(f"unknown task {error.args[0]!r}; {near(error.args[0], known)}") from None
        except PluginError as error:
            raise HarnessError(str(error)) from None

    def tasks(self, names: Sequence[str]) -> tuple[TaskInfo, ...]:
        return tuple(generated_info(task) for task in self._select(names))

    def identity(self, names: Sequence[str], lengths: Sequence[int]) -> dict[str, Json]:
        brought = {name: found for name in names if name not in EVERY and (found := plugins.find(name)) is not None}
        digests: dict[str, Json] = {name: found.digest for name, found in brought.items()}
        return {"wording": self._wording, **({"plugins": digests} if digests else {})}

    def notes(self) -> dict[str, Json]:
        return {}

    def build(self, task: str, length: int, count: Count, examples: int | None, seed: int) -> Iterator[Example]:
        try:
            yield from build(find(task, self._wording), Budget(length, count), examples or self.EXAMPLES, seed)
        except BudgetError as error:
            raise HarnessError(str(error)) from None

    def references(self, task: str, length: int, count: Count, examples: int | None, seed: int) -> Iterator[Example]:
        return reference_examples(find(task, self._wording), length, examples or self.EXAMPLES, seed)

    def expected(self, names: Sequence[str], lengths: Sequence[int], examples: int | None) -> int:
        return len(self._select(names)) * len(lengths) * (examples or self.EXAMPLES)

    def expected_references(self, names: Sequence[str], lengths: Sequence[int], examples: int | None) -> int:
        questions = sum(math.ceil((examples or self.EXAMPLES) / task.placements) for task in self._select(names))
        return len(REFERENCES) * questions * len(lengths)

    def score(self, task: TaskInfo, length: int, outputs: Sequence[tuple[Example, str]], mode: Mode, judge: Judge | None) -> list[Scored]:
        plugin = None if task.name in EVERY else plugins.find(task.name)
        if plugin is None:
            return score_all(task.name, outputs, mode=mode, judge=judge, only=task.metrics)
        try:
            return [plugin.score(example, output, mode) for example, output in outputs]
        except PluginError as error:
            raise HarnessError(str(error)) from None


class Helmet:
    """The published files: :mod:`harness.helmet_files.where`."""

    name = HELMET
    mode: Mode = "parity"

    def __init__(self, edition: Edition = NEWEST) -> None:
        self._edition = edition

    def tasks(self, names: Sequence[str]) -> tuple[TaskInfo, ...]:
        from harness.helmet_files.where import chosen
        from tasks.helmet.judged import METRICS

        return tuple(
            TaskInfo(
                task.name,
                task.category,
                task.metrics,
                task.max_new_tokens,
                judged=task.category == "cite",
                opinion=METRICS.get(task.name, ""),
                chat=task.chat,
            )
            for task in chosen(names)
        )

    def identity(self, names: Sequence[str], lengths: Sequence[int]) -> dict[str, Json]:
        from harness.helmet_files.where import chosen, identity

        return identity(chosen(names), lengths, self._edition)

    def notes(self) -> dict[str, Json]:
        from harness.helmet_files.where import cutter, wordings
        from tasks.helmet.cutting import Counted

        return {"wordings": wordings()[1], "long contexts cut by": getattr(cutter(), "name", Counted.name)}

    def build(self, task: str, length: int, count: Count, examples: int | None, seed: int) -> Iterator[Example]:
        from harness.helmet_files.where import published
        from tasks.helmet import EVERY as DATASETS

        return published(DATASETS[task], length, count, examples, seed, edition=self._edition)

    def references(self, task: str, length: int, count: Count, examples: int | None, seed: int) -> Iterator[Example]:
        from harness.helmet_files.where import published
        from tasks.helmet import EVERY as DATASETS
        from tasks.helmet import anchored

        dataset = DATASETS[task]
        for reference in REFERENCES if anchored(dataset) else ():
            asked = set()
            for example in published(dataset, length, count, examples, seed, reference, self._edition):
                if example.cluster not in asked:  # its other records differ in where the gold stands
                    asked.add(example.cluster)
                    yield example

    def expected_references(self, names: Sequence[str], lengths: Sequence[int], examples: int | None) -> int:
        from harness.helmet_files.where import chosen
        from tasks.helmet import anchored

        found = [dataset for dataset in chosen(names) if anchored(dataset)]
        return len(REFERENCES) * sum(dataset.examples if examples is None else examples for dataset in found) * len(lengths)

    def expected(self, names: Sequence[str], lengths: Sequence[int], examples: int | None) -> int:
        from harness.helmet_files.where import chosen

        return sum(dataset.expected(examples) for dataset in chosen(names)) * len(lengths)

    def score(self, task: TaskInfo, length: int, outputs: Sequence[tuple[Example, str]], mode: Mode, judge: Judge | None) -> list[Scored]:
        from tasks.helmet import EVERY as DATASETS

        return score_all(DATASETS[task.name].published_name(length), outputs, mode=mode, judge=judge, only=task.metrics)


SOURCES: Final = (GENERATED, HELMET)


def find_source(name: str, wording: Wording = "full", edition: Edition = NEWEST) -> Source:
    """Find the source called ``name``; ``wording`` is that of generated tasks, ``edition`` that of published ones."""
    if name not in SOURCES:
        raise HarnessError(f"unknown data {name!r}; choose from {', '.join(SOURCES)}")
    return Generated(wording) if name == GENERATED else Helmet(edition)
