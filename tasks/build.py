"""Compose examples: place the gold among filler, in whole passages, and fit the prompt to a token budget."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from random import Random

from tasks.example import Episode, Example, Passage, Question, Task


@dataclass(frozen=True)
class Budget:
    """A context length and the tokenizer that measures it."""

    length: int
    """Tokens for prompt and answer together."""
    count: Callable[[str], int]
    """Tokens of a finished prompt, chat template included."""


class BudgetError(ValueError):
    """The question, its gold and its distractors alone do not fit the length."""


def build(task: Task, budget: Budget, examples: int, seed: int) -> Iterator[Example]:
    """``examples`` examples, one in memory at a time; each question appears with its gold early, in the middle and late.

    The same seed and token counts give the same examples on every machine, and more examples begin with the same ones.
    """
    clusters = (f"{task.name}-{budget.length}-{number:04d}" for number in count())
    return islice(chain.from_iterable(_cluster(task, budget, cluster, seed) for cluster in clusters), examples)


def _cluster(task: Task, budget: Budget, cluster: str, seed: int) -> Iterator[Example]:
    episode = task.episode(Random(f"{seed}/{cluster}"), "eval", budget.length)
    question = episode.question()
    filler = _Filler(episode)
    for placement in range(task.placements):
        rng = Random(f"{seed}/{cluster}/{placement}")
        positions = _positions(question, placement / task.placements, rng.random() / task.placements, rng)
        passages = _fit(task, budget, episode, question, filler, positions)
        solution = episode.solve(question, passages)
        yield Example(
            id=f"{cluster}-{placement}",
            cluster=cluster,
            task=task.name,
            category=task.category,
            length=budget.length,
            prompt=compose(episode, passages, question),
            answer_prefix=task.answer_prefix,
            targets=solution.targets,
            answer=solution.answer,
            depth=_depth(episode, question, passages),
            meta=solution.meta,
        )


def compose(episode: Episode, passages: Sequence[Passage], question: Question) -> str:
    """Instruction, context, question."""
    return f"{episode.intro}\n\n{episode.render(passages)}\n\n{question.text}"


class _Filler:
    """Filler passages drawn once for a cluster, so that its placements differ only in where the gold stands."""

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._passages: list[Passage] = []

    def first(self, n: int) -> list[Passage]:
        while len(self._passages) < n:
            self._passages.append(self._episode.filler())
        return self._passages[:n]


def _positions(question: Question, start: float, jitter: float, rng: Random) -> list[float]:
    """Where each gold and distractor passage goes, as a share of the context: a single gold passage at ``start + jitter``."""
    n_gold = len(question.gold)
    gold = [start + jitter] if n_gold == 1 else [rng.random() for _ in range(n_gold)]
    return gold + [rng.random() for _ in question.distractors]


def place(question: Question, filler: Sequence[Passage], positions: Sequence[float]) -> list[Passage]:
    """Insert gold and distractors into ``filler`` at ``positions`` (shares in [0, 1))."""
    slots: dict[int, list[tuple[float, Passage]]] = {}
    for position, passage in zip(positions, (*question.gold, *question.distractors), strict=True):
        slots.setdefault(int(position * (len(filler) + 1)), []).append((position, passage))
    placed: list[Passage] = []
    for index in range(len(filler) + 1):
        placed.extend(passage for _, passage in sorted(slots.get(index, ()), key=lambda item: item[0]))
        placed.extend(filler[index : index + 1])
    return placed


def _fit(task: Task, budget: Budget, episode: Episode, question: Question, filler: _Filler, positions: Sequence[float]) -> list[Passage]:
    """As many whole filler passages as the budget takes. Two or three counts of the prompt: a guess, corrections, and a last passage."""
    room = budget.length - task.max_new_tokens

    def tokens(n: int) -> int:
        return budget.count(compose(episode, place(question, filler.first(n), positions), question))

    bare = tokens(0)
    if bare > room:
        raise BudgetError(
            f"{task.name}: the question with its {len(question.gold) + len(question.distractors)} passages takes {bare} tokens "
            f"and the answer {task.max_new_tokens}, which is more than the length {budget.length}; ask for a longer one"
        )
    fits, over = 0, math.inf  # invariant: `fits` passages fit, `over` do not
    spent = bare
    guess = max(1, (room - bare) // 30)
    while over - fits > 1:
        guess = int(min(max(guess, fits + 1), over - 1))
        total = tokens(guess)
        if total <= room:
            fits, spent = guess, total
        else:
            over = guess
        per_passage = max(1.0, (total - bare) / guess)
        guess = guess + math.floor((room - total) / per_passage)
        if fits and room - spent < per_passage / 3:
            break
    return place(question, filler.first(fits), positions)


def _depth(episode: Episode, question: Question, passages: Sequence[Passage]) -> float:
    if len(question.gold) != 1:
        return math.nan
    before = passages[: passages.index(question.gold[0])]
    return len(episode.render(before)) / max(1, len(episode.render(passages)))
