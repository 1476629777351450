"""Cite: answer in sentences and cite the document behind each (after ALCE, arXiv 2305.14627).

    Document [7] (Title: Mira Tolvane): Mira Tolvane owns the wooden kettle. The bell near the mill was wet.
    What does Mira Tolvane own? ...   ->   Mira Tolvane owns the wooden kettle [7]. Mira Tolvane owns the pale drum [21].

Hard passages only seem to support a claim: the right person wants the thing, or a person with half of the name owns it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tasks.example import Episode, Example, Passage, Question, Solution
from tasks.modes import Mode
from tasks.prose import sentence
from tasks.scoring import score
from tasks.words import ADJECTIVES, KINDS
from tasks.world import Split, World

_THINGS = KINDS["vessel"] + KINDS["furniture"] + KINDS["instrument"] + KINDS["toy"]
#: Documents that answer one question.
SUPPORTS = 2


class _Cited:
    intro = "Answer from the documents in full sentences, and cite each document you use by its number in brackets."

    def __init__(self, rng: Random, split: Split) -> None:
        self._rng = rng
        self._world = World(rng, split)

    def _thing(self) -> str:
        return f"{self._rng.choice(ADJECTIVES)} {self._rng.choice(_THINGS)}"

    def _about(self, person: str, fact: str, grade: int = 0) -> Passage:
        return Passage(f"(Title: {person}): {fact} {sentence(self._rng)}", tag=fact, grade=grade)

    def question(self) -> Question:
        person = self._world.person()
        things = [self._thing() for _ in range(SUPPORTS)]
        while len(set(things)) < SUPPORTS:
            things = [self._thing() for _ in range(SUPPORTS)]
        gold = tuple(self._about(person, f"{person} owns the {thing}.", 1) for thing in things)
        twin = self._world.twin(person, change_first=self._rng.random() < 0.5)
        distractors = (
            self._about(twin, f"{twin} owns the {self._thing()}."),
            self._about(person, f"{person} wants to buy the {self._thing()}."),
        )
        return Question(f"What does {person} own? Write one sentence for each thing.", gold, distractors, tuple(things))

    def filler(self) -> Passage:
        person = self._world.person()
        return self._about(person, f"{person} {self._rng.choice(('owns', 'owns', 'wants to buy'))} the {self._thing()}.")

    def render(self, passages: Sequence[Passage]) -> str:
        return "\n".join(f"Document [{number}] {passage.text}" for number, passage in enumerate(passages, 1))

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        cited = [(number, passage) for number, passage in enumerate(passages, 1) if passage in question.gold]
        answer = " ".join(f"{passage.tag[:-1]} [{number}]." for number, passage in cited)
        support = {passage.tag: [number] for number, passage in cited}
        return Solution(answer, question.facts, {"documents": len(passages), "support": support})


@dataclass(frozen=True)
class CiteTask:
    """What a person owns, with citations."""

    name: str = "cite_facts"
    max_new_tokens: int = 48
    category: str = "cite"
    metrics: tuple[str, ...] = ("str_em", "citation_rec", "citation_prec")
    placements: int = 3
    answer_prefix: str = "\nAnswer:"

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return _Cited(rng, split)

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)
