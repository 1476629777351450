"""The price and the worth of an interval that may be looked at after every example.

Error rate: two equal models, 300 questions, a look after each; how often does 0 fall outside at any look? An ordinary 95% interval,
looked at in the same way, is shown beside it. Then, for a suite of 30 task-length groups, how wide it is and when it stops. Last,
`--stop-early` as it is wired (:mod:`reports.stopping`), bootstrap after the last question included, on eight tasks of 40 to 90 questions.

    python benchmarks/bootstrap_stopping.py [--quick]
"""

import math
import sys

import numpy as np
import pandas as pd

from reports import samples
from reports.compare import Comparison, compare_methods
from reports.hierarchy import Floats
from reports.sequential import limits
from reports.stopping import Stopping, look, plan_order

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


def suite(moved: float, rng: np.random.Generator) -> list[pd.DataFrame]:
    """Samples of two models; of the second, half the questions are right with a chance that is higher by twice ``moved``."""
    keys = [(task, question) for task in range(8) for question in range(90 if task == 0 else 40)]
    chance = rng.beta(2, 2, len(keys))
    same_text = dict.fromkeys(("run", "model_digest", "suite_digest", "backend", "output"), "")
    constant = {**same_text, "length": 512, "depth": 0.5, "metric": "em", "targets": "[]", "finish_reason": "stop"}
    constant |= dict.fromkeys(("prompt_tokens", "output_tokens", "truncated_tokens"), 1)
    tables = []
    for shift in (0.0, moved):
        right = rng.random(len(keys)) < np.clip(chance + shift * rng.choice([0, 2], len(keys)), 0, 1)
        names = [f"{task}-{question}" for task, question in keys]
        columns = {"task": [f"t{task}" for task, _ in keys], "category": [f"c{task}" for task, _ in keys], "cluster": names}
        tables.append(samples.validate(pd.DataFrame({**columns, "example_id": names, "score": right.astype(float)}).assign(**constant)))
    return [table.sort_values(list(samples.KEY), ignore_index=True) for table in tables]


def stopped(moved: float, seed: int, margin: float = 0.0) -> tuple[Comparison, float]:
    """What the report of one run claims, with this margin to stop and to call equal, and the share of the examples that it took."""
    base, candidate = suite(moved, np.random.default_rng([seed, int(1000 * abs(moved))]))
    order = plan_order(base, seed)
    number, looks = order.round_of(base), []
    mark = Stopping(order, order.rounds, order.examples, True)
    for rounds in order.looks(0.95):
        left, right = (table[number < rounds].reset_index(drop=True) for table in (base, candidate))
        looks.append(rounds)
        mark = Stopping(order, order.rounds, order.examples, True, tuple(looks))
        found = look(order, left, right, rounds, 0.95, margin)
        if found.decision:
            candidate = right
            mark = Stopping(order, rounds, len(right), False, tuple(looks), decision=found.decision)
            break
    both = compare_methods(base, {"a": mark.attach(candidate)}, common=True, resamples=500, seed=seed, margin=margin or math.nan)
    claims = both.methods["a"]
    return next(each for each in claims if each.scope == "overall" and each.length is None), len(candidate) / len(base)


def as_wired(runs: int) -> bool:
    """Print what happens with equal models and with ever larger differences; whether equal ones are told apart too often."""
    failed = False
    for moved in (0.0, -0.1, -0.2, -0.4):
        found = [stopped(moved, seed) for seed in range(runs)]
        claimed = float(np.mean([each.claim != 0 for each, _ in found]))
        shares = [share for _, share in found]
        truth = float(np.mean([each.delta for each, _ in found]))
        print(f"--stop-early, difference about {100 * truth:+5.1f} points: claimed in {claimed:.1%} of {runs} runs, "
              f"{np.mean(np.array(shares) < 1):.0%} stopped early, {np.mean(shares):.0%} of the examples asked", flush=True)  # fmt: skip
        failed |= moved == 0.0 and claimed > 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    return failed


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
    failed |= as_wired(sequences // 2)
    if failed:
        sys.exit("bootstrap_stopping: an error rate above its level")


if __name__ == "__main__":
    main()
