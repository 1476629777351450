"""One difference between two evaluations, with all that is known about it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from reports.hierarchy import Scope
from reports.shape import Shape


class CompareError(ValueError):
    """Two sample tables that must not be compared; one line that says why."""


@dataclass(frozen=True)
class Comparison:
    """A candidate's score minus a baseline's on the same examples. Scores are in [0, 1]; tables show them times 100."""

    scope: Scope
    task: str | None
    category: str | None
    length: int | None
    """Tokens; None is the mean over lengths."""
    metric: str | None
    """None for a category and for the overall score."""
    baseline: float
    candidate: float
    delta: float
    low: float
    """Lower end of the interval; NaN where too few questions make the spread unknowable."""
    high: float
    p: float
    """Two-sided, paired permutation test; not corrected for the number of comparisons. With several training seeds it is about the
    method: the level at which the interval, seeds included, would exclude 0, if that is larger."""
    mde: float
    """Minimum detectable effect: smallest true difference found with 80% power."""
    n_examples: int
    n_clusters: int
    """Distinct questions."""
    confidence: float = 0.95
    p_holm: float = math.nan
    """``p`` after Holm's correction over its family: all lengths and comparisons of one table, either its categories and overall
    scores or its dataset-metrics."""
    n_seeds: int = 1
    """Training seeds of the candidate, averaged; from two on the interval covers the choice of seeds too."""
    always_valid: bool = False
    """An evaluation stopped early: interval and ``p`` hold whenever the looking stopped (:mod:`reports.stopping`)."""
    n_seeds_baseline: int = 1
    least: float = math.nan
    """One-sided: the difference is at least this, with ``confidence``."""
    most: float = math.nan
    """Likewise at most this."""
    p_page: float = math.nan
    """``p`` after correction for everything that a page says (:mod:`reports.families`): what marks and verdicts go by. NaN for
    a comparison by itself, where it is ``p``."""
    wins: int = 0
    """Questions on which the candidate scores higher."""
    losses: int = 0
    margin: float = math.nan
    """A difference that does not matter, as a fraction of 1, if one was named."""

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies above or below 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def claim(self) -> int:
        """1 or -1 where a difference is claimed: the interval excludes 0, and so does the test corrected for the whole page; else 0."""
        p = self.p if math.isnan(self.p_page) else self.p_page
        return self.sign if p < 1 - self.confidence else 0

    @property
    def equivalent(self) -> bool:
        """Whether the difference is shown to lie within ``margin``: both one-sided limits do (Schuirmann 1987, two one-sided tests)."""
        return not self.claim and self.least > -self.margin and self.most < self.margin

    @property
    def ties(self) -> int:
        """Questions that score the same."""
        return self.n_clusters - self.wins - self.losses

    @property
    def improvement(self) -> float:
        """Probability of improvement: that the candidate does better on a question, a tie counting half. NaN where it is not counted."""
        return math.nan if self.always_valid or not self.n_clusters else (self.wins + self.ties / 2) / self.n_clusters


@dataclass(frozen=True)
class MethodComparisons:
    """Every method against the baseline, and the first method's variants against their controls, from the same resamples."""

    methods: Mapping[str, list[Comparison]]
    contrasts: Mapping[str, list[Comparison]]
    """"a minus b" -> differences; there ``baseline`` is b's score and ``candidate`` is a's."""
    notes: tuple[str, ...] = ()
    """Mismatches that the user allowed, for a reader to see before the numbers."""
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    """What each method's overall difference is made of, for :mod:`reports.power`."""


def points(value: float, *, signed: bool = False) -> str:
    """Write a score or difference in [-1, 1] as points out of 100 with one decimal; "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    if signed and float(text) == 0:
        return "0.0"
    return text.replace("-", "−")


def p_value(p: float) -> str:
    """Write a p-value: two significant digits, never "0"."""
    return f"{p:.2g}" if p >= 1e-4 else "<0.0001"


def p_words(p: float) -> str:
    """Write a p-value within a sentence: "p = 0.02", "p < 0.0001"."""
    return f"p = {p_value(p)}".replace("= <", "< ")


def chance(share: float) -> str:
    """Write a probability from questions that were counted, in whole percent; "" where it is unknown. Only a certain one is 0 or 100."""
    if math.isnan(share):
        return ""
    return f"{share:.0%}" if share in (0, 1) else f"{min(99, max(1, round(100 * share)))}%"


def percent(share: float) -> str:
    """Write a level as a person writes it: 0.95 is "95%", 0.995 is "99.5%"."""
    return f"{100 * share:.6g}%"
