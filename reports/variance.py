"""Where the doubt about a mean difference comes from: its questions, the answers that were sampled, the training seeds.

A question q, its answer number g and a training seed s give a difference to the baseline

    d[q, g, s] = mean + Q[q] + S[s] + QS[q, s] + G[q, g] + R[q, g, s]

Q is how questions differ, S how trainings do on the whole, QS on single questions. G is the luck of an answer that all trainings share:
the baseline's answers, which every training is held against, and random numbers that models are given alike. R is the luck of one
training's answers. The mean over so many of each varies by

    (Q + QS / seeds + G / answers + R / (answers * seeds)) / questions  +  S / seeds

Seeds are crossed with all else, so the mean over seeds and orthonormal contrasts between them are independent one-way layouts of answers
within questions: the first has the variances Q + QS / S and G + R / S, the others QS and R. Where every question has as many answers,
the mean squares give them (Searle, Casella & McCulloch 1992, Variance Components, sections 3.5 and 4.5); otherwise restricted maximum
likelihood does (Patterson & Thompson 1971, Biometrika 58), which is the same where both apply. Tasks are not drawn: each keeps a mean of
its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from scipy import optimize

from reports import generations
from reports.comparable import ordered
from reports.hierarchy import Design, Floats, Ints, design
from reports.rare import hidden

_LARGEST: Final = 12.0
"""Natural logarithm of the largest ratio of variances that is looked for."""


@dataclass(frozen=True)
class Components:
    """Variances of an overall score or difference, for one question, one answer and one seed; and the numbers they come from."""

    of_questions: float
    of_seeds: float | None
    """None where one training seed does not show it."""
    of_seeds_by_question: float
    of_shared_answers: float | None
    """None where one sampled answer does not show it; 0 for greedy answers."""
    of_answers: float
    """Of one seed's; with one seed all of it counts as shared."""
    questions: int
    generations: float
    """Answers to a prompt; the harmonic mean where prompts have different numbers."""
    seeds: int
    greedy: bool = False
    """Whether answers are greedy, so that more of them are the same ones."""
    fixed: float = 0.0
    """Variance of the mean from the baseline's own training seeds, which nothing here makes smaller."""
    alike: float = 0.0
    """Share of questions that look alike, where rare ones of another kind may hide (:mod:`reports.rare`)."""
    reach: float = 0.0
    """How far those may lie from them."""
    heaviest: float = 0.0
    """The largest weight of a question in the mean."""

    @property
    def known(self) -> bool:
        """Whether it is known what sampling adds."""
        return self.of_shared_answers is not None

    def per_question(self, answers: float | None = None, seeds: int | None = None) -> float:
        """Compute the variance of one question's mean difference over so many answers and seeds; as many as there are by default."""
        given, trained = answers or self.generations, seeds or self.seeds
        luck = (self.of_shared_answers or 0.0) / given + self.of_answers / (given * trained)
        return self.of_questions + self.of_seeds_by_question / trained + luck

    def of_one_seed(self, questions: int, answers: float) -> float:
        """Compute the variance between single trainings' means, as so many questions and answers would show it.

        NaN where seeds are unknown.
        """
        if self.of_seeds is None:
            return math.nan
        return self.of_seeds + (self.of_seeds_by_question + self.of_answers / answers) / questions

    def room(self, questions: int, tail: float) -> float:
        """Compute how far a one-sided limit lies off for what so many questions would not have shown."""
        return self.alike * self.reach * (1 - math.pow(tail, self.heaviest * self.questions / questions))

    def parts(self, questions: int | None = None, answers: float | None = None, seeds: int | None = None) -> dict[str, float]:
        """Split the variance of the mean by what causes it."""
        asked, given, trained = questions or self.questions, answers or self.generations, seeds or self.seeds
        luck = (self.of_shared_answers or 0.0) / given + self.of_answers / (given * trained)
        return {
            "questions": self.of_questions / asked,
            "generations": luck / asked,
            "training seeds": (self.of_seeds or 0.0) / trained + self.of_seeds_by_question / (trained * asked) + self.fixed,
        }


