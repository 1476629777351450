"""What the questions of a comparison are like: all that a simulation of more such experiments needs."""

from dataclasses import dataclass

from reports.hierarchy import Floats


@dataclass(frozen=True)
class Shape:
    """What experiments of the same kind are drawn from."""

    weights: Floats
    """Of each question in the mean, (questions,), summing to 1."""
    sizes: Floats
    """Absolute differences, (questions,)."""
    level: float
    """Two-sided level of the test, after correction for the page."""
    confidence: float

    @property
    def questions(self) -> int:
        """How many there are."""
        return len(self.weights)
