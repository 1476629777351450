"""What the statistics promise, beside what they do: nominal and actual, on generators of more than one shape (:mod:`_worlds`).

Intervals of ``compare``; claims of a whole page; ranks of a board; ``check`` at, inside and outside its margin; stated power; training
seeds. (Early stopping has a benchmark of its own, bootstrap_stopping.py.) Every figure comes with its Monte-Carlo standard error. A bound
that cannot be met whatever one does (0/1 scores move in steps) is met from the safe side: over-coverage is shown and is no failure.

    python benchmarks/promises.py [--quick] [PART ...]       parts: intervals page ranks check power seeds

Quick: minutes on one core, 100 experiments a figure; in full 1,000 (about an hour). Fails beyond two standard errors of the aims.
"""

import sys
from itertools import product

import numpy as np
import pandas as pd
from _worlds import WORLDS, plan_of, rare_loss, table
from scipy import stats

from reports.bootstrap import spread
from reports.check import check
from reports.compare import compare_methods
from reports.hierarchy import Floats
from reports.leaderboard import Entry, board
from reports.policy import Policy
from reports.power import Shape, detectable, power

SIZES = (6, 10, 20, 50, 100, 200)
RESAMPLES = 500


def shown(rate: float, experiments: int) -> str:
    return f"{100 * rate:5.1f} ±{100 * np.sqrt(max(rate * (1 - rate), 0.25 / experiments) / experiments):.1f}"


def keys(questions: int, suite: tuple[tuple[str, str], ...] = (("niah", "recall"),), lengths: tuple[int, ...] = (512,)) -> pd.DataFrame:
    """One row for each task, length and question."""
    rows = [(task, category, length, f"q{n}", f"q{n}") for (task, category), length, n in product(suite, lengths, range(questions))]
    return pd.DataFrame(rows, columns=["task", "category", "length", "cluster", "example_id"])