def decompose(candidate: Sequence[pd.DataFrame], baseline: Sequence[pd.DataFrame] = ()) -> Components | None:
    """Take apart the variance of the overall difference, or of the overall score where there is no ``baseline``.

    Tables are valid ones, one for each training seed, of the same examples. Answers are paired by their number; of a side with more of
    them the first are used. None where a task has a single question, which shows no variance.
    """
    order = ordered(candidate[0])
    mine = generations.stacked(candidate, order)
    fixed, greedy = 0.0, _is_greedy(candidate)
    if baseline:
        other = generations.stacked(baseline, order).mean(axis=2, keepdims=True)
        if len(baseline) > 1 and (alone := decompose(baseline)) is not None:
            fixed = alone.of_one_seed(alone.questions, alone.generations) / len(baseline)
        mine, other = _paired(mine, other, greedy, _is_greedy(baseline))
        mine, greedy = mine - other, greedy and _is_greedy(baseline)
    plan = design(order)
    influence, strata = _influence(plan, mine)
    found = components(influence, strata, greedy=greedy, fixed=fixed)
    weights, means = next(plan.per_question(np.nanmean(mine, axis=1).mean(axis=1)[:, None]))
    alike, reach = hidden(means[:, 0])
    return None if found is None else replace(found, alike=alike, reach=reach, heaviest=float(weights.max()))


def _is_greedy(tables: Sequence[pd.DataFrame]) -> bool:
    return not any(generations.temperature(table) for table in tables)


def _paired(mine: Floats, other: Floats, greedy: bool, other_greedy: bool) -> tuple[Floats, Floats]:
    """Both sides with as many answers; a greedy answer is the same however often it is asked for."""
    most = (
        min(side.shape[1] for side, alike in ((mine, greedy), (other, other_greedy)) if not alike) if not (greedy and other_greedy) else 1
    )
    fitted = [np.repeat(side[:, :1], most, axis=1) if alike else side[:, :most] for side, alike in ((mine, greedy), (other, other_greedy))]
    return fitted[0], fitted[1]


def _influence(plan: Design, values: Floats) -> tuple[Floats, Ints]:
    """What each question adds to the overall mean, (questions, answers, seeds), and the stratum of each; their mean is 0.

    ``values`` are (rows, answers, seeds), NaN where a row has fewer answers; a question has those answers that all its rows have.
    """
    rows, answers, seeds = values.shape
    missing = np.asarray(np.isnan(values).any(axis=2))
    filled: Floats = np.asarray(np.where(missing[:, :, None], np.nanmean(values, axis=1, keepdims=True), values)).reshape(rows, -1)
    found, numbers = [], []
    for number, stratum in enumerate(plan.strata):
        weights = plan.weights[0, stratum.cells]
        counts = stratum.counts()
        sums, gaps = stratum.sums(filled), stratum.sums(missing.astype(np.float64))
        means = sums.sum(axis=(0, 2)) / (counts.sum(axis=0) * filled.shape[1])
        pull = (sums - (counts * means)[:, :, None]) / counts.sum(axis=0)[:, None]
        added = np.einsum("qcx,c->qx", pull, weights).reshape(-1, answers, seeds)
        added[(gaps[:, weights > 0].sum(axis=1) > 0)] = np.nan
        asked = (counts[:, weights > 0] > 0).any(axis=1)
        found.append(added[asked])
        numbers.append(np.full(int(asked.sum()), number, dtype=np.intp))
    whole = np.concatenate(found)
    return np.asarray(whole * len(whole), dtype=np.float64), np.concatenate(numbers)


def components(values: Floats, strata: Ints, *, greedy: bool = False, fixed: float = 0.0) -> Components | None:
    """Estimate the variances from ``values``, (questions, answers, seeds), NaN for answers that are not there.

    ``strata`` number each question's task, whose mean is not drawn. None where the questions of every stratum are one.
    """
    asked, _, seeds = values.shape
    values = np.where(np.isnan(values).any(axis=2, keepdims=True), math.nan, values)
    if asked <= len(np.unique(strata)):
        return None
    sizes = np.count_nonzero(~np.isnan(values[:, :, 0]), axis=1)
    between, within = one_way(values.mean(axis=2)[:, :, None], strata)
    by_question, luck = one_way(values @ _contrasts(seeds).T, strata) if seeds > 1 else (0.0, 0.0)
    own = luck or 0.0
    shared = 0.0 if greedy else None if within is None else max(0.0, within - own / seeds)
    of_seeds = _of_seeds(np.nanmean(values @ _contrasts(seeds).T, axis=1), by_question + own / sizes, strata) if seeds > 1 else None
    return Components(
        of_questions=max(0.0, between - by_question / seeds),
        of_seeds=of_seeds,
        of_seeds_by_question=by_question,
        of_shared_answers=shared,
        of_answers=own,
        questions=asked,
        generations=float(1 / (1 / sizes).mean()),
        seeds=seeds,
        greedy=greedy,
        fixed=fixed,
    )


