"""The price and the worth of an interval that may be looked at after every example.

Error rate: two equal models, 300 questions, a look after each; how often does 0 fall outside at any look? An ordinary 95% interval,
looked at in the same way, is shown beside it. Then, for a suite of 30 task-length groups, how wide it is and when it stops.

    python benchmarks/bootstrap_stopping.py [--quick]
"""

import sys

import numpy as np

from reports.hierarchy import Floats
from reports.sequential import limits

ROUNDS, PARTS = 300, 30


def scores(sequences: int, parts: int, shift: float, rng: np.random.Generator) -> Floats:
    """0/1 differences: a fifth of the questions differ, more of them for the better by ``shift``; (sequences, rounds, parts), weighted."""
    change = [0.1 - shift / 2, 0.8, 0.1 + shift / 2]
    return rng.choice([-1.0, 0.0, 1.0], p=change, size=(sequences, ROUNDS, parts)) / parts


def fixed(parts: Floats) -> Floats:
    """Half widths of the ordinary interval after each round."""
    values, n = parts.sum(axis=2), np.arange(1, ROUNDS + 1)
    mean = values.cumsum(axis=1) / n
    return np.asarray(1.96 * np.sqrt(np.maximum((values**2).cumsum(axis=1) / n - mean**2, 0) / n))


def main() -> None:
    sequences = 100 if "--quick" in sys.argv else 1000
    rng = np.random.default_rng(0)
    failed = False
    for parts in (1, PARTS):
        null = scores(sequences, parts, 0.0, rng)
        low, high = limits(null, bound=1 / parts, planned=ROUNDS)
        error = float(((low > 0) | (high < 0)).any(axis=1).mean())
        mean = null.sum(axis=2).cumsum(axis=1) / np.arange(1, ROUNDS + 1)
        naive = float((np.abs(mean) > fixed(null))[:, 19:].any(axis=1).mean())
        print(
            f"{parts:3} groups: error rate over {ROUNDS} looks {error:.1%} (level 5%); ordinary interval from the 20th look on {naive:.1%}"
        )
        failed |= error > 0.05
        ratio = ((high - low) / 2 / np.maximum(fixed(null), 1e-12))[:, [49, 99, 199, 299]].mean(axis=0)
        print("            width relative to the ordinary interval after 50, 100, 200, 300 rounds: " + ", ".join(f"{r:.1f}" for r in ratio))
    for shift in (0.02, 0.05, 0.1):
        low, high = limits(scores(sequences, PARTS, shift, rng), bound=1 / PARTS, planned=ROUNDS)
        outside = low > 0
        stop = np.where(outside.any(axis=1), outside.argmax(axis=1) + 1, ROUNDS)
        print(f"true difference {100 * shift:4.1f} points, {PARTS} groups: found in {outside.any(axis=1).mean():.0%}, median stop after "
              f"{np.median(stop):.0f} of {ROUNDS} rounds")  # fmt: skip
        failed |= bool(((low > shift) | (high < shift)).any(axis=1).mean() > 0.05)
    if failed:
        sys.exit("bootstrap_stopping: an error rate above its level")


if __name__ == "__main__":
    main()
