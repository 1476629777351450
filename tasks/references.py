"""Reference points: what a question's score would be if its context were no obstacle, and what guessing gets.

    ceiling   the prompt with the question's gold passages alone
    floor     the prompt with as many passages that answer nothing in their place

Both are asked as the suite asks: the same instruction, question and answer. A task whose passages are all alike, such as shots, says itself
what stands in their place (:class:`Anchored`). A question is asked once, however many placements of its gold the suite has.
"""

import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, Literal, Protocol, runtime_checkable

from tasks.build import compose
from tasks.example import Episode, Example, Passage, Question, Task

Reference = Literal["ceiling", "floor"]
REFERENCES: Final[tuple[Reference, ...]] = ("ceiling", "floor")


@runtime_checkable
class Anchored(Protocol):
    """An episode that knows what its reference prompts are made of."""

    def anchors(self, question: Question) -> tuple[Sequence[Passage], Sequence[Passage]]:
        """List the passages of the ceiling and of the floor."""


def reference_examples(task: Task, length: int, examples: int, seed: int) -> Iterator[Example]:
    """Yield the ceiling and the floor of every question that a suite of so many examples at ``length`` asks.

    ``length`` is that of the suite: these prompts are shorter. Ids end in the reference's name.
    """
    for number in range(math.ceil(examples / task.placements)):
        cluster = f"{task.name}-{length}-{number:04d}"
        episode = task.episode(Random(f"{seed}/{cluster}"), "eval", length)
        question = episode.question()
        ceiling, floor = anchors(episode, question)
        solution = episode.solve(question, ceiling)
        for name, passages in zip(REFERENCES, (ceiling, floor), strict=True):
            yield Example(
                id=f"{cluster}-{name}",
                cluster=cluster,
                task=task.name,
                category=task.category,
                length=length,
                prompt=compose(episode, passages, question),
                answer_prefix=question.answer_prefix,
                targets=solution.targets,
                answer=solution.answer,
                depth=math.nan,
                meta=solution.meta,
            )


def anchors(episode: Episode, question: Question) -> tuple[Sequence[Passage], Sequence[Passage]]:
    """List the passages of the ceiling and of the floor."""
    if isinstance(episode, Anchored):
        return episode.anchors(question)
    return question.gold, [episode.filler() for _ in question.gold]


def which(example_id: str) -> Reference | None:
    """Say which reference an example is, by its id; None for one of the suite."""
    return next((name for name in REFERENCES if example_id.endswith(f"-{name}")), None)
