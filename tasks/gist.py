"""Summaries: what happened to one thing, out of a long story in which much happens to others.

    ... A week later Mira Tolvane found the amber falcon in the attic. ... Soon after Mira Tolvane gave it away. ...
    What happened to the amber falcon?   ->   Mira Tolvane found the amber falcon in the attic. Mira Tolvane gave ...

Each event is a key point, so summaries are judged exactly (:mod:`tasks.keypoints`). Things that share half of the name have events too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tasks.example import Episode, Example, Passage, Question, Solution
from tasks.modes import Mode
from tasks.plot import HOURS, SITES, Plot
from tasks.scoring import score
from tasks.words import KINDS
from tasks.worked import introduce, stream
from tasks.world import Split, opposite


@dataclass(frozen=True)
class Step:
    """One event in the life of a thing."""

    telling: str
    names: tuple[str, ...]
    """Fields of the telling that a summary has to name, the first two in this order."""
    verbs: tuple[str, ...]
    """Words for it that a summary may use."""

    def point(self, values: dict[str, str]) -> dict[str, object]:
        """Give the key point, JSON-compatible."""
        terms = [[values[name]] for name in self.names]
        ordered = {"before": [0, 1]} if self.names[1] in _PEOPLE else {}
        return {"text": self.telling.format(**values), "terms": [*terms, list(self.verbs)], **ordered}


#: Events of a worked example, and of a thing whose length has no room for all.
_WORKED_EVENTS: Final = 2
_FEW_EVENTS: Final = 3
#: Tokens that the events and their instruction may take.
_ROOMY: Final = 1_024
_PEOPLE: Final = ("finder", "friend", "buyer")
STEPS: Final = (
    Step("{finder} found the {thing} in the {site}", ("finder", "site"), ("found", "finds", "discovered", "discovers")),
    Step(
        "{finder} gave the {thing} to {friend}",
        ("finder", "friend"),
        ("gave", "gives", "given", "handed", "hands", "passed", "passes", "received", "receives", "got", "gets"),
    ),
    Step("{friend} broke the {thing} at {hour}", ("friend", "hour"), ("broke", "breaks", "broken")),
    Step(
        "{friend} sold the {thing} to {buyer} because of the {event}",
        ("friend", "buyer", "event"),
        ("sold", "sells", "bought", "buys"),
    ),
    Step("{buyer} hid the {thing} in the {hideout}", ("buyer", "hideout"), ("hid", "hides", "hidden", "concealed", "conceals")),
)


class Gist:
    instruction = (
        "The story below tells things in the order in which they happened; some of its people share half of their names. "
        "Summarise what it tells of one thing: one short sentence for each event, with full names, and nothing else."
    )
    #: Worked examples, each a story of its own.
    shots = 1

    def __init__(self, rng: Random, split: Split, events: int, *, worked: bool = False) -> None:
        other = stream(rng)
        shots = [type(self)(other, opposite(split), _WORKED_EVENTS, worked=True) for _ in range(0 if worked else self.shots)]
        self.intro = introduce(self.instruction, shots, other, filler=1)
        self._rng = rng
        self._plot = Plot(rng, split, worked=worked)
        self._steps = STEPS[:events]
        self._points: dict[str, list[dict[str, object]]] = {}

    def question(self) -> Question:
        plot = self._plot
        thing = plot.world.key()
        values = self._values(thing)
        gold = tuple(plot.event(step.telling.format(**values)) for step in self._steps)
        twins = [plot.world.twin(thing, change_first=first) for first in (True, False)][: len(self._steps) // 2]
        distractors = tuple(plot.event(step.telling.format(**self._values(twin))) for step, twin in zip(STEPS[-2:], twins, strict=False))
        self._points[thing] = [step.point(values) for step in self._steps]
        asked = f"Question: What happened to the {thing}?"
        return Question(asked, "\nSummary:", gold, distractors, (thing,), in_order=True)

    def _values(self, thing: str) -> dict[str, str]:
        finder, friend, buyer = self._plot.people(3)
        site, hideout = self._rng.sample(SITES, 2)
        values = {"thing": thing, "finder": finder, "friend": friend, "buyer": buyer, "site": site, "hideout": hideout}
        return {**values, "hour": self._rng.choice(HOURS), "event": self._rng.choice(KINDS["event"])}

    def filler(self) -> Passage:
        return self._plot.filler()

    def render(self, passages: Sequence[Passage]) -> str:
        return "\n".join(passage.text for passage in passages)

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        points = self._points[question.facts[0]]
        told = tuple(str(point["text"]) for point in points)
        return Solution(" ".join(f"{text}." for text in told), told, {"keypoints": points})


@dataclass(frozen=True)
class GistTask:
    """A summary by F1 of key-point recall and precision. As HELMET asks its own, through the chat template."""

    name: str = "story_summary"
    max_new_tokens: int = 160
    category: str = "summ"
    metrics: tuple[str, ...] = ("keypoint_f1",)
    placements: int = 3
    episodes: type[Gist] = Gist
    chat: bool = True
    until: tuple[str, ...] = ()

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return self.episodes(rng, split, len(STEPS) if length >= _ROOMY else _FEW_EVENTS)

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)
