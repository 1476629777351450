"""Worked examples: the form of an answer, shown on other facts before the context.

    Example
    Document (Title: Bram Calder): Bram Calder works as a mason.
    Question: What is the trade of Bram Calder?
    Answer: mason

They are drawn from a stream of their own and from the other half of the world, so that they neither shift nor name what the context is
made of, and they hold no prose: their form is all that counts.
"""

from collections.abc import Iterable
from random import Random

from tasks.example import Episode


def stream(rng: Random) -> Random:
    """Derive a generator from the state of ``rng`` and leave that as it is."""
    other = Random()
    other.setstate(rng.getstate())
    return Random(other.getrandbits(64))


def introduce(instruction: str, shots: Iterable[Episode], rng: Random, filler: int = 0) -> str:
    """Join the instruction and the first question of each of ``shots``, answered from its gold passages and ``filler`` others."""
    return "\n\n".join([instruction, *(_example(shot, rng, filler) for shot in shots)])


def _example(shot: Episode, rng: Random, filler: int) -> str:
    question = shot.question()
    passages = [*question.gold, *(shot.filler() for _ in range(filler))]
    rng.shuffle(passages)
    if question.in_order:
        following = iter(question.gold)
        passages = [next(following) if passage in question.gold else passage for passage in passages]
    solution = shot.solve(question, passages)
    return f"Example\n{shot.render(passages)}\n{question.text}{question.answer_prefix} {solution.answer}"
