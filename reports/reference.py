"""Published HELMET results, for orientation beside one's own.

Source: Yen et al., "HELMET: How to Evaluate Long-Context Language Models Effectively and Thoroughly", ICLR 2025, arXiv 2410.02694, and
the results its authors published with it: 19 models at five lengths, scores out of 100 (``published.csv``). They were not run again
here; their prompts, judges and engines differ from ours, so they are never ranked together with runs.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

CATEGORIES: Final = ("recall", "rag", "icl", "cite", "rerank", "longqa", "summ")


@dataclass(frozen=True)
class Published:
    """One model at one length; scores are fractions of 1."""

    model: str
    length: int
    scores: dict[str, float]
    """Category -> score."""
    average: float
    """Over all seven categories, as published."""

    def overall(self, categories: Sequence[str]) -> float | None:
        """Compute the mean over ``categories``, as HELMET averages; None if one of them was not published."""
        if not categories or any(name not in self.scores for name in categories):
            return None
        return sum(self.scores[name] for name in categories) / len(categories)


def published() -> list[Published]:
    """List every published row."""
    with files("reports").joinpath("published.csv").open(encoding="utf-8") as file:
        return [
            Published(row["model"], int(row["length"]), {name: float(row[name]) / 100 for name in CATEGORIES}, float(row["average"]) / 100)
            for row in csv.DictReader(file)
        ]
