"""Compose examples: place the gold among filler, in whole passages, and fit the prompt to a token budget."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from random import Random

from tasks.example import Episode, Example, Passage, Question, Task

#: The first prompt that is counted has this many times fewer filler passages than the length has tokens, to learn their mean size cheaply.
_FIRST_GUESS = 100
#: Passages within which the right number is found passage by passage.
_WALK = 64


@dataclass(frozen=True)
class Budget:
    """A context length and the tokenizer that measures it."""

    length: int
    """Tokens for prompt and answer together."""
    count: Callable[[str, str], int]
    """Tokens of a finished prompt, chat template included, given its text and what the answer begins with."""


class BudgetError(ValueError):
    """The question, its gold and its distractors alone do not fit the length."""


def build(task: Task, budget: Budget, examples: int, seed: int) -> Iterator[Example]:
    """Build ``examples`` examples, one in memory at a time; each question appears with its gold early, in the middle and late.

    The same seed and token counts give the same examples on every machine, and more examples begin with the same ones.
    """
    clusters = (f"{task.name}-{budget.length}-{number:04d}" for number in count())
    return islice(chain.from_iterable(_cluster(task, budget, cluster, seed) for cluster in clusters), examples)


def _cluster(task: Task, budget: Budget, cluster: str, seed: int) -> Iterator[Example]:
    episode = task.episode(Random(f"{seed}/{cluster}"), "eval", budget.length)
    question = episode.question()
    filler = _Filler(episode, budget.count)
    room = budget.length - task.max_new_tokens
    fits = room // _FIRST_GUESS
    for placement in range(task.placements):
        rng = Random(f"{seed}/{cluster}/{placement}")
        positions = _positions(question, placement / task.placements, rng.random() / task.placements, rng)

        def tokens(n: int, positions: Sequence[float] = positions) -> int:
            return budget.count(compose(episode, place(question, filler.first(n), positions), question), question.answer_prefix)

        bare = tokens(0)
        if bare > room:
            raise BudgetError(
                f"{task.name}: the question with its {len(question.gold) + len(question.distractors)} passages takes {bare} tokens "
                f"and the answer {task.max_new_tokens}, which is more than the length {budget.length}; ask for a longer one"
            )
        fits = _fit(room, tokens, filler.size, fits)
        passages = place(question, filler.first(fits), positions)
        solution = episode.solve(question, passages)
        yield Example(
            id=f"{cluster}-{placement}",
            cluster=cluster,
            task=task.name,
            category=task.category,
            length=budget.length,
            prompt=compose(episode, passages, question),
            answer_prefix=question.answer_prefix,
            targets=solution.targets,
            answer=solution.answer,
            depth=_depth(episode, question, passages),
            meta=solution.meta,
        )


def compose(episode: Episode, passages: Sequence[Passage], question: Question) -> str:
    """Compose instruction, context, question."""
    return f"{episode.intro}\n\n{episode.render(passages)}\n\n{question.text}"


class _Filler:
    """Filler passages drawn once for a cluster, so that its placements differ only in where the gold stands."""

    def __init__(self, episode: Episode, count: Callable[[str, str], int]) -> None:
        self._episode = episode
        self._count = count
        self._passages: list[Passage] = []

    def first(self, n: int) -> list[Passage]:
        while len(self._passages) < n:
            self._passages.append(self._episode.filler())
        return self._passages[:n]

    def size(self, index: int) -> int:
        """Tokens that one passage adds to a text, give or take one."""
        passage = self.first(index + 1)[index]
        return max(1, self._count(self._episode.render([passage, passage]), "") - self._count(self._episode.render([passage]), ""))


def _positions(question: Question, start: float, jitter: float, rng: Random) -> list[float]:
    """Where each gold and distractor passage goes, as a share of the context: a single gold passage at ``start + jitter``."""
    n_gold = len(question.gold)
    gold = [start + jitter] if n_gold == 1 else [rng.random() for _ in range(n_gold)]
    if question.in_order:
        gold.sort()
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


def _fit(budget: int, tokens: Callable[[int], int], size: Callable[[int], int], guess: int) -> int:
    """The most filler passages that fit. Counting a whole prompt is dear and a passage is cheap, so the last few steps go by passages.

    ``tokens(n)`` counts the prompt with ``n`` filler passages, ``size(i)`` filler passage ``i`` alone; ``tokens(0)`` must fit.
    """
    fits, over = 0, sys.maxsize  # invariant: `fits` passages fit, `over` do not
    while over - fits > 1:
        guess = min(max(guess, fits + 1), over - 1)
        total = tokens(guess)
        room = budget - total
        if room >= 0:
            fits = guess
            if size(guess) > room:
                break
        else:
            over = guess
        per_passage = max(1.0, total / guess)
        guess = guess + int(room / per_passage) if abs(room) > _WALK * per_passage else _walk(guess, room, size)
    return fits


def _walk(n: int, room: int, size: Callable[[int], int]) -> int:
    """``n`` passages leave ``room`` tokens (negative: lack them); how many to have instead."""
    while room < 0 and n > 0:
        n -= 1
        room += size(n)
    while room >= (step := size(n)):
        room -= step
        n += 1
    return n


def _depth(episode: Episode, question: Question, passages: Sequence[Passage]) -> float:
    if len(question.gold) != 1:
        return math.nan
    before = passages[: passages.index(question.gold[0])]
    return len(episode.render(before)) / max(1, len(episode.render(passages)))
