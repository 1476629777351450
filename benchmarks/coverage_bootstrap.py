"""Do 95% intervals hold the truth 95 times in 100? Clusters of six rows, skewed 0/1 scores, a true difference known exactly.

A question has a probability of being answered right, drawn from a U-shaped Beta distribution with mean 0.83; the candidate keeps it for
most questions and draws a new one, lower on average, for a fifth of them. The six rows of a question share these probabilities. The
unclustered interval treats rows as independent and under-covers. The target is on the default, percentile; BCa is shown beside it.

    python benchmarks/coverage_bootstrap.py [--quick]
"""

import sys

import numpy as np
import pandas as pd

from reports.bootstrap import INTERVALS, Interval, estimate
from reports.hierarchy import Floats, design

DEPTHS, CHANGED, BEFORE, AFTER = 6, 0.2, (0.5, 0.1), (1.0, 0.6)
TRUTH = CHANGED * (AFTER[0] / sum(AFTER) - BEFORE[0] / sum(BEFORE))
SIZES = (50, 100, 200, 500)


def differences(questions: int, rng: np.random.Generator) -> Floats:
    """Paired differences of one experiment, (questions * DEPTHS,)."""
    before = rng.beta(*BEFORE, questions)
    after = np.where(rng.random(questions) < CHANGED, rng.beta(*AFTER, questions), before)
    luck = rng.random((questions, DEPTHS))
    return ((luck < after[:, None]).astype(float) - (luck < before[:, None])).ravel()


def coverage(questions: int, simulations: int, *, clustered: bool, interval: Interval) -> float:
    """Share of experiments whose interval holds the truth."""
    names = [f"e{n}" for n in range(questions * DEPTHS)]
    clusters = [f"q{n // DEPTHS}" for n in range(questions * DEPTHS)] if clustered else names
    rows = pd.DataFrame({"category": "recall", "task": "niah", "metric": "em", "length": 512, "cluster": clusters, "example_id": names})
    plan = design(rows)
    held = 0
    for simulation in range(simulations):
        rng = np.random.default_rng([questions, simulation])
        found = estimate(plan, differences(questions, rng)[:, None], resamples=1000, confidence=0.95, rng=rng, interval=interval)
        held += bool(found.low[0, 0] <= TRUTH <= found.high[0, 0])
    return held / simulations


def main() -> None:
    simulations = 200 if "--quick" in sys.argv else 2000
    print(f"{simulations} experiments each, true difference {100 * TRUTH:.2f} points; standard error of a coverage about "
          f"{np.sqrt(0.95 * 0.05 / simulations):.1%}")  # fmt: skip
    bad = []
    for questions in SIZES:
        found = {interval: coverage(questions, simulations, clustered=True, interval=interval) for interval in INTERVALS}
        naive = coverage(questions, simulations // 4, clustered=False, interval="percentile")
        shown = ", ".join(f"{interval} {value:.1%}" for interval, value in found.items())
        print(f"{questions:4} questions: clustered {shown}; unclustered {naive:.1%}", flush=True)
        allowed = (0.92, 1.0) if questions < 100 else (0.93, 0.97)
        slack = 0.0 if simulations >= 2000 else 0.03
        if not allowed[0] - slack <= found["percentile"] <= allowed[1] + slack:
            bad.append(f"percentile at {questions}")
        bad += [f"unclustered at {questions}"] if naive > 0.9 else []
    if bad:
        sys.exit(f"coverage_bootstrap: outside its targets: {', '.join(bad)}")


if __name__ == "__main__":
    main()
