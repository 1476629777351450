"""Confidence sequences: an interval that may be looked at after every round and still is honest when the looking stops.

    sequence = ConfidenceSequence(bound=0.02, planned=100)
    for parts in rounds:                             # one difference from each stratum, drawn in random order
        interval = sequence.add(parts)
        if sequence.decision(margin=0.01) is not None:
            break

The empirical-Bernstein sequence of Howard, Ramdas, McAuliffe & Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Ann. Statist. 49(2), arXiv 1810.08240: theorem 4 with the gamma-exponential mixture of proposition 9 as boundary. With
probability of at least ``confidence``, all intervals of the sequence hold the true mean at once, for any distribution of differences
within the bound. The price is width, and most of it at the start; ``benchmarks/bootstrap_stopping.py`` measures it.

A suite's overall score is a weighted sum over tasks. Its parts enter the martingale one after another, each within its own small
bound, and the interval is read when a round of them is complete: far narrower than treating the round as one step of bound 1.
:mod:`reports.stopping` says which questions make a round.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from reports.hierarchy import Floats

Decision: TypeAlias = Literal["better", "worse", "equivalent"]

_BISECTIONS = 60


@dataclass(frozen=True)
class Interval:
    """What is known after ``n`` rounds. Differences are fractions of 1."""

    n: int
    mean: float
    low: float
    high: float


class ConfidenceSequence:
    """Takes one round of differences after another and keeps an interval that is valid at every moment.

    A round is the sum of its parts, the same number of parts in every round, each from questions drawn at random from its own
    stratum. ``bound`` is the largest possible absolute value of a part; ``planned`` the number of rounds at which the interval should
    be narrowest (a choice that costs width when wrong, never validity).
    """

    def __init__(self, *, confidence: float = 0.95, bound: float = 1.0, planned: int = 100) -> None:
        if not 0 < confidence < 1 or not bound > 0 or planned < 1:
            raise ValueError(f"cannot use confidence {confidence}, bound {bound} and {planned} planned rounds")
        self.confidence = confidence
        self.bound = bound
        self.planned = planned
        self._n = 0
        self._sums: Floats = np.zeros(0)
        self._variance = 0.0
        self._low, self._high = -math.inf, math.inf
        self._interval = Interval(0, 0.0, -math.inf, math.inf)

    @property
    def interval(self) -> Interval:
        """The interval now: the intersection of all so far, since all hold the truth at once."""
        return self._interval

    def add(self, parts: float | Sequence[float] | Floats) -> Interval:
        """Take the next round in the random order, one number or its parts; raises ValueError if a part is outside the bound."""
        values = np.atleast_1d(np.asarray(parts, dtype=np.float64))
        if self._n == 0:
            self._sums = np.zeros(len(values))
        if values.shape != self._sums.shape:
            raise ValueError(f"a round of {values.shape[0]} parts follows rounds of {len(self._sums)}")
        if not (np.abs(values) <= self.bound * (1 + 1e-9)).all():
            raise ValueError(f"a difference of {values[np.argmax(np.abs(values))]} is outside the bound of {self.bound}")
        predictions = self._sums / max(1, self._n)
        self._variance += float(((values - predictions) ** 2).sum())
        self._sums = self._sums + values
        self._n += 1
        rho = _rho(self.planned * len(values), self.confidence, self.bound)
        radius = float(_radius(np.array([self._variance]), rho, self.confidence, self.bound)[0]) / self._n
        mean = float(self._sums.sum()) / self._n
        self._low, self._high = max(self._low, mean - radius), min(self._high, mean + radius)
        self._interval = Interval(self._n, mean, *_around(mean, self._low, self._high))
        return self._interval

    def decision(self, margin: float = 0.0) -> Decision | None:
        """Say whether the question is answered: the interval excludes 0, or lies within ``margin`` of it; None to go on."""
        if self._interval.low > 0:
            return "better"
        if self._interval.high < 0:
            return "worse"
        if margin > 0 and -margin <= self._interval.low and self._interval.high <= margin:
            return "equivalent"
        return None


def limits(parts: Floats, *, confidence: float = 0.95, bound: float = 1.0, planned: int = 100) -> tuple[Floats, Floats]:
    """Compute lower and upper ends after every round of many sequences at once, without the running intersection.

    The same arithmetic as :class:`ConfidenceSequence` on whole arrays: ``parts`` is (sequences, rounds, parts), the ends are
    (sequences, rounds).
    """
    n = np.arange(1, parts.shape[1] + 1)
    radius = _radius(_variances(parts), _rho(planned * parts.shape[2], confidence, bound), confidence, bound) / n
    mean = parts.sum(axis=2).cumsum(axis=1) / n
    return mean - radius, mean + radius


def _variances(parts: Floats) -> Floats:
    """Intrinsic time after every round, (sequences, rounds): squared distances from what each stratum's earlier rounds predict."""
    predictions = np.zeros_like(parts)
    predictions[:, 1:] = parts.cumsum(axis=1)[:, :-1] / np.arange(1, parts.shape[1])[:, None]
    return np.asarray(((parts - predictions) ** 2).sum(axis=2).cumsum(axis=1), dtype=np.float64)


