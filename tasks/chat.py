"""Short instructions that the shipped model can follow, for preference pairs.

They are small siblings of the evaluation's tasks (up to some 150 tokens) and a few that need no context at all. Their names and keys come
from the training half of the world (:func:`tasks.world.half`), so none of them can give away an answer of the evaluation.
"""

from random import Random
from typing import Final

from tasks.build import compose, place
from tasks.example import Task
from tasks.recall import NoteTask
from tasks.suite import TERSE
from tasks.words import ADJECTIVES, KINDS, NOUNS

#: Filler passages around the gold ones: from a context that is almost bare to one of about a hundred tokens.
_FILLER: Final = (0, 6)

Exchange = tuple[str, str]
"""Instruction and a right answer."""


def _repeat(rng: Random) -> Exchange:
    words = " ".join(rng.sample((*NOUNS, *ADJECTIVES), rng.randint(3, 8)))
    return f"Repeat these words: {words}", words


def _count(rng: Random) -> Exchange:
    start, n = rng.randint(1, 60), rng.randint(3, 8)
    return f"Count from {start} to {start + n - 1}.", ", ".join(str(start + step) for step in range(n))


def _larger(rng: Random) -> Exchange:
    first, second = rng.sample(range(10, 100), 2)
    return f"Which is larger, {first} or {second}?", str(max(first, second))


def _kind(rng: Random) -> Exchange:
    kind = rng.choice(sorted(KINDS))
    return f"What kind of thing is the {rng.choice(KINDS[kind])}?", kind


def context_free(rng: Random) -> Exchange:
    """Invent an instruction that needs no context."""
    return rng.choice((_repeat, _count, _larger, _kind))(rng)


def short_task(rng: Random) -> Exchange:
    """Invent a task of the suite's kind with a handful of passages, from the training half of the world."""
    task: Task = rng.choice((*TERSE.values(), NoteTask()))
    episode = task.episode(rng, "train", length=128)
    question = episode.question()
    filler = [episode.filler() for _ in range(rng.randint(*_FILLER) + (6 if not question.gold else 0))]
    passages = place(question, filler, [rng.random() for _ in (*question.gold, *question.distractors)])
    return compose(episode, passages, question), episode.solve(question, passages).answer


def instructions(count: int, seed: int) -> list[str]:
    """Invent ``count`` different instructions, four in five of them small tasks."""
    rng = Random(f"instructions/{seed}")
    found: dict[str, None] = {}
    while len(found) < count:
        found[(short_task(rng) if rng.random() < 0.8 else context_free(rng))[0]] = None
    return list(found)
