"""The types every task is made of.

A *question* needs some *gold* passages; a context is those passages and its distractors, placed among *filler* passages; an *example* is
one such prompt, fitted to a token budget. Examples that ask the same question with the gold elsewhere share a *cluster*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from tasks.modes import Mode
from tasks.world import Split


@dataclass(frozen=True)
class Passage:
    """One unit of context. It is kept or dropped whole."""

    text: str
    tag: str = ""
    """What an answer calls it by: a document ID, a label."""
    grade: int = 0
    """Relevance to the question it was drawn for; 0 for filler and distractors."""


Asked = tuple[str, str]
"""The text of a question, and what its answer begins with (:attr:`Question.answer_prefix`)."""


@dataclass(frozen=True)
class Question:
    """A question and the passages that must be in the context for it."""

    text: str
    answer_prefix: str
    """What the answer begins with, ready to follow the text, such as a new line and ``Answer:``."""
    gold: tuple[Passage, ...]
    distractors: tuple[Passage, ...] = ()
    facts: tuple[str, ...] = ()
    """Short answers, one a gold passage where each passage holds one."""
    in_order: bool = False
    """Whether the gold passages follow on each other, and have to come in this order."""


@dataclass(frozen=True)
class Solution:
    """The right answer, once every passage has its place."""

    answer: str
    """A full-score output, as a model should write it."""
    targets: tuple[str, ...]
    meta: Mapping[str, object] = field(default_factory=dict)
    """What a scorer needs besides the targets, JSON-compatible."""


@dataclass(frozen=True)
class Example:
    """One prompt with its gold answers."""

    id: str
    cluster: str
    task: str
    category: str
    length: int
    """Tokens asked for, prompt and answer together."""
    prompt: str
    answer_prefix: str
    """What goes right after the prompt where the model completes it: :attr:`Question.answer_prefix`."""
    targets: tuple[str, ...]
    answer: str
    """A full-score output."""
    depth: float
    """Where the gold starts, as a share of the context in characters; NaN where several passages are gold."""
    meta: Mapping[str, object] = field(default_factory=dict)


class Episode(Protocol):
    """The invented facts of one context. Successive calls never repeat a name or key."""

    @property
    def intro(self) -> str:
        """What stands before the context: the instruction, and a worked example where the task has one."""

    def question(self) -> Question:
        """Ask a new question."""

    def filler(self) -> Passage:
        """Write a passage that answers no question of this episode."""

    def render(self, passages: Sequence[Passage]) -> str:
        """Write the context as the model reads it."""

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        """Find the answer to ``question`` in this context."""


class Task(Protocol):
    """One generated dataset. Instances are frozen and cheap."""

    @property
    def name(self) -> str:
        """Unique in the suite."""

    @property
    def category(self) -> str:
        """One of HELMET's seven, or one of its own: a mean over categories counts it."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what :meth:`score` measures."""

    @property
    def max_new_tokens(self) -> int:
        """Tokens that an answer may take."""

    @property
    def placements(self) -> int:
        """Examples of one cluster: the same question with its gold elsewhere. 1 where no passage is gold."""

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        """Invent fresh facts. ``length`` (tokens) may set the difficulty, such as the number of classes."""

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        """Score the output: metric -> score in [0, 1], for every name in ``metrics``."""
