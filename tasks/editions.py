"""Editions of HELMET's code: in January 2025 it changed how the ICL sets are drawn.

    2025-04   the questions are balanced over the classes, and each has shots of its own
    2024-12   the first questions of the shuffled file, all with the same shots

An edition is called after the month of its last commit: 4526dfb (9 April 2025) and 20aea86 (15 December 2024).
"""

from typing import Final, Literal

Edition = Literal["2025-04", "2024-12"]
EDITIONS: Final[tuple[Edition, ...]] = ("2025-04", "2024-12")
#: The one that is published today.
NEWEST: Final[Edition] = "2025-04"
