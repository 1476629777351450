"""In-context learning: infer arbitrary labels from many labelled shots.

    I would like to know more about the cello. Label: 17
    ...
    My sister talked about the harp.   ->   Label: 17

The classes are kinds of thing; their labels are numbers drawn anew for every example, so only the shots can tell them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tasks.example import Episode, Example, Passage, Question, Solution
from tasks.modes import Mode
from tasks.scoring import score
from tasks.words import KINDS
from tasks.world import Split

#: Most shots in the prompt of a reference point (:mod:`tasks.references`).
ANCHORS = 8
_UTTERANCES = (
    "I would like to know more about the {word}.",
    "My sister talked about the {word}.",
    "Please explain to me the {word}.",
    "Yesterday we read about the {word}.",
    "Please remind me tomorrow of the {word}.",
    "Nothing is as special as the {word}.",
)


class Shots:
    intro = "Every line below ends with its label, a number that depends on what the line is about. Give the label of the last line."

    #: On the line of the question, as in the shots.
    answer_prefix = " Label:"

    def __init__(self, rng: Random, classes: int) -> None:
        self._rng = rng
        kinds = rng.sample(sorted(KINDS), classes)
        labels = rng.sample(range(100), classes)
        self._labels = {kind: str(label) for kind, label in zip(kinds, labels, strict=True)}
        self._round: list[str] = []

    def question(self) -> Question:
        kind = self._rng.choice(list(self._labels))
        word = self._rng.choice(KINDS[kind])
        return Question(self._utterance(word), self.answer_prefix, (), facts=(self._labels[kind], word))

    def _utterance(self, word: str) -> str:
        return self._rng.choice(_UTTERANCES).format(word=word)

    def filler(self) -> Passage:
        """Write a shot. Classes take turns in shuffled rounds, so that they stay balanced at any number of shots."""
        if not self._round:
            self._round = self._rng.sample(list(self._labels), len(self._labels))
        kind = self._round.pop()
        utterance = self._utterance(self._rng.choice(KINDS[kind]))
        return Passage(f"{utterance} Label: {self._labels[kind]}", tag=self._labels[kind])

    def render(self, passages: Sequence[Passage]) -> str:
        return "\n".join(passage.text for passage in passages)

    def anchors(self, question: Question) -> tuple[Sequence[Passage], Sequence[Passage]]:
        """Give ceiling and floor. Ceiling: a shot of each class, at most :data:`ANCHORS`, the right one's about the very word.

        Floor: every label, and no shot.
        """
        label, word = question.facts
        others = [kind for kind in self._labels if self._labels[kind] != label]
        shots = [(self._labels[kind], self._rng.choice(KINDS[kind])) for kind in self._rng.sample(others, min(ANCHORS - 1, len(others)))]
        shots.insert(self._rng.randrange(len(shots) + 1), (label, word))
        lines = [f"{self._utterance(about)} Label: {number}" for number, about in shots]
        return [Passage(line) for line in lines], [
            Passage(f"Label: {number}") for number in self._rng.sample(list(self._labels.values()), len(self._labels))
        ]

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        label, _ = question.facts
        return Solution(label, (label,), self.difficulty(passages))

    def difficulty(self, passages: Sequence[Passage]) -> Mapping[str, object]:
        """Say how many classes and shots there are, JSON-compatible."""
        return {"classes": len(self._labels), "shots": len(passages)}


@dataclass(frozen=True)
class IclTask:
    """Label the last line. At most ``classes`` classes, fewer where the length has no room for several shots of each."""

    name: str
    classes: int
    max_new_tokens: int = 16
    category: str = "icl"
    metrics: tuple[str, ...] = ("exact_match",)
    placements: int = 1
    episodes: type[Shots] = Shots

    #: Tokens of context a class needs, for about four shots.
    TOKENS_PER_CLASS = 64

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return self.episodes(rng, min(self.classes, max(2, length // self.TOKENS_PER_CLASS)))

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)
