"""Recall: find what was said, word for word (RULER's multi-key and multi-value needles, and JSON key-value lookup).

The fence near the river was wet. The code for the amber falcon is 483291. Nobody knew ...
What is the code for the amber falcon?   ->   The code for the amber falcon is 483291.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tasks.example import Asked, Episode, Example, Passage, Question, Solution
from tasks.modes import Mode
from tasks.needles import draw_needle
from tasks.prose import sentence
from tasks.scoring import score
from tasks.worked import introduce, stream
from tasks.world import Split, World, opposite

#: One sentence in this many is a needle that nobody asks for.
NEEDLE_EVERY = 4


class Needles:
    """Needles in prose. ``values`` codes belong to each key that is asked for."""

    intro = (
        "Some codes are hidden in the text below. Each is a number of six digits and belongs to a key. "
        "Remember them: the question after the text asks for one key. Answer it with the digits of the code."
    )

    def __init__(self, rng: Random, split: Split, values: int) -> None:
        self._rng = rng
        self._world = World(rng, split)
        self._drawn = 0
        self.values = values

    def ask(self, key: str) -> Asked:
        if self.values == 1:
            return f"What is the code for the {key}?", f"\nThe code for the {key} is"
        return f"What are all {self.values} codes for the {key}?", f"\nThe {self.values} codes for the {key} are"

    def _needle(self, key: str) -> Passage:
        value = self._world.number(6)
        return Passage(f"The code for the {key} is {value}.", tag=value)

    def question(self) -> Question:
        key = self._world.key()
        gold = tuple(self._needle(key) for _ in range(self.values))
        twins = tuple(self._needle(self._world.twin(key, change_first=first)) for first in (True, False))
        return Question(*self.ask(key), gold, twins)

    def filler(self) -> Passage:
        self._drawn += 1
        return Passage(sentence(self._rng)) if self._drawn % NEEDLE_EVERY else self._needle(self._world.key())

    def render(self, passages: Sequence[Passage]) -> str:
        return " ".join(passage.text for passage in passages)

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        codes = tuple(passage.tag for passage in passages if passage in question.gold)
        return Solution(f"{question.answer_prefix.strip()} {', '.join(codes)}.", codes)


class Json:
    instruction = "Look up one key in the JSON object below and answer with its value alone, in quotation marks."
    #: Worked examples.
    shots = 2

    def __init__(self, rng: Random, split: Split, *, worked: bool = False) -> None:
        other = stream(rng)
        shots = [type(self)(other, opposite(split), worked=True) for _ in range(0 if worked else self.shots)]
        self.intro = introduce(self.instruction, shots, other, filler=2)
        self._world = World(rng, split)

    def ask(self, key: str) -> Asked:
        return f'Key: "{key}"', "\nValue:"

    def _pair(self, key: str) -> Passage:
        value = self._world.key()
        return Passage(f'"{key}": "{value}"', tag=value)

    def question(self) -> Question:
        key = self._world.key()
        twins = tuple(self._pair(self._world.twin(key, change_first=first)) for first in (True, False))
        return Question(*self.ask(key), (self._pair(key),), twins)

    def filler(self) -> Passage:
        return self._pair(self._world.key())

    def render(self, passages: Sequence[Passage]) -> str:
        return "{" + ", ".join(passage.text for passage in passages) + "}"

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        pair = question.gold[0]
        return Solution(f'"{pair.tag}"', (pair.tag,))


class _Notes:
    """Needles whose answer is a phrase: what retrieval heads are measured on."""

    intro = "Some notes are hidden in the following text. Remember them."

    def __init__(self, rng: Random, split: Split) -> None:
        self._rng = rng
        self._world = World(rng, split)

    def question(self) -> Question:
        needle = draw_needle(self._rng, world=self._world)
        return Question(needle.question, "\nAnswer:", (Passage(needle.text, tag=needle.answer),))

    def filler(self) -> Passage:
        return Passage(sentence(self._rng))

    def render(self, passages: Sequence[Passage]) -> str:
        return " ".join(passage.text for passage in passages)

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        return Solution(question.gold[0].text, (question.gold[0].tag,))


@dataclass(frozen=True)
class NeedleTask:
    """Multi-key (``values=1``) or multi-value needles; RULER's recall over the codes asked for."""

    name: str
    values: int
    max_new_tokens: int
    category: str = "recall"
    metrics: tuple[str, ...] = ("ruler_recall",)
    placements: int = 3
    episodes: type[Needles] = Needles

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return self.episodes(rng, split, self.values)

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)


@dataclass(frozen=True)
class JsonTask:
    """The value of one key in a large JSON object."""

    name: str = "json_kv"
    max_new_tokens: int = 20
    category: str = "recall"
    metrics: tuple[str, ...] = ("substring_exact_match",)
    placements: int = 3
    episodes: type[Json] = Json

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return self.episodes(rng, split)

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)


@dataclass(frozen=True)
class NoteTask:
    """The phrase of a note, as in retrieval-head detection. Not part of the suite."""

    name: str = "note"
    max_new_tokens: int = 32
    category: str = "recall"
    metrics: tuple[str, ...] = ("substring_exact_match",)
    placements: int = 3

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return _Notes(rng, split)

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)