def _of_seeds(contrasts: Floats, noise: Floats, strata: Ints) -> float:
    """Variance of whole trainings from their contrasts, (questions, contrasts), and each question's noise, (questions,).

    Questions with less noise weigh more within a task; tasks weigh as they have questions.
    """
    weights = 1 / noise if (noise > 0).all() else np.ones(len(noise))
    share, total = (np.bincount(strata, each) for each in (np.full(len(strata), 1 / len(strata)), weights))
    there = total > 0
    means = np.column_stack([np.bincount(strata, weights * column)[there] / total[there] for column in contrasts.T])
    doubt = float((share[there] ** 2 * np.bincount(strata, weights**2 * noise)[there] / total[there] ** 2).sum())
    return max(0.0, float(((share[there] @ means) ** 2).mean()) - doubt)


def one_way(values: Floats, strata: Ints) -> tuple[float, float | None]:
    """Compute the variance between questions and within them, of ``values``, (questions, answers, columns): columns are independent
    layouts.

    Within is None where no question has two answers; between is then of both together.
    """
    there = ~np.isnan(values[:, :, 0])
    sizes, columns = there.sum(axis=1).astype(np.float64), values.shape[2]
    means = np.nanmean(values, axis=1)
    inside = float(np.nansum((values - means[:, None]) ** 2))
    freedom = columns * float(sizes.sum() - len(sizes))
    if (sizes == sizes[0]).all():
        spread, left = _about_means(means, np.ones(len(sizes)), strata)
        mean_square = spread / left
        if freedom == 0:
            return mean_square, None
        return max(0.0, mean_square - inside / freedom / sizes[0]), inside / freedom
    return _likeliest(means, sizes, strata, inside, freedom)


def _about_means(means: Floats, weights: Floats, strata: Ints) -> tuple[float, float]:
    """Weighted squares of the means, (questions, columns), about those of their strata; and their degrees of freedom."""
    total = np.bincount(strata, weights)
    centre = np.column_stack([np.bincount(strata, weights * column) / np.where(total > 0, total, 1) for column in means.T])
    squares = weights[:, None] * (means - centre[strata]) ** 2
    return float(squares.sum()), float(means.shape[1] * (len(means) - len(np.unique(strata))))


def _likeliest(means: Floats, sizes: Floats, strata: Ints, inside: float, freedom: float) -> tuple[float, float]:
    """The same by restricted maximum likelihood, for questions with different numbers of answers."""
    columns = means.shape[1]

    def profiled(ratio: float) -> tuple[float, float]:
        """Minus twice the log-likelihood at this ratio of the variances, and the variance within that suits it."""
        spread = ratio + 1 / sizes
        squares, left = _about_means(means, 1 / spread, strata)
        within = (inside + squares) / (freedom + left)
        total = np.bincount(strata, 1 / spread)
        logs = float(np.log(spread).sum() + np.log(total[total > 0]).sum())
        return (freedom + left) * math.log(max(within, 1e-300)) + columns * logs, within

    found = optimize.minimize_scalar(lambda log: profiled(math.exp(log))[0], bounds=(-_LARGEST, _LARGEST), method="bounded",
                                     options={"xatol": 1e-9})  # fmt: skip
    ratio = math.exp(float(found.x))
    if profiled(0.0)[0] <= profiled(ratio)[0]:
        ratio = 0.0
    within = profiled(ratio)[1]
    return ratio * within, within


def _contrasts(seeds: int) -> Floats:
    """Orthonormal contrasts of so many seeds, (seeds - 1, seeds): Helmert's."""
    rows = [[1.0] * at + [-float(at)] + [0.0] * (seeds - at - 1) for at in range(1, seeds)]
    found = np.array(rows)
    return np.asarray(found / np.sqrt((found**2).sum(axis=1, keepdims=True)), dtype=np.float64)
