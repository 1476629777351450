"""Things that only two passages of a story tell together.

    Soon after Mira Tolvane locked the amber falcon into the crimson heron chest.
    The crimson heron chest stood in the attic.

The second passage says what was so already, so the two may come in any order.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from tasks.plot import SITES, Plot
from tasks.words import KINDS, TOWNS
from tasks.world import World


@dataclass(frozen=True)
class Link:
    """An event, and what completes it; both name a ``key``."""

    name: str
    event: str
    state: str
    question: str
    key: str
    """``{first} of {second}`` for a pair of words, ``{both}`` for a key of two words."""
    words: tuple[str, ...] = ()
    """What ``first`` is one of; ``second`` is a town."""
    values: tuple[str, ...] = ()
    """What the answer is one of; empty for people."""


LINKS: Final = (
    Link(
        "office",
        "{person} sent the {thing} to the {key}",
        "The {key} was {value}.",
        "What is the name of the one to whom {person} sent the {thing}?",
        "{first} of {second}",
        KINDS["trade"],
    ),
    Link(
        "fault",
        "{person} sold the {thing} because of the {key}",
        "The {key} had been the fault of {value}.",
        "Whose fault was it that {person} sold the {thing}?",
        "{first} in {second}",
        KINDS["event"],
    ),
    Link(
        "maker",
        "{person} exchanged the {thing} for the {key}",
        "The {key} had been made by {value}.",
        "Who had made what {person} got for the {thing}?",
        "{both}",
    ),
    Link(
        "chest",
        "{person} locked the {thing} into the {key}",
        "The {key} stood in the {value}.",
        "In which place was the chest into which {person} locked the {thing}?",
        "{both} chest",
        values=SITES,
    ),
)


class Keys:
    """What links are joined by; no key is drawn twice."""

    def __init__(self, rng: Random, world: World) -> None:
        self._world = world
        self._left: dict[str, list[tuple[str, str]]] = {}
        for link in LINKS:
            if link.words:
                self._left[link.name] = [(first, town) for first in link.words for town in TOWNS]
                rng.shuffle(self._left[link.name])

    def draw(self, link: Link, near: int = 0) -> tuple[str, ...]:
        """Draw a key, and one like it for each word of it up to ``near``; empty where all have been drawn."""
        if not link.words:
            both = self._world.key()
            others = (self._world.twin(both, change_first=first) for first in (True, False)[:near])
            return tuple(link.key.format(both=each) for each in (both, *others))
        left = self._left[link.name]
        if not left:
            return ()
        pairs = [left.pop()]
        for at in range(near):
            pairs.append(next(pair for pair in left if pair[at] == pairs[0][at]))
            left.remove(pairs[-1])
        return tuple(link.key.format(first=first, second=second) for first, second in pairs)


def value(plot: Plot, link: Link, *others: str) -> str:
    """Draw what completes a link, none of ``others``: a place, or a person whom nothing else is told of."""
    return plot.rng.choice([each for each in link.values if each not in others]) if link.values else plot.world.person()
