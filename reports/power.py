"""How small a difference a suite can find, and how many questions another one would take: the verdict itself, simulated.

A simulated experiment draws questions from those at hand, each with its weight and the size of its difference, and gives the differences
signs so that their mean is the wanted effect. An effect larger than all of them makes some of the equal questions differ too: no
difference can be larger than the share of questions that differ. Then it is judged as :mod:`reports.compare` would: the sign-flip test
at the level that the page's correction leaves, and the interval.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.bootstrap import FEWEST, POWER
from reports.comparison import Comparison
from reports.hierarchy import Floats, Ints
from reports.permutation import exact
from reports.shape import Shape

SIMULATIONS: Final = 400
_STEPS: Final = 11
_ENUMERATED: Final = 10
_DENSE: Final = 0.9
_SEED: Final = 0
_MOST_QUESTIONS: Final = 1_000_000
_LARGE: Final = 2_000
#: Two sums of the same numbers may differ by so much of them.
_SAME: Final = 1e-9


def power(
    shape: Shape, effect: float, questions: int | None = None, simulations: int = SIMULATIONS, seeds: tuple[int, float] | None = None
) -> float:
    """Compute the share of experiments with so many questions (default: as many as there are) that claim a true difference of ``effect``.

    ``seeds``: claim it of the method, from so many training seeds whose scores have this standard deviation.
    """
    size = shape.questions if questions is None else questions
    if size < FEWEST:
        return 0.0
    if size > _LARGE and seeds is None:  # a mean of thousands is normal: no need to draw them
        return _normal_power(shape, effect, size)
    rng = np.random.default_rng([_SEED, size])
    picked = rng.integers(0, shape.questions, (simulations, size)) if questions is not None else _strata(shape, simulations, rng)
    weights = shape.weights[picked]
    weights = weights / weights.sum(axis=1, keepdims=True)
    differences = _differences(shape, effect, picked, rng)
    if seeds is None:
        return float(_claims(weights, differences, shape).mean())
    count, deviation = seeds
    moved = rng.normal(0, deviation / math.sqrt(count), simulations)
    seen = deviation * np.sqrt(rng.chisquare(count - 1, simulations) / (count - 1)) / math.sqrt(count)
    return float(_claims(weights, differences, shape, moved, stats.t.isf((1 - shape.confidence) / 2, count - 1) * seen).mean())


def _differences(shape: Shape, effect: float, picked: Ints, rng: np.random.Generator) -> Floats:
    """Differences of a mean of ``effect``, (simulations, questions)."""
    sizes, sign, more = shape.sizes[picked], rng.random(picked.shape), rng.random(picked.shape)
    if (shape.sizes > 0).mean() > _DENSE:  # every question has a difference of its own, and moves
        return np.where(sign < 0.5, sizes, -sizes) + effect
    usual, rate, lean = _recipe(shape, effect)
    sizes = np.where((sizes == 0) & (more < rate), usual, sizes)
    return np.where(sign < (1 + lean) / 2, sizes, -sizes)


def detectable(shape: Shape) -> float:
    """Compute the smallest true difference that the verdict claims in 80% of experiments; NaN where none is."""
    low, high = 0.0, _reach(shape)  # beyond it differences are larger than those seen, and power may fall before it rises again
    if power(shape, high) < POWER:
        low, high = high, 1.0
        if power(shape, high) < POWER:
            return math.nan
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(shape, middle) >= POWER else (middle, high)
    return high


def questions_for(shape: Shape, effect: float) -> int | None:
    """Count the questions at which a true difference of ``effect`` is claimed in 80% of experiments; None if a million do not."""
    low, high = FEWEST - 1, FEWEST
    while power(shape, effect, high) < POWER:
        low, high = high, 2 * high
        if high > _MOST_QUESTIONS:
            return None
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if power(shape, effect, middle) >= POWER else (middle, high)
    return high


def _strata(shape: Shape, simulations: int, rng: np.random.Generator) -> Ints:
    """The suite's own questions, drawn within those of one weight (its tasks)."""
    picked = np.empty((simulations, shape.questions), dtype=np.intp)
    _, kind = np.unique(np.round(shape.weights / shape.weights.max(), 9), return_inverse=True)
    for number in range(int(kind.max()) + 1):
        members = np.flatnonzero(kind == number)
        picked[:, members] = rng.choice(members, (simulations, len(members)))
    return picked


