"""Do 95% intervals hold the truth 95 times in 100? Clusters of six rows, skewed 0/1 scores, a true difference known exactly.

*Usual*: question effects on the logit scale, those of the two models correlated at 0.7, about nine answers in ten right (a mixed logistic
model); the six rows of a question share its effects. The targets are on these data and the default interval; BCa and the unclustered
interval, which takes rows for independent and under-covers, are shown beside it.

*Hard*: four questions in five keep their probability of a right answer, the fifth draws a lower one. Differences are mostly 0 and the
rest almost all on one side, where no interval from a few dozen questions is honest; shown, without a target.

    python benchmarks/coverage_bootstrap.py [--quick]
"""

import sys

import numpy as np
import pandas as pd
from scipy import integrate, special, stats

from reports.bootstrap import Interval, estimate
from reports.hierarchy import Floats, design

DEPTHS = 6
SIZES = (50, 100, 200, 500)
#: Usual: means of the two models on the logit scale, spread of the questions, correlation of their effects.
MEANS, SPREAD, CORRELATION = (3.6, 3.2), 2.0, 0.7
#: Hard: share of questions that change, Beta parameters before and after.
CHANGED, BEFORE, AFTER = 0.2, (0.5, 0.1), (1.0, 0.6)


def usual(questions: int, rng: np.random.Generator) -> Floats:
    """Paired differences of one experiment, (questions * DEPTHS,)."""
    effect = rng.multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]], questions)
    chance = special.expit(np.array(MEANS) + SPREAD * effect)
    scores = rng.random((DEPTHS, questions, 2)) < chance
    return (scores[:, :, 1].astype(float) - scores[:, :, 0]).T.ravel()


def hard(questions: int, rng: np.random.Generator) -> Floats:
    """Likewise."""
    before = rng.beta(*BEFORE, questions)
    after = np.where(rng.random(questions) < CHANGED, rng.beta(*AFTER, questions), before)
    luck = rng.random((questions, DEPTHS))
    return ((luck < after[:, None]).astype(float) - (luck < before[:, None])).ravel()


def truths() -> dict[str, float]:
    """The exact mean differences."""

    def rate(mean: float) -> float:
        return float(integrate.quad(lambda z: stats.norm.pdf(z) * special.expit(mean + SPREAD * z), -10, 10)[0])

    return {"usual": rate(MEANS[1]) - rate(MEANS[0]), "hard": CHANGED * (AFTER[0] / sum(AFTER) - BEFORE[0] / sum(BEFORE))}


def coverage(data: str, questions: int, simulations: int, *, clustered: bool = True, interval: Interval = "percentile") -> float:
    """Share of experiments whose interval holds the truth."""
    draw, truth = {"usual": usual, "hard": hard}[data], truths()[data]
    names = [f"e{n}" for n in range(questions * DEPTHS)]
    clusters = [f"q{n // DEPTHS}" for n in range(questions * DEPTHS)] if clustered else names
    rows = pd.DataFrame({"category": "recall", "task": "niah", "metric": "em", "length": 512, "cluster": clusters, "example_id": names})
    plan = design(rows)
    held = 0
    for simulation in range(simulations):
        rng = np.random.default_rng([questions, simulation])
        found = estimate(plan, draw(questions, rng)[:, None], resamples=1000, confidence=0.95, rng=rng, interval=interval)
        held += bool(found.low[0, 0] <= truth <= found.high[0, 0])
    return held / simulations


def main() -> None:
    simulations = 200 if "--quick" in sys.argv else 2000
    few = simulations // 4
    shown = ", ".join(f"{name} {100 * truth:.2f}" for name, truth in truths().items())
    print(f"true differences in points: {shown}")
    print(f"{simulations} experiments (standard error {np.sqrt(0.95 * 0.05 / simulations):.1%}) for the first figure, {few} for the others")
    bad = []
    for questions in SIZES:
        found = coverage("usual", questions, simulations)
        bca = coverage("usual", questions, few, interval="bca")
        naive = coverage("usual", questions, few, clustered=False)
        difficult = coverage("hard", questions, few)
        print(f"{questions:4} questions: {found:.1%}; BCa {bca:.1%}; unclustered {naive:.1%}; hard data {difficult:.1%}", flush=True)
        low, high = (0.92, 1.0) if questions < 100 else (0.93, 0.97)
        slack = 0.0 if simulations >= 2000 else 0.03
        bad += [f"clustered at {questions}"] if not low - slack <= found <= high + slack else []
        bad += [f"unclustered at {questions}"] if naive > 0.92 else []
    if bad:
        sys.exit(f"coverage_bootstrap: outside its targets: {', '.join(bad)}")


if __name__ == "__main__":
    main()
