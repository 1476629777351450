"""How fast is one pass over a whole benchmark? 10,000 resamples of 17 dataset-metrics x 5 lengths x 600 rows x 2 runs.

Against scipy.stats.bootstrap (vectorized, paired, percentile), called for each of the 85 cells on the same scores; it gives no averages
over cells and no clusters. Ours gives every category, length and overall too. Prints processor time (of all threads, so
that what else the machine does hardly counts), the ratio and our peak memory, checks that the intervals agree, and fails below a ratio of
10 or above 1 GB.

    python benchmarks/bootstrap_speed.py [--quick]
"""

import resource
import sys
import time

import numpy as np
import pandas as pd
from scipy import stats

from reports import bootstrap
from reports.hierarchy import design

TASKS, LENGTHS, QUESTIONS, DEPTHS = 17, (8192, 16384, 32768, 65536, 131072), 100, 6
ROWS = QUESTIONS * DEPTHS


def suite() -> pd.DataFrame:
    """Rows in the order task, length, question, depth."""
    cells = [(f"c{task % 5}", f"t{task}", "m", length) for task in range(TASKS) for length in LENGTHS]
    frame = pd.DataFrame(cells, columns=["category", "task", "metric", "length"]).loc[lambda x: x.index.repeat(ROWS)].reset_index(drop=True)
    number = np.tile(np.arange(ROWS), len(cells))
    return frame.assign(cluster=[f"q{n // DEPTHS}" for n in number], example_id=[f"e{n}" for n in number])


def main() -> None:
    resamples = 1_000 if "--quick" in sys.argv else 10_000
    rows = suite()
    rng = np.random.default_rng(0)
    baseline = (rng.random(len(rows)) < 0.7).astype(float)
    candidate = np.where(rng.random(len(rows)) < 0.1, 1 - baseline, baseline)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    seconds: dict[str, float] = {}
    for name, table in (("clustered", rows), ("unclustered", rows.assign(cluster=rows["example_id"]))):
        start = time.process_time()
        plan = design(table)
        seconds[f"design, {name}"] = time.process_time() - start
        start = time.process_time()
        draws = bootstrap.resampled(plan, (candidate - baseline)[:, None], resamples=resamples, rng=np.random.default_rng(1))
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        seconds[name] = time.process_time() - start
        del draws
        start = time.process_time()
        bootstrap.estimate(
            plan, (candidate - baseline)[:, None], resamples=resamples, confidence=0.95, rng=np.random.default_rng(1), interval="bca"
        )
        seconds[f"{name}, with BCa, permutation test and detectable effects"] = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    start = time.process_time()
    worst = 0.0
    ours = {(each.task, each.length): at for at, each in enumerate(plan.targets) if each.scope == "task"}
    for cell in range(len(rows) // ROWS):
        part = slice(cell * ROWS, (cell + 1) * ROWS)
        found = stats.bootstrap(
            (candidate[part], baseline[part]), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), paired=True, vectorized=True,
            n_resamples=resamples, method="percentile", rng=np.random.default_rng(2),
        )  # fmt: skip
        at = ours[rows["task"].iloc[part.start], int(rows["length"].iloc[part.start])]
        ends = abs(low[at, 0] - found.confidence_interval.low), abs(high[at, 0] - found.confidence_interval.high)
        worst = max(worst, max(ends) / found.standard_error)
    seconds["scipy.stats.bootstrap"] = time.process_time() - start

    for name, value in seconds.items():
        print(f"{name:62} {value:8.3f} s")
    ratio = seconds["scipy.stats.bootstrap"] / seconds["unclustered"]
    print(f"scipy / ours, the same unclustered resamples: {ratio:.0f}x")
    print(f"scipy / ours, clustered: {seconds['scipy.stats.bootstrap'] / seconds['clustered']:.0f}x")
    print(f"largest disagreement of an end: {worst:.2f} standard errors (Monte-Carlo error and steps of 1/600)")
    print(f"peak memory: {peak / 2**20:.2f} GiB in all, {(peak - before) / 2**20:.2f} GiB by the bootstrap")
    if ratio < 10 or peak > 2**20 or worst > (0.25 if resamples >= 10_000 else 0.5):
        sys.exit("bootstrap_speed: below its targets (10x, 1 GiB, agreement within 0.25 standard errors)")


if __name__ == "__main__":
    main()
