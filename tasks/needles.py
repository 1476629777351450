"""Needles for measuring retrieval heads, and the short instructions a small model can follow.

    >>> needle = draw_needle(Random(3))
    >>> needle.text == f"The note about the {needle.key} says: {needle.answer}."
    True

A needle's answer is a phrase of several words, as in Wu et al. (arXiv 2404.15574, section 2): a head is judged by how much of it it copies.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from tasks.words import ADJECTIVES, KINDS
from tasks.world import Split, World

INSTRUCTION: Final = "Some notes are hidden in the following text. Remember them.\n\n"

_VERBS: Final = ("bury", "hide", "carry", "count", "polish", "paint", "bring", "sell", "borrow", "trade")
_PREPOSITIONS: Final = ("under", "behind", "near", "beside", "above", "inside", "beyond", "toward")
_GOODS: Final = KINDS["vessel"] + KINDS["tool"] + KINDS["toy"]
_SITES: Final = KINDS["building"] + KINDS["land"] + KINDS["room"]


@dataclass(frozen=True)
class Needle:
    """A sentence to hide, the question that asks for it, and the words of it that answer the question."""

    key: str
    text: str
    question: str
    answer: str


def phrase(rng: Random) -> str:
    """Draw eight words that no reader could guess: "bury the amber kettle under the quiet windmill"."""
    return (
        f"{rng.choice(_VERBS)} the {rng.choice(ADJECTIVES)} {rng.choice(_GOODS)} "
        f"{rng.choice(_PREPOSITIONS)} the {rng.choice(ADJECTIVES)} {rng.choice(_SITES)}"
    )


def draw_needle(rng: Random, split: Split = "eval", world: World | None = None) -> Needle:
    """Draw a needle whose key is fresh in ``world``."""
    key = (world or World(rng, split)).key()
    answer = phrase(rng)
    return Needle(key, f"The note about the {key} says: {answer}.", f"What does the note about the {key} say?", answer)
