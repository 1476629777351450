"""The promises of what decides: ranks of a board, checks against a margin, stated power, and stopping early."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
from _figures import Aim, Figure, Outcome
from _promises_compare import FALSE, RESAMPLES
from _worlds import PEERS, Peers, keys, questions_of, rare_loss, table
from bootstrap_stopping import stopped
from scipy import stats

from reports.check import check
from reports.compare import compare_methods
from reports.hierarchy import Floats
from reports.leaderboard import Entry, board
from reports.policy import Policy
from reports.power import detectable, power
from reports.shape import Shape

#: (questions, true loss, generator) -> differences, (questions,), for a baseline that scores `START`.
Loss: TypeAlias = Callable[[int, float, np.random.Generator], Floats]

MODELS: Final = 10


def ranks() -> list[Figure]:
    """Boards of ten equal models, where any rank but 1-10 is false; and of five pairs of equals, ten points apart."""

    def figure(peers: Peers, questions: int, gap: float) -> Figure:
        def draw(number: int) -> Sequence[float]:
            rng = np.random.default_rng([questions, number])
            code = questions_of(peers, questions, rng)
            steps = np.arange(MODELS) // 2
            scores = np.clip(0.6 * peers.draw(code, MODELS, rng) + 0.4 * gap * steps, 0, 1)
            frame = keys(code)
            found = board([Entry(f"m{n}", table(frame, scores[:, n], f"m{n}")) for n in range(MODELS)], resamples=RESAMPLES, seed=number)
            rows = {row.name: (row.best, row.worst) for row in found.columns[0].rows}
            false = False
            for n, step in enumerate(steps):
                best, worst = rows[f"m{n}"]
                top, bottom = (1, MODELS) if gap == 0 else (MODELS - 2 * step - 1, MODELS - 2 * step)
                false |= best > top or worst < bottom
            told = np.mean([(worst - best) < MODELS - 1 for best, worst in rows.values()])
            return false, float(told)

        outcomes = (Outcome("a rank range lacks the true rank", "5", FALSE), Outcome("ranges that say something", "", share=False))
        what = "ten equals" if gap == 0 else "five pairs of equals"
        return Figure(f"{what}, {peers.name}, {questions} questions", outcomes, draw)

    equal = [figure(peers, questions, 0.0) for peers in PEERS for questions in (6, 10, 20, 50)]
    return equal + [figure(peers, questions, 0.25) for peers in PEERS[::3] for questions in (10, 50)]


def checks() -> list[Figure]:
    """Passing and failing with the true loss at the margin, within it (half) and beyond (double)."""
    worlds: dict[str, tuple[float, float, Loss]] = {
        "normal": (0.03, 0.5, lambda n, loss, rng: rng.normal(-loss, 0.1, n)),
        "rare loss": (0.01, 1.0, lambda n, loss, rng: rare_loss(loss).draw(n, rng)[1][:, 1] - 1),
        "rare loss, wider margin": (0.05, 1.0, lambda n, loss, rng: rare_loss(loss).draw(n, rng)[1][:, 1] - 1),
        "0/1 both ways": (0.05, 0.5, _both_ways),
        "half tied": (0.03, 0.9, lambda n, loss, rng: np.where(rng.random(n) < 0.5, 0.0, rng.exponential(2 * loss + 0.05, n) * -1 + 0.05)),
    }

    def figure(name: str, questions: int, times: float) -> Figure:
        margin, start, lose = worlds[name]
        frame = keys(np.arange(questions))
        base = table(frame, np.full(questions, start))
        policy = Policy(margin_overall=margin, margin_category=None)

        def draw(number: int) -> Sequence[float]:
            rng = np.random.default_rng([questions, number])
            differences = lose(questions, times * margin, rng)
            moved = table(frame, (0.5 + differences / 2) if name == "0/1 both ways" else start + differences, "new")
            status = check(base, moved, policy, resamples=RESAMPLES, seed=number).findings[0].status
            return status == "pass", status == "fail"

        outcomes = (
            Outcome("passes", "5" if times == 1 else "", FALSE if times >= 1 else None),
            Outcome("fails", "5" if times == 1 else "", FALSE if times <= 1 else None),
        )
        where = {0.5: "half the margin", 1.0: "at the margin", 2.0: "double the margin"}[times]
        return Figure(f"{name}, margin {100 * margin:g}, loss {where}, {questions} questions", outcomes, draw)

    found = [figure(name, questions, 1.0) for name in worlds for questions in (3, 10, 50, 200, 400)]
    return found + [figure(name, questions, times) for name in worlds for questions in (50, 400) for times in (0.5, 2.0)]


def _both_ways(questions: int, loss: float, rng: np.random.Generator) -> Floats:
    """Twice the differences of 0/1 scores of which a fifth differ, so that half of them is a difference of scores from 0.5."""
    return rng.choice([-1.0, 0.0, 1.0], questions, p=[0.1 + loss, 0.8, 0.1 - loss])


def powers() -> list[Figure]:
    """Claims of a difference as large as the stated detectable one.

    The suite that it is stated from has the spread of the experiments, tails included: each question stands for its share of them by the
    root of its mean square. One that happens to vary less promises too much, and the other way round.
    """
    fine = 200

    def figure(name: str, questions: int) -> Figure | None:
        places = (np.arange(fine * questions) + 0.5) / (fine * questions)
        sizes = {
            "normal": stats.halfnorm.ppf(places, scale=0.1),
            "0/1": (np.floor(places * questions) + 0.5 < 0.2 * questions).astype(float),
            "half tied": np.where(places < 0.5, 0.0, stats.expon.ppf(np.clip(2 * places - 1, 0, 1), scale=0.1)).clip(0, 1),
        }[name]
        sizes = np.sqrt((sizes.reshape(questions, fine) ** 2).mean(axis=1))
        shape = Shape(np.full(questions, 1 / questions), sizes, 0.025, 0.95)
        effect = detectable(shape)
        if np.isnan(effect):
            return None  # refused: no effect is found in 80% of experiments
        stated, frame = power(shape, effect), keys(np.arange(questions))

        def draw(number: int) -> Sequence[float]:
            rng = np.random.default_rng([questions, number])
            differences = _effect(name, questions, effect, rng)
            scores = np.stack([np.maximum(0, -differences), np.maximum(0, differences)])
            found = compare_methods(table(frame, scores[0]), {"a": table(frame, scores[1], "b")}, resamples=RESAMPLES, seed=number)
            return (next(each for each in found.methods["a"] if each.scope == "overall").claim > 0,)

        outcome = Outcome("is claimed", f"{100 * stated:.0f}", Aim(stated - 0.05, stated + 0.05))
        return Figure(f"{name}, {questions} questions, {100 * effect:.1f} points", (outcome,), draw)

    found = [figure(name, questions) for name in ("normal", "0/1") for questions in (6, 8, 12, 20, 60)]
    found += [figure("half tied", questions) for questions in (30, 60, 200)]
    return [each for each in found if each is not None]


def _effect(name: str, questions: int, effect: float, rng: np.random.Generator) -> Floats:
    if name == "normal":
        return rng.normal(effect, 0.1, questions)
    if name == "0/1":
        differ = max(0.2, effect)
        up = (1 + effect / differ) / 2
        return rng.choice([-1.0, 0.0, 1.0], questions, p=[differ * (1 - up), 1 - differ, differ * up])
    total = 0.05  # half of the questions differ, by 0.1 on average
    differ = 0.5 if effect <= total else min(1.0, effect / 0.1)
    up = (1 + min(1.0, effect / total)) / 2
    sizes = np.minimum(1, rng.exponential(0.1, questions))
    return np.where(rng.random(questions) < differ, sizes, 0) * np.where(rng.random(questions) < up, 1, -1)


def stops() -> list[Figure]:
    """`--stop-early` as it is wired, on eight tasks of 40 to 90 questions; claims of equality with the true difference at the margin."""

    def figure(moved: float, margin: float) -> Figure:
        def draw(number: int) -> Sequence[float]:
            found, asked = stopped(moved, number, margin)
            vain = found.always_valid and not found.claim and not found.equivalent
            return found.claim != 0, found.claim > 0, found.equivalent, vain, asked

        shown = Outcome("examples asked, percent", "", share=False)
        null, at_margin = moved == 0.0, margin > 0
        outcomes = (
            Outcome("claims a difference", "5" if null else "", FALSE if null else None),
            Outcome("claims the wrong direction", "2.5", FALSE),
            Outcome("claims equality", "5" if at_margin else "", FALSE if at_margin else None),
            Outcome("stops with nothing to claim", "0", Aim(high=0.0)),
            shown,
        )
        what = f", margin {100 * margin:g} points, as large as it" if at_margin else ""
        return Figure(f"true difference about {100 * TRUTHS[moved]:.1f} points{what}", outcomes, draw)

    return [*(figure(moved, 0.0) for moved in TRUTHS), *(figure(moved, TRUTHS[moved]) for moved in list(TRUTHS)[1:3])]


#: How far half of the questions' chances move -> the loss in points that this makes, since chances end at 0.
TRUTHS: Final = {0.0: 0.0, -0.1: 0.098, -0.2: 0.181, -0.4: 0.258}