def _around(mean: float, low: float, high: float) -> tuple[float, float]:
    """An interval that holds its own mean. Where the running intersection does not, the sequence may have missed: claim no more."""
    return min(float(low), mean), max(float(high), mean)


def read(parts: Floats, *, confidence: float = 0.95, bound: float = 1.0, planned: int = 100) -> tuple[Interval, float]:
    """Compute the interval after all of ``parts``, (rounds, parts), and a two-sided p-value of a mean of 0 that is as valid at any moment.

    The p-value is the smallest level at which some interval of the sequence has excluded 0: 2 / the largest value so far of the
    mixture martingale (Howard et al. 2021, section 6; Johari et al. 2022, "Always valid inference", Oper. Res. 70).
    """
    low, high = limits(parts[None], confidence=confidence, bound=bound, planned=planned)
    mean = float(parts.sum()) / len(parts)
    rho = _rho(planned * parts.shape[1], confidence, bound)
    evidence = _log_mixture(np.abs(parts.sum(axis=1).cumsum()), _variances(parts[None])[0], rho, 2 * bound).max()
    return Interval(len(parts), mean, *_around(mean, low.max(), high.min())), min(1.0, 2 * math.exp(-max(0.0, float(evidence))))


def narrowest(confidence: float, bound: float, planned: int, parts: int) -> float:
    """Compute half the width after one round, of ``parts`` parts, if nothing ever differed; after n rounds it is an n-th of this."""
    return float(_radius(np.zeros(1), _rho(planned * parts, confidence, bound), confidence, bound)[0])


def _rho(planned: int, confidence: float, bound: float) -> float:
    """The mixture's precision, tuned to the variance after ``planned`` differences with a variance of an eighth of the bound's square.

    One-sided normal-mixture optimum, Howard et al. 2021, section 3.5.
    """
    variance = planned * bound**2 / 8
    level = -2 * math.log(1 - confidence)  # a side's error is half, the optimum is stated for twice a side's
    return variance / (level + math.log1p(level))


def _radius(variance: Floats, rho: float, confidence: float, bound: float) -> Floats:
    """Boundary of the sum: the s at which the mixture supermartingale reaches 2 / (1 - confidence), by bisection."""
    threshold = math.log(2 / (1 - confidence))
    scale = 2 * bound  # the range of a difference
    low = np.zeros_like(variance)
    high = np.sqrt(2 * (variance + rho) * (threshold + np.log1p(variance / rho))) + 4 * scale * (threshold + np.log1p(variance / rho))
    while (short := _log_mixture(high, variance, rho, scale) < threshold).any():
        high = np.where(short, 2 * high, high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        reached = _log_mixture(middle, variance, rho, scale) >= threshold
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high


def _log_mixture(total: Floats, variance: Floats, rho: float, scale: float) -> Floats:
    """Logarithm of the gamma-exponential mixture (Howard et al. 2021, proposition 9) at sum ``total`` and intrinsic time ``variance``."""
    square = scale * scale
    shape, prior = (variance + rho) / square, rho / square
    rate = (scale * total + variance + rho) / square
    constant = prior * math.log(prior) - special.gammaln(prior) - math.log(special.gammainc(prior, prior))
    mixed = special.gammaln(shape) + np.log(special.gammainc(shape, rate)) - shape * np.log(rate) + rate - prior
    return np.asarray(constant + mixed, dtype=np.float64)
