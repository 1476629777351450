"""A comparison of a million rows at 10,000 resamples: processor time and memory, which grow with the rows and the resamples, not with both.

Twenty dataset-metrics of 50,000 questions each, one row a question. Prints what each part costs and fails above 60 s or 2 GiB.

    python benchmarks/million_rows.py [--quick]
"""

import resource
import sys
import time

import numpy as np
import pandas as pd

from reports.bootstrap import spread
from reports.hierarchy import design
from reports.permutation import flips, single, stepdown

TASKS, QUESTIONS, RESAMPLES = 20, 50_000, 10_000


def main() -> None:
    questions = QUESTIONS // 10 if "--quick" in sys.argv else QUESTIONS
    names = [f"q{n}" for n in range(questions)]
    blocks = [{"category": f"c{n % 5}", "task": f"t{n}", "metric": "m", "length": 8192, "cluster": names} for n in range(TASKS)]
    rows = pd.concat([pd.DataFrame(block) for block in blocks], ignore_index=True)
    rows["example_id"] = rows["cluster"]
    differences = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=(len(rows), 1), p=[0.05, 0.9, 0.05])
    seconds: dict[str, float] = {}

    def timed(name: str, begun: float) -> float:
        seconds[name] = time.process_time() - begun
        print(f"{name:40} {seconds[name]:7.2f} s", flush=True)
        return time.process_time()

    begun = time.process_time()
    plan = design(rows)
    begun = timed("structure of the table", begun)
    found = spread(plan, differences, resamples=RESAMPLES, rng=np.random.default_rng(1), rare=True)
    found.limits(0.025)
    begun = timed("bootstrap, bounds for the unseen", begun)
    flipped = flips(plan, differences, resamples=RESAMPLES, rng=np.random.default_rng(2))
    begun = timed("sign flips", begun)
    single(flipped, tails=True)
    stepdown(flipped, np.ones((len(plan.targets), 1), dtype=bool))
    timed("p-values and their correction", begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total = sum(seconds.values())
    print(f"{len(rows):,} rows, {RESAMPLES:,} resamples: {total:.1f} s of processor time, {peak:.2f} GiB at the most")
    if total > 60 or peak > 2:
        sys.exit("million_rows: above its limits (60 s, 2 GiB)")


if __name__ == "__main__":
    main()
