"""Long QA: questions about an invented story, whose answers stand in one place, in two places, or in the order of events.

    ... Soon after Mira Tolvane locked the amber falcon into the crimson heron chest. Near the river the rope was wet. ...
    ... The crimson heron chest stood in the attic. ...
    In which place was the chest into which Mira Tolvane locked the amber falcon?   ->   attic

Others with half of the name, and things with half of theirs, do the same; the people of a question are in the rest of the story too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tasks.example import Episode, Example, Passage, Question, Solution
from tasks.links import LINKS, Keys, Link, value
from tasks.modes import Mode
from tasks.plot import DEEDS, Deed, Plot
from tasks.scoring import score
from tasks.worked import introduce, stream
from tasks.world import Split, opposite

_LETTERS: Final = "ABCD"
_TOLD: Final = "The story below tells things in the order in which they happened; some of its people share half of their names."


class Story:
    """What the kinds of question share: the story around them."""

    instruction = f"{_TOLD} Answer the question after it with a name, a place, a cause or a time of day, and nothing more."
    #: Worked examples, each a story of its own.
    shots = 1

    def __init__(self, rng: Random, split: Split, *, worked: bool = False) -> None:
        other = stream(rng)
        shots = [type(self)(other, opposite(split), worked=True) for _ in range(0 if worked else self.shots)]
        self.intro = introduce(self.instruction, shots, other, filler=1)
        self._rng = rng
        self._plot = Plot(rng, split, worked=worked)

    def question(self) -> Question:
        """Give a new question, with the passages that answer it."""
        raise NotImplementedError

    def filler(self) -> Passage:
        return self._plot.filler()

    def render(self, passages: Sequence[Passage]) -> str:
        return "\n".join(passage.text for passage in passages)

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        kind, right = question.facts
        return Solution(right, (right,), {"kind": kind})


class OnePlace(Story):
    """A deed asked for by its person and thing."""

    def question(self) -> Question:
        plot, deed = self._plot, self._rng.choice(DEEDS)
        person, other = plot.people(2)
        thing, twin = plot.world.key(), plot.twin_of(person)
        right = plot.value(deed, person, twin, other)
        wrong = [plot.value(deed, right, person, twin, other) for _ in range(3)]
        first, second = (plot.world.twin(thing, change_first=change) for change in (True, False))
        hint = plot.event(deed.hint.format(person=person, thing=thing, value=wrong[2], other=other))
        distractors = plot.tell(deed, person, first, wrong[0]), plot.tell(deed, twin, second, wrong[1]), hint
        asked = f"Question: {deed.question.format(person=person, thing=thing)}"
        return Question(asked, "\nAnswer:", (plot.tell(deed, person, thing, right),), distractors, (deed.name, right))


class TwoPlaces(Story):
    """An event told in one place and completed in another."""

    #: Of so many filler passages one is half of a link that nobody asks about.
    every = 3

    def __init__(self, rng: Random, split: Split, *, worked: bool = False) -> None:
        super().__init__(rng, split, worked=worked)
        self._keys = Keys(rng, self._plot.world)
        self._halves: list[Passage] = []
        self._told = 0

    def question(self) -> Question:
        plot, link = self._plot, self._rng.choice(LINKS)
        (person,) = plot.people(1)
        thing, (key, *near) = plot.world.key(), self._keys.draw(link, near=2)
        right = value(plot, link)
        wrong = [value(plot, link, right) for _ in near]
        gold = self._event(link, person, thing, key), self._state(link, key, right)
        states = [self._state(link, other, said) for other, said in zip(near, wrong, strict=True)]
        distractors = (*states, self._event(link, person, plot.world.twin(thing, change_first=False), near[0]))
        asked = f"Question: {link.question.format(person=person, thing=thing)}"
        return Question(asked, "\nAnswer:", gold, distractors, (link.name, right))

    def filler(self) -> Passage:
        self._told += 1
        if self._told % self.every:
            return self._plot.filler()
        link = self._rng.choice(LINKS)
        if not self._halves and (keys := self._keys.draw(link)):
            (person,) = self._plot.people(1)
            event, state = self._event(link, person, self._plot.world.key(), keys[0]), self._state(link, keys[0], value(self._plot, link))
            self._halves = [event, state] if self._rng.randrange(2) else [state, event]
        return self._halves.pop() if self._halves else self._plot.filler()

    def _event(self, link: Link, person: str, thing: str, key: str) -> Passage:
        return self._plot.event(link.event.format(person=person, thing=thing, key=key))

    def _state(self, link: Link, key: str, said: str) -> Passage:
        return self._plot.passage(link.state.format(key=key, value=said), said)


class InOrder(Story):
    """Which of four deeds of one person came first, or last: their order in the context decides."""

    instruction = f"{_TOLD} Answer the question after it with one letter, A, B, C or D, and nothing more."

    def question(self) -> Question:
        plot = self._plot
        (person,) = plot.people(1)
        deeds = [(deed, plot.world.key()) for deed in self._rng.sample(DEEDS, len(_LETTERS))]
        gold = tuple(self._done(deed, person, thing) for deed, thing in deeds)
        twins = tuple(self._done(deed, person, plot.world.twin(thing, change_first=True)) for deed, thing in deeds[:2])
        options = tuple(deed.short.format(thing=thing) for deed, thing in deeds)
        end = self._rng.choice(("first", "last"))
        shown = "\n".join(f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=True))
        return Question(f"Question: Which of these did {person} do {end}?\n{shown}", "\nAnswer:", gold, twins, (end, *options))

    def _done(self, deed: Deed, person: str, thing: str) -> Passage:
        return self._plot.tell(deed, person, thing, self._plot.value(deed, person))

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        end, *options = question.facts
        told = [question.gold.index(passage) for passage in passages if passage in question.gold]
        right = told[0] if end == "first" else told[-1]
        letter = _LETTERS[right]
        return Solution(letter, (letter, f"{letter}. {options[right]}"), {"kind": end})


@dataclass(frozen=True)
class StoryTask:
    """Questions about a story. As HELMET asks its own, through the chat template."""

    name: str
    episodes: type[Story]
    metrics: tuple[str, ...] = ("substring_exact_match",)
    max_new_tokens: int = 24
    category: str = "longqa"
    placements: int = 3
    chat: bool = True

    def episode(self, rng: Random, split: Split, length: int) -> Episode:
        return self.episodes(rng, split)

    def score(self, example: Example, output: str, mode: Mode = "strict") -> dict[str, float]:
        return score(self.name, example, output, mode=mode, only=self.metrics)
