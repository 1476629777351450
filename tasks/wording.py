"""How questions are put: ``full`` says what form an answer has, ``terse`` is what the shipped model was trained on (:mod:`tasks.terse`)."""

from typing import Final, Literal

Wording = Literal["full", "terse"]
WORDINGS: Final[tuple[Wording, ...]] = ("full", "terse")
