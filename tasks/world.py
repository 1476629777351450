"""Invented people, keys and facts.

A :class:`World` draws names and keys that no other episode of the same world has to share, and keeps two disjoint halves: what is asked
in the evaluation (``split="eval"``) never occurs in prompts that a model may be trained on (``split="train"``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from random import Random
from typing import Final, Literal

from tasks.words import ADJECTIVES, FAMILY, GIVEN, KINDS, NOUNS, TOWNS

Split = Literal["eval", "train"]


@dataclass(frozen=True)
class Attribute:
    """One thing to know about a person, with the sentences that state it and the question that asks for it."""

    name: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    question: str
    hint: str
    """Mentions a value together with the person, without making it the answer: the wrong attribute for the right person."""

    def state(self, rng: Random, person: str, value: str) -> str:
        return rng.choice(self.statements).format(person=person, value=value)


def _attribute(name: str, statements: tuple[str, ...], question: str, hint: str, values: tuple[str, ...] = ()) -> Attribute:
    return Attribute(name, values or KINDS[name], statements, question, hint)


ATTRIBUTES: Final = (
    _attribute(
        "town",
        ("{person} lives in {value}.", "The house of {person} stands in {value}."),
        "In which town does {person} live?",
        "{person} has never visited {value}.",
        TOWNS,
    ),
    _attribute(
        "instrument",
        ("{person} plays the {value}.", "Every week {person} practises the {value}."),
        "Which instrument does {person} play?",
        "{person} once lent a friend the {value}.",
    ),
    _attribute(
        "animal",
        ("{person} looks after the {value}.", "The pet of {person} is the {value}."),
        "Which animal does {person} look after?",
        "{person} is afraid of the {value}.",
    ),
    _attribute(
        "trade",
        ("{person} works as a {value}.", "In daily life {person} is a {value}."),
        "What is the trade of {person}?",
        "{person} lives next to a {value}.",
    ),
    _attribute(
        "dish",
        ("{person} likes to cook {value}.", "The best dish of {person} is {value}."),
        "Which dish does {person} like to cook?",
        "{person} refuses to eat {value}.",
    ),
    _attribute(
        "stone",
        ("{person} collects pieces of {value}.", "The favourite stone of {person} is {value}."),
        "Which stone does {person} collect?",
        "{person} sold a ring of {value}.",
    ),
    _attribute(
        "science",
        ("{person} studies {value}.", "At college {person} chose {value}."),
        "Which science does {person} study?",
        "{person} gave up on {value}.",
    ),
    _attribute(
        "flower",
        ("{person} grows the {value}.", "In the garden of {person} stands the {value}."),
        "Which flower does {person} grow?",
        "{person} cannot stand the {value}.",
    ),
)


def half(name: str) -> Split:
    """Say which half of the world a name or key belongs to: a fixed, even split by hash."""
    return "eval" if blake2b(name.encode(), digest_size=1).digest()[0] & 1 else "train"


def opposite(split: Split) -> Split:
    """Name the half that ``split`` is not: worked examples are made of it, so that they never name what the context names."""
    return "train" if split == "eval" else "eval"


@cache
def _pairs(first: tuple[str, ...], second: tuple[str, ...], split: Split) -> tuple[str, ...]:
    names = (f"{a} {b}" for a in first for b in second)
    return tuple(name for name in names if half(name) == split)


#: Draws of a name before it gets a word more.
_TRIES: Final = 20


class World:
    """Draws that do not repeat, and that are none of ``taken``. ``rng`` is the only source of randomness."""

    def __init__(self, rng: Random, split: Split, taken: Iterable[str] = ()) -> None:
        self.rng = rng
        self.split = split
        self._used = set(taken)

    @property
    def used(self) -> frozenset[str]:
        """Every name, key and number drawn so far."""
        return frozenset(self._used)

    def person(self) -> str:
        """Draw a full name not drawn before: "Mira Tolvane"."""
        return self._fresh(_pairs(GIVEN, FAMILY, self.split))

    def key(self) -> str:
        """Draw a two-word key not drawn before: "amber falcon"."""
        return self._fresh(_pairs(ADJECTIVES, NOUNS, self.split))

    def twin(self, name: str, *, change_first: bool) -> str:
        """Draw a fresh name or key that shares one word with ``name``: the distractor that a careless reader confuses with it."""
        first, second = name.split()[:2]
        is_key = first in ADJECTIVES
        firsts, seconds = (ADJECTIVES, NOUNS) if is_key else (GIVEN, FAMILY)
        pool = _pairs(firsts, (second,), self.split) if change_first else _pairs((first,), seconds, self.split)
        return self._fresh(pool)

    def number(self, digits: int) -> str:
        """Draw a number of exactly ``digits`` digits, not drawn before."""
        while True:
            value = str(self.rng.randrange(10 ** (digits - 1), 10**digits))
            if value not in self._used:
                self._used.add(value)
                return value

    def _fresh(self, pool: tuple[str, ...]) -> str:
        """A name not drawn before, with as many more words as a crowded pool needs: 65,536 tokens hold more keys than two can name."""
        more = NOUNS if pool[0].split()[0] in ADJECTIVES else FAMILY
        extra = 0
        while True:
            for _ in range(_TRIES):
                name = " ".join((self.rng.choice(pool), *(self.rng.choice(more) for _ in range(extra))))
                if name not in self._used:
                    self._used.add(name)
                    return name
            extra += 1
