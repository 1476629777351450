"""What the statistics promise, beside what they do: nominal and actual, on generators of more than one shape (:mod:`_worlds`).

| part | promise |
|-|-|
| intervals | 95% intervals of `compare` hold the true difference |
| page | a page of equal methods has no mark and no claim anywhere |
| ranks | rank ranges of a board hold the true ranks |
| check | a loss at the margin or beyond does not pass; one at the margin or within does not fail |
| power | a stated detectable effect is claimed as often as stated |
| seeds | intervals and claims about a method hold for other training seeds |
| stop | a run that may stop early errs no more often |
| history | intervals that use the difficulty of questions (`--history`) hold the true difference |

Every figure comes with its Monte-Carlo standard error; one that misses its aim by more than two is marked, and ends in exit code 1. A
bound that cannot be met whatever one does (0/1 scores move in steps) is met from the safe side: over-coverage is no failure.

    python benchmarks/promises.py --part ranks --minutes 10 --output promises.jsonl

counts on from what the file holds, ten minutes of processor time or up to `--experiments` a figure, and prints the table so far.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import _promises_compare as comparing
import _promises_decide as deciding
from _figures import HEAD, Figure, pooled, run
from _worlds import trusted

#: Part -> its figures, and experiments of each in full: 5 to 15 minutes on one core.
PARTS: Final[dict[str, tuple[Callable[[], Sequence[Figure]], int]]] = {
    "intervals": (comparing.intervals, 1000),
    "page": (comparing.pages, 300),
    "seeds": (comparing.seeds, 1000),
    "history": (comparing.histories, 1000),
    "ranks": (deciding.ranks, 200),
    "check": (deciding.checks, 200),
    "power": (deciding.powers, 1000),
    "stop": (deciding.stops, 300),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="Repeat it for several.  [default: all]")
    parser.add_argument("--experiments", type=int, help="Of each figure.  [default: 200 to 1,000, by part]")
    parser.add_argument("--minutes", type=float, default=15.0, help="Of processor time for each part.  [default: 15]")
    parser.add_argument("--output", type=Path, help="Where experiments are counted; the same file again goes on.")
    asked = parser.parse_args()
    print(HEAD)
    missed, unfinished = 0, []
    for part in asked.part or PARTS:
        make, full = PARTS[part]
        figures = make()
        with nullcontext() if part == "stop" else trusted():  # its tables are made elsewhere
            if not run(figures, part, asked.experiments or full, 60 * asked.minutes, asked.output):
                unfinished.append(part)
        for figure in figures:
            for row, bad in figure.rows(part) if figure.count else ():
                print(row, flush=True)
                missed += bad
        print("\n".join(pooled(figures, part)), flush=True)
    if unfinished:
        print(f"\nnot all experiments yet: {', '.join(unfinished)}; the same command with --output goes on")
    if missed:
        sys.exit(f"promises: {missed} figures miss their aims")


if __name__ == "__main__":
    main()
