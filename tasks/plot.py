"""An invented story: people who travel, and what they do with things that belong to nobody else.

    A week later Mira Tolvane travelled from Belford to Oldcastle by barge, out of pride.
    Soon after Joren Harrick hid the amber falcon in the attic. Near the river the rope was wet.

It holds together at any length and wherever a passage is put: a thing is in one event, a person travels from where the last journey led,
the time of each event is told from the one before it, and whatever has to be known earlier stands in the pluperfect.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from tasks.example import Passage
from tasks.prose import sentence
from tasks.words import KINDS, TOWNS
from tasks.world import Split, World

#: People of a story, in pairs that share half of a name.
_CAST: Final = 16
#: The same of a worked example.
_WORKED_CAST: Final = 8
_TOWNS: Final = 12
_OPENERS: Final = ("Soon after", "A day later", "Some days later", "A week later", "Not long after", "Some time later")
_REASONS: Final = ("to see a {trade}", "to study {science}", "to taste the {drink}", "out of {mood}", "to dance the {dance}")
_KINDS: Final = ("trade", "science", "drink", "mood", "dance")
#: Where things are hidden and found.
SITES: Final = KINDS["room"] + KINDS["building"]
HOURS: Final = ("dawn", "sunrise", "breakfast", "noon", "teatime", "sunset", "nightfall", "midnight")


@dataclass(frozen=True)
class Deed:
    """One thing to do with a thing: how it is told and asked for."""

    name: str
    telling: str
    question: str
    hint: str
    """Mentions the thing together with a wrong value."""
    values: tuple[str, ...]
    """What the answer is one of; empty for people."""
    short: str
    """As an option to choose."""


DEEDS: Final = (
    Deed(
        "hide",
        "{person} hid the {thing} in the {value}",
        "Where did {person} hide the {thing}?",
        "{other} looked for the {thing} in the {value}, but in vain",
        SITES,
        "hide the {thing}",
    ),
    Deed(
        "sell",
        "{person} sold the {thing} because of the {value}",
        "Because of what did {person} sell the {thing}?",
        "{other} heard of the {thing} for the first time at the {value}",
        KINDS["event"],
        "sell the {thing}",
    ),
    Deed(
        "give",
        "{person} gave the {thing} to {value}",
        "To whom did {person} give the {thing}?",
        "{value} asked {other} about the {thing}, but got no answer",
        (),
        "give away the {thing}",
    ),
    Deed(
        "break",
        "{person} broke the {thing} at {value}",
        "At what time of day did {person} break the {thing}?",
        "{other} dreamt of the {thing} until {value}",
        HOURS,
        "break the {thing}",
    ),
)


class Plot:
    """The people and things of one story. ``rng`` is the only source of randomness; ``worked`` makes a small one, without prose."""

    def __init__(self, rng: Random, split: Split, *, worked: bool = False) -> None:
        self.rng = rng
        self.world = World(rng, split)
        self._prose = not worked
        self.cast: list[str] = []
        while len(self.cast) < (_WORKED_CAST if worked else _CAST):
            person = self.world.person()
            self.cast += person, self.world.twin(person, change_first=len(self.cast) % 4 == 0)
        towns = rng.sample(TOWNS, _TOWNS)
        self._at = {person: rng.choice(towns) for person in self.cast}
        self._towns = towns

    def people(self, n: int) -> list[str]:
        """Draw ``n`` people of the story, all different."""
        return self.rng.sample(self.cast, n)

    def twin_of(self, person: str) -> str:
        """Find the one of the cast who shares half of the name."""
        return self.cast[self.cast.index(person) ^ 1]

    def event(self, telling: str, tag: str = "") -> Passage:
        """Write a passage that tells an event and when it was."""
        return self.passage(f"{self.rng.choice(_OPENERS)} {telling}.", tag)

    def passage(self, text: str, tag: str = "") -> Passage:
        """Write a passage with a sentence of prose after ``text``."""
        return Passage(f"{text} {sentence(self.rng)}" if self._prose else text, tag=tag)

    def value(self, deed: Deed, *others: str) -> str:
        """Draw what the answer may be, none of ``others``."""
        return self.rng.choice([value for value in deed.values or self.cast if value not in others])

    def tell(self, deed: Deed, person: str, thing: str, value: str) -> Passage:
        """Write the passage in which ``person`` does it."""
        return self.event(deed.telling.format(person=person, thing=thing, value=value), value)

    def filler(self) -> Passage:
        """Write of a journey or a deed that nobody asks about."""
        if self._prose and self.rng.randrange(2):
            return self._journey()
        person, deed = self.rng.choice(self.cast), self.rng.choice(DEEDS)
        return self.tell(deed, person, self.world.key(), self.value(deed, person))

    def _journey(self) -> Passage:
        person = self.rng.choice(self.cast)
        start, end = self._at[person], self.rng.choice([town for town in self._towns if town != self._at[person]])
        self._at[person] = end
        reason = self.rng.choice(_REASONS).format(**{kind: self.rng.choice(KINDS[kind]) for kind in _KINDS})
        travel = f"{person} travelled from {start} to {end} by {self.rng.choice(KINDS['vehicle'])}, {reason}."
        there = [other for other, town in self._at.items() if town == end and other != person]
        met = f"There {person} met {self.rng.choice(there)}." if there else sentence(self.rng)
        return Passage(f"{self.rng.choice(_OPENERS)} {travel} {met}")
