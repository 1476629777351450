"""Filler prose: grammatical sentences about nobody in particular, safe to put around any needle.

    >>> from random import Random
    >>> sentence(Random(1)).endswith(".")
    True

The sentences never hold digits, names, towns or the key adjectives, so they cannot collide with a needle, a fact or a label.
"""

from random import Random
from typing import Final

_MANNER: Final = ("slowly", "carefully", "again", "without a word", "before noon", "after supper", "for a while", "at last")
_PEOPLE: Final = ("the keeper", "the widow", "the child", "the miller", "an old sailor", "the teacher", "the guest", "a stranger")
_THINGS: Final = (
    "the door",
    "the fence",
    "the map",
    "the bread",
    "the rope",
    "the window",
    "the clock",
    "the boat",
    "the stairs",
    "the bell",
)
_PLACES: Final = (
    "the river",
    "the square",
    "the harbour",
    "the bridge",
    "the orchard",
    "the market",
    "the mill",
    "the road",
    "the garden",
    "the hill",
)
_ACTS: Final = ("mended", "watched", "carried", "painted", "measured", "forgot", "cleaned", "opened", "sold", "found")
_STATES: Final = (
    "was empty",
    "stayed open",
    "looked smaller",
    "was quite still",
    "smelled of smoke",
    "belonged to nobody",
    "was wet",
    "needed repair",
)
_TIMES: Final = (
    "in the morning",
    "every evening",
    "on market days",
    "at midnight",
    "during the holidays",
    "long ago",
    "that year",
    "by daylight",
)

_PATTERNS: Final = (
    "{Person} {act} {thing} {manner}.",
    "Near {place} {thing} {state} {time}.",
    "{Time} {person} walked to {place} and {act} {thing}.",
    "Nobody knew why {thing} by {place} {state}.",
    "{Person} said that {thing} {state} {time}.",
    "When {person} reached {place}, {thing} {state}.",
    "It took hours until {person} {act} {thing} near {place}.",
    "Most people agreed that {place} {state} {time}.",
    "{Person} and {person2} met at {place} {time}.",
    "Since then {person} has {act} {thing} {time}.",
)


def sentence(rng: Random) -> str:
    """Write one sentence of about twelve words."""
    person, person2 = rng.sample(_PEOPLE, 2)
    time = rng.choice(_TIMES)
    return rng.choice(_PATTERNS).format(
        person=person,
        Person=person[0].upper() + person[1:],
        person2=person2,
        act=rng.choice(_ACTS),
        thing=rng.choice(_THINGS),
        manner=rng.choice(_MANNER),
        place=rng.choice(_PLACES),
        state=rng.choice(_STATES),
        time=time,
        Time=time[0].upper() + time[1:],
    )
