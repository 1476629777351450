"""RAG: answer a short question from passages, most of which are about somebody else.

    Document (Title: Mira Tolvane): Mira Tolvane plays the cello. Near the river the door was wet.
    Which instrument does Mira Tolvane play?   ->   Mira Tolvane plays the cello.

Hard passages name a person who shares half of the name, or the right person with the wrong thing ("Mira Tolvane once lent a friend the
harp.").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tasks.example import Asked, Episode, Example, Passage, Question, Solution
from tasks.modes import Mode
from tasks.prose import sentence
from tasks.scoring import score
from tasks.worked import introduce, stream
from tasks.world import ATTRIBUTES, Attribute, Split, World, opposite


class Documents:
    instruction = "Answer the question from the documents below in one word."
    #: Worked examples, each about an attribute that no question asks for.
    shots = 2

    def __init__(self, rng: Random, split: Split, worked: Attribute | None = None) -> None:
        other = stream(rng)
        shown = other.sample(ATTRIBUTES, 0 if worked else self.shots)
        shots = [type(self)(other, opposite(split), attribute) for attribute in shown]
        self.intro = introduce(self.instruction, shots, other, filler=1)
        self._rng = rng
        self._world = World(rng, split)
        self._asked = (worked,) if worked else tuple(attribute for attribute in ATTRIBUTES if attribute not in shown)
        self._prose = worked is None

    def ask(self, question: str) -> Asked:
        return f"Question: {question}", "\nAnswer:"

    def _about(self, person: str, attribute: Attribute, value: str) -> Passage:
        """Two sentences about ``person`` in either order: one states ``value``, the other is prose."""
        sentences = [attribute.state(self._rng, person, value), *([sentence(self._rng)] if self._prose else [])]
        self._rng.shuffle(sentences)
        return Passage(f"Document (Title: {person}): {' '.join(sentences)}", tag=value)

    def question(self) -> Question:
        person = self._world.person()
        attribute = self._rng.choice(self._asked)
        value, *others = self._rng.sample(attribute.values, 4)
        twins = tuple(
            self._about(self._world.twin(person, change_first=first), attribute, other)
            for first, other in zip((True, False), others, strict=False)
        )
        hint = Passage(f"Document (Title: {person}): {sentence(self._rng)} {attribute.hint.format(person=person, value=others[2])}")
        gold = self._about(person, attribute, value)
        statement = attribute.statements[0].format(person=person, value=value)
        return Question(*self.ask(attribute.question.format(person=person)), (gold,), (*twins, hint), (value, statement))

    def filler(self) -> Passage:
        attribute = self._rng.choice(ATTRIBUTES)
        return self._about(self._world.person(), attribute, self._rng.choice(attribute.values))

    def render(self, passages: Sequence[Passage]) -> str:
        return "\n".join(passage.text for passage in passages)

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        value, _ = question.facts
        return Solution(value, (value,))


@dataclass(frozen=True)
class RagTask:
    """One attribute of one person."""

    name: str = "rag_qa"
    max_new_tokens: int = 24
    category: str = "rag"
    metrics: tuple[str, ...] = ("substring_exact_match",)
    placements: int = 3
    episodes: type[Documents] = Documents

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return self.episodes(rng, split)

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)