def intervals(experiments: int) -> list[str]:
    """Coverage of 95% intervals; aims: 93% from 20 questions, 90% from 6. In brackets the mean width in points."""
    print(f"\n{'95% intervals hold the truth, %':24}" + "".join(f"{n:>20}" for n in SIZES))
    bad = []
    for world in WORLDS:
        cells = []
        for questions in SIZES:
            held, widths = 0, []
            for number in range(experiments):
                rng = np.random.default_rng([questions, number])
                code, scores = world.draw(questions, rng)
                found = spread(plan_of(code), (scores[:, 1] - scores[:, 0])[:, None], resamples=RESAMPLES, rng=rng, rare=True)
                low, high = (float(end[0, 0]) for end in found.limits(0.025))
                held += low <= world.truth <= high
                widths.append(high - low)
            rate, aim = held / experiments, 0.93 if questions >= 20 else 0.90
            cells.append(f"{shown(rate, experiments)} ({100 * np.mean(widths):.1f})")
            if rate < aim - 2 * np.sqrt(aim * (1 - aim) / experiments):
                bad.append(f"interval {world.name} at {questions}")
        print(f"{world.name:24}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
    return bad


def pages(experiments: int) -> list[str]:
    """Pages of two methods that equal the baseline: five categories of one task, three lengths; any mark or claim is false."""
    print("\nfalse mark or claim anywhere on a page of equal methods, % (aim: 6 at most)")
    suite = tuple((f"t{n}", f"c{n}") for n in range(5))
    bad = []
    for name, draw in (("normal", _normal), ("0/1", _zero_one)):
        for questions in (8, 20, 60):
            frame, false = keys(questions, suite, (512, 1024, 2048)), 0
            for number in range(experiments):
                rng = np.random.default_rng([questions, number])
                tables = [table(frame, draw(len(frame), rng), f"m{n}") for n in range(3)]
                found = compare_methods(tables[0], {"a": tables[1], "b": tables[2]}, resamples=RESAMPLES)
                lines = [each for column in (*found.methods.values(), *found.contrasts.values()) for each in column]
                false += any(each.claim for each in lines)
            rate = false / experiments
            print(f"  {name:8} {questions:4} questions a task: {shown(rate, experiments)}", flush=True)
            if rate > _most(experiments):
                bad.append(f"page {name} at {questions}")
    return bad


def _most(experiments: int) -> float:
    """The largest share of so many experiments that an error rate of 6% gives, but for two standard errors."""
    return 0.06 + 2 * float(np.sqrt(0.06 * 0.94 / experiments))


def ranks(experiments: int) -> list[str]:
    """Boards of ten equal models; any rank but 1-10 is a false order."""
    print("\nfalse order on a board of ten equal models, % (aim: 6 at most)")
    bad = []
    for name, draw in (("normal", _normal), ("0/1", _zero_one), ("skewed", _skewed)):
        for questions in (6, 10, 20, 50):
            frame, false = keys(questions), 0
            for number in range(experiments):
                rng = np.random.default_rng([questions, number])
                entries = [Entry(f"m{n}", table(frame, draw(questions, rng), f"m{n}")) for n in range(10)]
                found = board(entries, resamples=RESAMPLES)
                false += any((row.best, row.worst) != (1, 10) for row in found.columns[0].rows)
            rate = false / experiments
            print(f"  {name:8} {questions:4} questions: {shown(rate, experiments)}", flush=True)
            if rate > _most(experiments):
                bad.append(f"ranks {name} at {questions}")
    return bad


def checks(experiments: int) -> list[str]:
    """Outcomes of a check of one statement with the true loss at the margin, at half of it and at twice it."""
    print("\ncheck: pass / fail / undecided, % (at the margin: pass 6 at most, fail 6 at most)")
    bad = []
    for name, margin, draw in (
        ("normal", 0.03, _normal_loss),
        ("rare loss", 0.01, _rare_loss),
        ("rare loss", 0.05, _rare_loss),
    ):
        for questions, share in product((3, 10, 50, 200, 400), (0.5, 1.0, 2.0)):
            frame, outcomes = keys(questions), []
            base = table(frame, np.full(questions, 1.0 if name != "normal" else 0.5))
            for number in range(experiments):
                rng = np.random.default_rng([questions, number])
                moved = table(frame, base["score"].to_numpy() + draw(questions, rng, share * margin), "new")
                policy = Policy(margin_overall=margin, margin_category=None)
                outcomes.append(check(base, moved, policy, resamples=RESAMPLES).findings[0].status)
            rates = [outcomes.count(each) / experiments for each in ("pass", "fail", "undecided")]
            print(f"  {name:9} margin {100 * margin:g}, true loss {share:3.1f} of it, {questions:3} questions: "
                  + " / ".join(shown(rate, experiments) for rate in rates), flush=True)  # fmt: skip
            limit = _most(experiments)
            if (share >= 1 and rates[0] > limit) or (share <= 1 and rates[1] > limit):
                bad.append(f"check {name} {share} of {margin} at {questions}")
    return bad


def powers(experiments: int) -> list[str]:
    """The stated smallest detectable effect (80%) against how often the verdict claims it.

    The suite it is stated from has the spread of the experiments; one that happens to vary less promises too much, and the other way round.
    """
    print("\nclaims of a difference as large as the stated detectable one, % (80 stated; aim: 75 to 85)")
    bad = []
    for name in ("normal", "0/1"):
        for questions in (6, 8, 20, 60):
            places = (np.arange(questions) + 0.5) / questions
            sizes = stats.halfnorm.ppf(places, scale=0.1) if name == "normal" else (places < 0.2).astype(float)
            shape = Shape(np.full(questions, 1 / questions), sizes, 0.025, 0.95)
            effect = detectable(shape)
            if np.isnan(effect):
                print(f"  {name:8} {questions:3} questions: refused, no difference is found with 80%", flush=True)
                continue
            frame, claimed = keys(questions), 0
            for number in range(experiments):
                rng = np.random.default_rng([questions, number])
                if name == "normal":
                    scores = 0.5 + np.stack([np.zeros(questions), rng.normal(effect, 0.1, questions)])
                else:
                    differs = rng.random(questions) < max(0.2, effect)
                    up = rng.random(questions) < (1 + effect / max(0.2, effect)) / 2
                    scores = np.stack([np.where(differs & ~up, 1.0, 0.0), np.where(differs & up, 1.0, 0.0)])
                found = compare_methods(table(frame, scores[0]), {"a": table(frame, scores[1], "b")}, resamples=RESAMPLES)
                claimed += next(each for each in found.methods["a"] if each.scope == "overall").claim > 0
            rate = claimed / experiments
            stated = power(shape, effect)
            print(f"  {name:8} {questions:3} questions, {100 * effect:5.1f} points: stated {100 * stated:.0f}, "
                  f"claimed {shown(rate, experiments)}", flush=True)  # fmt: skip
            if abs(rate - stated) > 0.05 + 2 * np.sqrt(0.16 / experiments):
                bad.append(f"power {name} at {questions}")
    return bad


def seeds(experiments: int) -> list[str]:
    """Coverage of the difference of methods where training seeds differ by so many question errors."""
    print("\n95% intervals of a method with several training seeds hold the truth, % (aim: 93 at least)")
    bad, questions = [], 50
    plan = plan_of(np.arange(questions))
    for count in (1, 2, 3, 5):
        cells = []
        for ratio in (0.0, 1.0, 2.0, 4.0, 10.0):
            held = 0
            for number in range(experiments):
                rng = np.random.default_rng([count, number])
                scores = rng.normal(0, 0.1, (questions, 1)) + rng.normal(0, 0.1, (questions, count))
                scores = scores + rng.normal(0, ratio * 0.1 * np.sqrt(2 / questions), count)
                mean = scores.mean(axis=1, keepdims=True)
                of_seeds = {0: [scores - mean]} if count > 1 else {}
                low, high = spread(plan, mean, resamples=RESAMPLES, rng=rng, seeds=of_seeds, rare=True).limits(0.025)
                held += bool(low[0, 0] <= 0 <= high[0, 0])
            rate = held / experiments
            cells.append(f"ratio {ratio:g}: {shown(rate, experiments)}")
            if count > 1 and rate < 0.93 - 2 * np.sqrt(0.07 * 0.93 / experiments):
                bad.append(f"{count} seeds at ratio {ratio}")
        note = "  (about the checkpoint, not the method: the verdict says so)" if count == 1 else ""
        print(f"  {count} seed{'s' if count > 1 else ' '}: " + "; ".join(cells) + note, flush=True)
    return bad


def _normal(size: int, rng: np.random.Generator) -> Floats:
    return rng.normal(0.5, 0.15, size)


def _skewed(size: int, rng: np.random.Generator) -> Floats:
    return np.minimum(1.0, rng.exponential(0.2, size))


def _normal_loss(size: int, rng: np.random.Generator, loss: float) -> Floats:
    return rng.normal(-loss, 0.1, size)


def _rare_loss(size: int, rng: np.random.Generator, loss: float) -> Floats:
    return rare_loss(loss).draw(size, rng)[1][:, 1] - 1


def _zero_one(size: int, rng: np.random.Generator) -> Floats:
    return (rng.random(size) < 0.8).astype(float)


PARTS = {"intervals": intervals, "page": pages, "ranks": ranks, "check": checks, "power": powers, "seeds": seeds}


def main() -> None:
    asked = [each for each in sys.argv[1:] if not each.startswith("-")] or list(PARTS)
    experiments = 100 if "--quick" in sys.argv else 1000
    print(f"{experiments} experiments a figure, {RESAMPLES} resamples each; ± is the Monte-Carlo standard error")
    bad = [line for name in asked for line in PARTS[name](experiments)]
    if bad:
        sys.exit(f"promises: beyond their aims: {', '.join(bad)}")


if __name__ == "__main__":
    main()
