"""Re-rank: order documents by how well they match a query.

    A report on the flood in Harrowgate last winter. The rope was wet. [ID: 4831]
    Query: the flood in Harrowgate last winter.   ->   [ID: 4831] > [ID: 2210] > [ID: 7405]

A document that matches event, place and season has grade 3, event and place 2, the place alone 1, anything else 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tasks.example import Asked, Episode, Example, Passage, Question, Solution
from tasks.modes import Mode
from tasks.prose import sentence
from tasks.scoring import score
from tasks.words import KINDS, SEASONS, TOWNS
from tasks.worked import introduce, stream
from tasks.world import Split, World, opposite

#: (event matches, season matches) -> grade, for documents about the right place; how many of each.
_GRADES = ((True, True, 3), (True, False, 2), (True, False, 2), (False, True, 1), (False, False, 1))
#: The same of a worked example.
_WORKED_GRADES = ((True, True, 3), (True, False, 2), (False, True, 1))


class Reports:
    instruction = (
        "Rank the reports below for a query, best first: first those that match its event, place and season, then event and place, "
        "then the place alone. Leave out all others. Write their IDs: [ID: ...] > [ID: ...] > [ID: ...]"
    )
    #: Worked examples, each about a place of its own.
    shots = 1

    def __init__(self, rng: Random, split: Split, digits: int, *, worked: str = "") -> None:
        other = stream(rng)
        shown = other.sample(TOWNS, 0 if worked else self.shots)
        shots = [type(self)(other, opposite(split), digits, worked=place) for place in shown]
        self.intro = introduce(self.instruction, shots, other)
        self._rng = rng
        self._world = World(rng, split, taken={number for shot in shots for number in shot.numbers})
        self._digits = digits
        self._grades = _WORKED_GRADES if worked else _GRADES
        self._places = [worked] if worked else rng.sample([town for town in TOWNS if town not in shown], len(TOWNS) - len(shown))
        self._asked = 0
        self._prose = not worked

    @property
    def numbers(self) -> frozenset[str]:
        """The IDs drawn so far."""
        return self._world.used

    def ask(self, wanted: str) -> Asked:
        return f"Query: {wanted}", "\nRanking:"

    def _report(self, event: str, place: str, season: str, grade: int = 0) -> Passage:
        identity = self._world.number(self._digits)
        prose = f"{sentence(self._rng)} " if self._prose else ""
        text = f"{prose}A report on the {event} in {place} last {season}. [ID: {identity}]"
        return Passage(text, tag=identity, grade=grade)

    def question(self) -> Question:
        event, season, place = self._rng.choice(KINDS["event"]), self._rng.choice(SEASONS), self._places[self._asked]
        self._asked += 1
        gold = tuple(
            self._report(
                event if same_event else self._other(KINDS["event"], event),
                place,
                season if same_season else self._other(SEASONS, season),
                grade,
            )
            for same_event, same_season, grade in self._grades
        )
        distractor = self._report(event, self._elsewhere(), season)
        return Question(*self.ask(f"the {event} in {place} last {season}"), gold, (distractor,))

    def _other(self, words: Sequence[str], word: str) -> str:
        return self._rng.choice([candidate for candidate in words if candidate != word])

    def _elsewhere(self) -> str:
        """A place no question asks about: the last half of the shuffled towns is kept for that."""
        return self._rng.choice(self._places[len(self._places) // 2 :])

    def filler(self) -> Passage:
        return self._report(self._rng.choice(KINDS["event"]), self._elsewhere(), self._rng.choice(SEASONS))

    def render(self, passages: Sequence[Passage]) -> str:
        return "\n".join(passage.text for passage in passages)

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        relevant = sorted((p for p in passages if p in question.gold), key=lambda passage: -passage.grade)  # ties in order of appearance
        identities = tuple(passage.tag for passage in relevant)
        grades = {passage.tag: passage.grade for passage in relevant}
        return Solution(" > ".join(f"[ID: {identity}]" for identity in identities), identities, {"grades": grades})


@dataclass(frozen=True)
class RerankTask:
    """Graded re-ranking by NDCG@10."""

    name: str = "rerank_reports"
    max_new_tokens: int = 80
    category: str = "rerank"
    metrics: tuple[str, ...] = ("NDCG@10",)
    placements: int = 3
    episodes: type[Reports] = Reports

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return self.episodes(rng, split, digits=4 if length <= 65_536 else 6)

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)
