"""The promises of `compare`: intervals, claims of a page, training seeds, and the difficulty of questions."""

from collections.abc import Sequence
from typing import Final
from unittest import mock

import numpy as np
from _figures import Aim, Figure, Outcome
from _worlds import PEERS, WORLDS, Peers, World, keys, plan_of, questions_of, table

from reports import power
from reports.bootstrap import spread
from reports.compare import compare_methods
from reports.difficulty import Known, adjusted
from reports.hierarchy import Floats

RESAMPLES: Final = 500
SIZES: Final = (6, 10, 20, 50, 100, 200)
#: Errors that a family may have; a nominal 5% with a point for what bootstraps are.
_TWO_KINDS: Final = "0/1, trainings of two kinds"
FALSE: Final = Aim(high=0.06)


def least(questions: int) -> Aim:
    """Coverage that is aimed at: 93% from 20 questions, 90% from 6."""
    return Aim(low=0.93 if questions >= 20 else 0.90)


def intervals() -> list[Figure]:
    """Coverage and mean width, for every world and size."""

    def figure(world: World, questions: int) -> Figure:
        def draw(number: int) -> Sequence[float]:
            rng = np.random.default_rng([questions, number])
            code, scores = world.draw(questions, rng)
            found = spread(plan_of(code), (scores[:, 1] - scores[:, 0])[:, None], resamples=RESAMPLES, rng=rng, rare=True)
            low, high = (float(end[0, 0]) for end in found.limits(0.025))
            return low <= world.truth <= high, high - low

        outcomes = (Outcome("holds the truth", "95", least(questions)), Outcome("width, points", "", share=False))
        return Figure(f"{world.name}, {questions} questions", outcomes, draw)

    return [figure(world, questions) for world in WORLDS for questions in SIZES]


def pages() -> list[Figure]:
    """Two methods that equal the baseline: five categories at two lengths; any mark or claim is false."""
    suite = tuple((f"t{n}", f"c{n}") for n in range(5))

    def figure(peers: Peers, questions: int) -> Figure:
        def draw(number: int) -> Sequence[float]:
            rng = np.random.default_rng([questions, number])
            code = questions_of(peers, questions, rng)
            frame = keys(code, suite, (512, 1024))
            again = np.concatenate([np.tile(code, 2) + questions * task for task in range(5)])  # lengths ask the same questions
            scores = peers.draw(again, 3, rng)
            tables = [table(frame, scores[:, n], f"m{n}") for n in range(3)]
            with mock.patch.object(power, "detectable", return_value=np.nan):  # most of the time, and nothing of what is asked here
                found = compare_methods(tables[0], {"a": tables[1], "b": tables[2]}, resamples=RESAMPLES, seed=number)
            lines = [each for column in (*found.methods.values(), *found.contrasts.values()) for each in column]
            verdicts = [each for each in lines if each.scope == "overall" and each.length is None]
            return any(each.claim for each in lines), any(each.claim for each in verdicts)

        outcomes = (Outcome("false mark or claim anywhere", "5", FALSE), Outcome("false verdict", "2.5", FALSE))
        return Figure(f"{peers.name}, {questions} questions a task", outcomes, draw)

    return [figure(peers, questions) for peers in PEERS for questions in (8, 20, 60)]


def seeds() -> list[Figure]:
    """A method whose trainings differ by so many standard errors of the questions, and whose mean changes nothing."""

    def figure(kind: str, count: int, ratio: float, questions: int = 50) -> Figure:
        plan = plan_of(np.arange(questions))

        def draw(number: int) -> Sequence[float]:
            rng = np.random.default_rng([count, number])
            differences = _seeded(kind, questions, count, ratio, rng)
            mean = differences.mean(axis=1, keepdims=True)
            of_seeds = {0: [differences - mean]} if count > 1 else {}
            low, high = spread(plan, mean, resamples=RESAMPLES, rng=rng, seeds=of_seeds, rare=True).limits(0.025)
            return low[0, 0] <= 0 <= high[0, 0], float(high[0, 0] - low[0, 0])

        # one seed is about the checkpoint, and the verdict says so; of two kinds of training a few alike show nothing of the other
        aim = least(questions) if count > 1 and kind != _TWO_KINDS else None
        outcomes = (Outcome("holds the method's truth", "95" if aim else "none", aim), Outcome("width, points", "", share=False))
        return Figure(f"{kind}, {count} seed{'s' if count > 1 else ''}, {ratio:g} question errors apart", outcomes, draw)

    grid = [("normal", count, ratio) for count in (1, 2, 3, 5) for ratio in (0.0, 1.0, 2.0, 4.0, 10.0)]
    grid += [(kind, count, ratio) for kind in ("0/1", _TWO_KINDS) for count in (2, 3, 5) for ratio in (0.0, 1.0, 4.0)]
    return [figure(*each) for each in grid]


def histories() -> list[Figure]:
    """Intervals that use the baseline's scores on four times as many questions, the choice whether to use them included."""

    def figure(world: World, questions: int) -> Figure:
        def draw(number: int) -> Sequence[float]:
            rng = np.random.default_rng([questions, number])
            code, scores = world.draw(4 * questions, rng)
            asked = code < questions
            plan, whole = plan_of(code[asked]), plan_of(code)
            known = Known(scores[asked, 0], whole, scores[:, 0])
            found = adjusted("a", plan, scores[asked, 1] - scores[asked, 0], known, resamples=RESAMPLES, rng=rng)
            (_, low, high), (_, least_, most) = found.found, found.plain
            return low <= world.truth <= high, not found.reason, (high - low) / max(1e-9, most - least_)

        outcomes = (
            Outcome("holds the truth", "95", least(questions)),
            Outcome("is used", ""),
            Outcome("width, percent of without", "", share=False),
        )
        return Figure(f"{world.name}, {questions} of {4 * questions} questions", outcomes, draw)

    return [figure(world, questions) for world in WORLDS for questions in (30, 60, 150)]


def _seeded(kind: str, questions: int, count: int, ratio: float, rng: np.random.Generator) -> Floats:
    """Differences of a method that changes nothing on average, (questions, seeds)."""
    if kind == "normal":
        differences = rng.normal(0, 0.1, (questions, 1)) + rng.normal(0, 0.1, (questions, count))
        return differences + rng.normal(0, ratio * 0.1 * np.sqrt(2 / questions), count)
    error = ratio * np.sqrt(2 * 0.6 * 0.4 / questions)  # a training moves every question's chance of 60% by the same
    moves = rng.choice([-1, 1], count) * min(0.3, error) if kind == _TWO_KINDS else np.clip(rng.normal(0, error, count), -0.4, 0.4)
    return (rng.random((questions, count)) < 0.6 + moves).astype(float) - (rng.random((questions, 1)) < 0.6)