def _reach(shape: Shape) -> float:
    """The largest effect that differences such as those seen can make, if all questions have one."""
    some = shape.sizes > 0
    if not some.any() or some.mean() > _DENSE:
        return 1.0
    return float(min(1.0, shape.weights @ shape.sizes + shape.weights[~some].sum() * shape.sizes[some].mean()))


def _recipe(shape: Shape, effect: float) -> tuple[float, float, float]:
    """Size of a new difference, share of equal questions that get one, and how far signs lean to one side (0 to 1)."""
    total = float(shape.weights @ shape.sizes)
    if effect <= total:
        return 0.0, 0.0, effect / total if total else 0.0
    equal = float(shape.weights[shape.sizes == 0].sum())
    some = shape.sizes > 0
    usual = float(shape.sizes[some].mean()) if some.any() else 1.0
    if equal * usual < (effect - total) * (1 - _SAME):
        usual = 1.0
    return usual, min(1.0, (effect - total) / (equal * usual)) if equal else 0.0, 1.0


def _claims(
    weights: Floats, differences: Floats, shape: Shape, moved: Floats | float = 0.0, reach: Floats | float = 0.0
) -> npt.NDArray[np.bool_]:
    """Whether the verdict would claim the candidate to be better, (simulations,).

    Training seeds have ``moved`` the mean, and their Student's interval has this ``reach``.
    """
    parts = weights * differences
    mean, squares, count = parts.sum(axis=1) + moved, (parts**2).sum(axis=1), parts.shape[1]
    differing = (parts != 0).sum(axis=1)
    p = 2 * stats.norm.sf(mean / np.sqrt(np.maximum(squares, 1e-30)))
    few = (differing <= _ENUMERATED) & (2.0 ** (1.0 - differing) <= shape.level) & (mean > 0)
    one_sided = (parts >= 0).all(axis=1)
    p = np.where(few & one_sided, 2.0 ** (1.0 - differing), p)
    for at in np.flatnonzero(few & ~one_sided):
        p[at] = exact(parts[at][parts[at] != 0])
    p = np.where(2.0 ** (1.0 - differing) > shape.level, 1.0, p)
    chance = (1 - shape.confidence) / 2
    largest = np.minimum(1.0, np.abs(differences).max(axis=1))
    worst = largest + (1 - largest) / (differing + 1)
    unseen = np.maximum(0, count - differing - 1) / (count - 1) * worst * (1 - chance ** weights.max(axis=1))
    error = np.sqrt((weights**2 * (differences - mean[:, None]) ** 2).sum(axis=1) * count / (count - 1))
    limit = np.sqrt((stats.t.ppf(1 - chance, count - 1) * error) ** 2 + unseen**2 + reach**2)
    return np.asarray((mean > limit) & (p < shape.level))


def _normal_power(shape: Shape, effect: float, size: int) -> float:
    usual, rate, _ = _recipe(shape, effect)
    relative = shape.weights * shape.questions
    squares = float((relative**2 * np.where(shape.sizes == 0, rate * usual**2, shape.sizes**2)).mean())
    spread = squares
    if (shape.sizes > 0).mean() > _DENSE:
        squares += effect**2
    else:
        spread -= effect**2
    threshold = float(stats.norm.isf(shape.level / 2)) * math.sqrt(squares / size)
    return float(stats.norm.cdf((effect - threshold) / math.sqrt(max(1e-12, spread) / size)))


@dataclass(frozen=True)
class Needed:
    """The size of a suite that would find an effect with 80% power, if its questions vary as these do."""

    effect: float
    """True difference, as a fraction of 1."""
    clusters: int
    """Questions, over all tasks and lengths that the score draws on."""
    examples: int


def needed(comparison: Comparison, effect: float, shape: Shape | None = None) -> Needed | None:
    """Count the questions and examples that would find a true difference of ``effect``; None where that is unknown, or a million would not.

    Without a ``shape`` to simulate, by the normal approximation. Raises ValueError for an effect that is not a positive number.
    """
    if not effect > 0 or math.isinf(effect):
        raise ValueError(f"an effect of {effect} cannot be looked for; give a positive difference")
    if shape is not None:
        clusters = questions_for(shape, effect)
    elif math.isnan(comparison.mde):
        return None
    else:
        clusters = max(FEWEST, math.ceil(comparison.n_clusters * (comparison.mde / effect) ** 2 - 1e-9))
    if clusters is None:
        return None
    return Needed(effect, clusters, math.ceil(comparison.n_examples * clusters / comparison.n_clusters - 1e-9))
