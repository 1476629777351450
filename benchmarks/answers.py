"""How much processor time an answer takes that needs no model: help, a list, a typo; against importing click, in the same Python.

    .venv/bin/python benchmarks/answers.py --runs 5

Aims: `harness --help` at most 4 times, a typo at most 6 times. Processor time of the child alone, the least of so many runs: what else the
machine does is not in it. Exit code 1 where an aim is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

_CLICK: Final = ("-c", "import click")
_HARNESS: Final = ("-m", "harness.commands.root")
_TYPO: Final = 6.0
#: What is asked -> arguments, and the most times importing click.
ASKED: Final[dict[str, tuple[tuple[str, ...], float | None]]] = {
    "--help": (("--help",), 4.0),
    "run --help": (("run", "--help"), None),
    "runs list": (("runs", "list", "."), None),
    "unknown command": (("rnu",), _TYPO),
    "unknown option": (("run", "--model", "builtin", "--method", "retmask", "--lenghts", "1k"), _TYPO),
    "unknown method": (("run", "--model", "builtin", "--method", "retmsk"), _TYPO),
    "unknown preset": (("eval", "--model", "builtin", "--preset", "smal"), _TYPO),
    "unknown task": (("eval", "--model", "builtin", "--tasks", "recal"), _TYPO),
    "unknown key of --set": (("run", "--model", "builtin", "--method", "retmask", "--set", "treshold=1"), _TYPO),
    "length that is none": (("eval", "--model", "builtin", "--lengths", "1m"), _TYPO),
    "evaluation that is not": (("check", "--baseline", "runs/nothing", "--candidate", "runs/none"), _TYPO),
    "run that is not there": (("report", "runs/nothing"), _TYPO),
}


def seconds(arguments: Sequence[str], runs: int) -> float:
    """Measure the processor time of a Python that is started with these arguments, the least of so many runs."""
    least = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs):
            child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
            _, _, used = os.wait4(child.pid, 0)
            child.returncode = 0
            least = min(least, used.ru_utime + used.ru_stime)
    return least


def main() -> int:
    """Print the ratios; 1 if one is more than it may be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("names", nargs="*", help="Only these.")
    asked = parser.parse_args()
    click = seconds(_CLICK, asked.runs)
    print(f"importing click: {1000 * click:.0f} ms of processor time", flush=True)
    missed = False
    for name, (arguments, most) in ASKED.items():
        if asked.names and name not in asked.names:
            continue
        ratio = seconds((*_HARNESS, *arguments), asked.runs) / click
        missed |= most is not None and ratio > most
        aim = "" if most is None else f", at most {most:g}" + (": MISSED" if ratio > most else "")
        print(f"{name:24} {ratio:6.1f} times{aim}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
