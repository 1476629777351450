"""Cite: answer in sentences and cite the documents behind each (after ALCE, arXiv 2305.14627).

    Document [7] (Title: Mira Tolvane): Mira Tolvane owns the wooden kettle. The bell near the mill was wet.
    Document [21] (Title: Mira Tolvane): All that stands in the amber falcon house belongs to Mira Tolvane. ...
    Document [33] (Title: amber falcon house): The pale drum stands in the amber falcon house. ...
    What does Mira Tolvane own? ...   ->   Mira Tolvane owns the wooden kettle [7]. Mira Tolvane owns the pale drum [21][33].

One of the facts takes two documents together. Hard passages only seem to support a claim: the right person wants the thing, a person with
half of the name owns it, or the thing stands in a house that the person only lived in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tasks.example import Asked, Episode, Example, Passage, Question, Solution
from tasks.modes import Mode
from tasks.prose import sentence
from tasks.scoring import score
from tasks.words import ADJECTIVES, KINDS
from tasks.worked import introduce, stream
from tasks.world import Split, World, opposite

_THINGS = KINDS["vessel"] + KINDS["furniture"] + KINDS["instrument"] + KINDS["toy"]


class Cited:
    instruction = "Answer in full sentences from the documents below. End each with the numbers of its documents in brackets."
    #: Worked examples.
    shots = 1

    def __init__(self, rng: Random, split: Split, *, worked: bool = False) -> None:
        other = stream(rng)
        shots = [type(self)(other, opposite(split), worked=True) for _ in range(0 if worked else self.shots)]
        self.intro = introduce(self.instruction, shots, other)
        self._rng = rng
        self._world = World(rng, split)
        self._prose = not worked
        self._shown = {thing for shot in shots for thing in shot.things}
        self.things: list[str] = []

    def ask(self, person: str) -> Asked:
        return f"Question: What does {person} own?", "\nAnswer:"

    def _thing(self) -> str:
        thing = f"{self._rng.choice(ADJECTIVES)} {self._rng.choice(_THINGS)}"
        return self._thing() if thing in self._shown else thing

    def _about(self, person: str, fact: str, grade: int = 0) -> Passage:
        text = f"(Title: {person}): {fact} {sentence(self._rng)}" if self._prose else fact
        return Passage(text, tag=fact, grade=grade)

    def _stands(self, house: str, thing: str, grade: int = 0) -> Passage:
        return self._about(f"{house} house", f"The {thing} stands in the {house} house.", grade)

    def question(self) -> Question:
        person, house = self._world.person(), self._world.key()
        own, kept = self._thing(), self._thing()
        while kept == own:
            kept = self._thing()
        self.things += own, kept
        gold = (
            self._about(person, f"{person} owns the {own}.", 1),
            self._about(person, f"All that stands in the {house} house belongs to {person}.", 1),
            self._stands(house, kept, 1),
        )
        twin = self._world.twin(person, change_first=self._rng.random() < 0.5)
        other = self._world.twin(house, change_first=self._rng.random() < 0.5)
        distractors = (
            self._about(twin, f"{twin} owns the {self._thing()}."),
            self._about(person, f"{person} wants to buy the {self._thing()}."),
            self._about(person, f"{person} once lived in the {other} house."),
            self._stands(other, self._thing()),
        )
        return Question(*self.ask(person), gold, distractors, (own, kept))

    def filler(self) -> Passage:
        kind = self._rng.randrange(8)
        if kind == 0:
            return self._stands(self._world.key(), self._thing())
        person = self._world.person()
        if kind == 1:
            return self._about(person, f"All that stands in the {self._world.key()} house belongs to {person}.")
        return self._about(person, f"{person} {'wants to buy' if kind < 4 else 'owns'} the {self._thing()}.")

    def render(self, passages: Sequence[Passage]) -> str:
        return "\n".join(f"Document [{number}] {passage.text}" for number, passage in enumerate(passages, 1))

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        where = {passage.tag: number for number, passage in enumerate(passages, 1) if passage in question.gold}
        own, belongs, stands = (passage.tag for passage in question.gold)
        person = own.partition(" owns ")[0]
        kept = f"{person} owns the {question.facts[1]}."
        together = [where[belongs], where[stands]]
        cited = "".join(f"[{number}]" for number in sorted(together))
        answer = f"{own[:-1]} [{where[own]}]. {kept[:-1]} {cited}."
        support = {**{fact: [number] for fact, number in where.items()}, kept: [together]}
        return Solution(answer, question.facts, {"documents": len(passages), "support": support})


@dataclass(frozen=True)
class CiteTask:
    """What a person owns, with citations; one of two facts needs two documents."""

    name: str = "cite_facts"
    max_new_tokens: int = 52
    category: str = "cite"
    metrics: tuple[str, ...] = ("str_em", "citation_rec", "citation_prec")
    placements: int = 3
    episodes: type[Cited] = Cited

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return self.episodes(rng, split)

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)
