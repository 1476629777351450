"""Worlds to draw experiments from, each with its true difference known: what the promises of the statistics are held against.

Every world gives scores of two models on the same questions, (rows, 2), and the number of rows of each question.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final
from unittest import mock

import numpy as np
import pandas as pd

from reports import samples
from reports.hierarchy import Design, Floats, Ints, design


@dataclass(frozen=True)
class World:
    """A generator of experiments."""

    name: str
    says: str
    draw: Callable[[int, np.random.Generator], tuple[Ints, Floats]]
    """(questions, generator) -> question of each row, (rows,), and scores of both models, (rows, 2)."""
    truth: float
    """Expected score of the second model minus the first's."""


def _clusters(low: float, shift: float, sizes: tuple[int, int], spread: float) -> Callable[[int, np.random.Generator], tuple[Ints, Floats]]:
    """Beta-binomial: a question's rows share its chances of a right answer, those of the two models agree but for ``shift``."""

    def draw(questions: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        counts = rng.integers(sizes[0], sizes[1] + 1, questions)
        code = np.repeat(np.arange(questions), counts)
        chance = rng.beta(low * spread, (1 - low) * spread, questions)
        # the second model is lower on a question in proportion to its chance, so the truth is exact
        after = chance * (1 + shift / low)
        right = [rng.random(len(code)) < each[code] for each in (chance, after)]
        return code.astype(np.intp), np.column_stack(right).astype(float)

    return draw


def _normal(questions: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    before = rng.normal(0.5, 0.15, questions)
    return np.arange(questions), np.column_stack([before, before + rng.normal(0, 0.1, questions)])


def _ndcg(shift: float) -> Callable[[int, np.random.Generator], tuple[Ints, Floats]]:
    """Skewed scores with ties at 0 and 1: half of the questions score the same."""

    def draw(questions: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        values = np.array([0.0, 0.39, 0.5, 0.63, 0.8, 1.0])
        chance = np.array([0.08, 0.06, 0.08, 0.12, 0.16, 0.5])
        before = rng.choice(values, questions, p=chance)
        again = rng.choice(values, questions, p=chance)
        after = np.where(rng.random(questions) < 0.5, before, again)
        lost = rng.random(questions) < shift
        return np.arange(questions), np.column_stack([before, np.where(lost, 0.0, after)])

    return draw


def rare_loss(rate: float, size: float = 1.0) -> World:
    """Both always right, but the second model loses ``size`` of a question in ``1 / rate``."""

    def draw(questions: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        lost = rng.random(questions) < rate
        return np.arange(questions), np.column_stack([np.ones(questions), 1 - size * lost])

    return World(f"rare loss {100 * rate:g}%", f"a question in {1 / rate:g} is lost, the others score the same", draw, -rate * size)


def _single(right: float, flips: float, shift: float) -> Callable[[int, np.random.Generator], tuple[Ints, Floats]]:
    """0/1, one row a question; a share of questions is drawn anew for the second model."""

    def draw(questions: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        before = rng.random(questions) < right
        anew = rng.random(questions) < right
        after = np.where(rng.random(questions) < flips, anew, before)
        after = after & (rng.random(questions) >= -shift / right)
        return np.arange(questions), np.column_stack([before, after]).astype(float)

    return draw


_NDCG_MEAN: Final = float(np.dot([0.0, 0.39, 0.5, 0.63, 0.8, 1.0], [0.08, 0.06, 0.08, 0.12, 0.16, 0.5]))

WORLDS: Final = (
    World("normal", "normal differences of 10 points", _normal, 0.0),
    World("0/1", "one row a question, 70% right, a third drawn anew, 5 points lost", _single(0.7, 0.33, -0.05), -0.05),
    World("0/1 near 1", "one row a question, 97% right, a third drawn anew, 1 point lost", _single(0.97, 0.33, -0.01), -0.01),
    World("clusters 1-20", "beta-binomial, 1 to 20 rows a question, 80% right, 4 points lost", _clusters(0.8, -0.04, (1, 20), 4.0), -0.04),
    World("clusters near 1", "beta-binomial, 1 to 20 rows, 95% right, 2 points lost", _clusters(0.95, -0.02, (1, 20), 6.0), -0.02),
    World("clusters near 0", "beta-binomial, 6 rows, 4% right, 2 points lost", _clusters(0.04, -0.02, (6, 6), 6.0), -0.02),
    World("NDCG", "skewed with ties, a tenth lost", _ndcg(0.1), -0.1 * _NDCG_MEAN),
    rare_loss(0.05),
    rare_loss(0.01),
)


@dataclass(frozen=True)
class Peers:
    """Models that are equal: on a question their scores are exchangeable."""

    name: str
    draw: Callable[[Ints, int, np.random.Generator], Floats]
    """(question of each row, models, generator) -> scores, (rows, models)."""
    rows: tuple[int, int] = (1, 1)
    """Fewest and most rows of a question."""


def _answers(right: float, spread: float) -> Callable[[Ints, int, np.random.Generator], Floats]:
    """0/1: the rows of a question share its chance of a right answer, a beta variable; many are sure either way."""

    def draw(code: Ints, models: int, rng: np.random.Generator) -> Floats:
        chance = rng.beta(right * spread, (1 - right) * spread, int(code.max()) + 1)[code]
        return (rng.random((len(code), models)) < chance[:, None]).astype(float)

    return draw


def _continuous(code: Ints, models: int, rng: np.random.Generator) -> Floats:
    return np.clip(rng.normal(0.5, 0.1, int(code.max()) + 1)[code, None] + rng.normal(0, 0.1, (len(code), models)), 0, 1)


def _tied(code: Ints, models: int, rng: np.random.Generator) -> Floats:
    """Skewed like NDCG; a model answers half of the questions as all others do."""
    values, chance = [0.0, 0.39, 0.5, 0.63, 0.8, 1.0], [0.08, 0.06, 0.08, 0.12, 0.16, 0.5]
    shared = rng.choice(values, int(code.max()) + 1, p=chance)[code, None]
    return np.where(rng.random((len(code), models)) < 0.5, shared, rng.choice(values, (len(code), models), p=chance))


PEERS: Final = (
    Peers("normal", _continuous),
    Peers("0/1", _answers(0.7, 1.0)),
    Peers("0/1, 95% right", _answers(0.95, 1.0)),
    Peers("clusters 1-20", _answers(0.8, 4.0), (1, 20)),
    Peers("NDCG", _tied),
)


def questions_of(peers: Peers, questions: int, rng: np.random.Generator) -> Ints:
    """The question of each row, (rows,)."""
    return np.repeat(np.arange(questions), rng.integers(peers.rows[0], peers.rows[1] + 1, questions))


_validate: Final = samples.validate  # whatever :func:`trusted` does
_CONSTANT: Final = {
    **dict.fromkeys(("run", "model_digest", "backend", "output"), ""), "suite_digest": "s", "depth": 0.5, "metric": "em", "targets": "[]",
    "finish_reason": "stop", "score": 0.0, **dict.fromkeys(("prompt_tokens", "output_tokens", "truncated_tokens"), 1),
}  # fmt: skip


def keys(code: Ints, suite: Sequence[tuple[str, str]] = (("niah", "recall"),), lengths: Sequence[int] = (512,)) -> pd.DataFrame:
    """Samples without scores, of a suite whose every task asks these questions at every length; of each (task, category)."""
    blocks = [
        pd.DataFrame({"task": task, "category": category, "length": length, "cluster": code}).assign(example_id=range(len(code)))
        for (task, category), length in product(suite, lengths)
    ]
    frame = pd.concat(blocks, ignore_index=True)
    named = frame.assign(cluster="q" + frame["cluster"].astype(str), example_id="e" + frame["example_id"].astype(str))
    return _validate(named.assign(**_CONSTANT))


def trusted() -> AbstractContextManager[object]:
    """Take the tables of :func:`keys` for valid without another look, which is most of what a small comparison costs."""
    return mock.patch.object(samples, "validate", lambda frame: frame)


@cache
def _one_task(questions: int) -> Design:
    names = [f"e{n}" for n in range(questions)]
    rows = {"category": "recall", "task": "niah", "metric": "em", "length": 512, "cluster": names, "example_id": names}
    return design(pd.DataFrame(rows))


def plan_of(code: Ints) -> Design:
    """The design of one task whose rows belong to these questions."""
    questions = int(code.max()) + 1
    if len(code) == questions:
        return _one_task(questions)
    frame = pd.DataFrame({"category": "recall", "task": "niah", "metric": "em", "length": 512}, index=range(len(code)))
    return design(frame.assign(cluster=[f"q{n}" for n in code], example_id=[f"e{n}" for n in range(len(code))]))


def table(keys: pd.DataFrame, scores: Floats, name: str = "model") -> pd.DataFrame:
    """A samples table: those of :func:`keys`, with a score for each row."""
    return keys.assign(score=np.clip(scores, 0, 1), model_digest=name)
