"""What each command is for: `harness --help` shows these without loading any. A test holds them against the commands' own words."""

from collections.abc import Mapping
from typing import Final

#: Name -> the first paragraph of its help.
SUMMARIES: Final[Mapping[str, str]] = {
    "baseline": "Baselines for `harness check`: save.",
    "check": "Is the candidate no worse than the baseline? Exit code 0: yes. 1: it regressed. 4: too little data to decide. 2: bad input.",
    "compare": "Compare evaluations of the same examples; the first is the baseline, the second method is set against each later one.",
    "data": "HELMET's published files, for --data helmet.",
    "detectors": "What scores heads, for `harness heads detect --detector`.",
    "engines": "What answers, for --backend; of the one called NAME every setting of a preset's [run] table.",
    "eval": "Evaluate one model.",
    "heads": "Retrieval heads: detect, show, compare, audit, ablate.",
    "import": "Turn finished results of HELMET or lm-eval into runs that can be compared and ranked.",
    "judge": "Hold a judge's scores against people's. `harness eval --judge-model` has answers judged.",
    "leaderboard": "Rank evaluations, with a range of ranks for each; only comparable ones are ranked together.",
    "methods": "The methods for --method; of the one called NAME every key that --set takes.",
    "models": "The models that can be named with --model, and what of models the cache holds.",
    "pairs": "Sample chosen and rejected answers, and pair them.",
    "plan": "What a run would do: steps, what is there already, tokens, memory, time. Nothing is computed but a short probe.",
    "power": "Say how likely an effect is found, over numbers of questions, generations and training seeds, and what to buy next.",
    "presets": "The settings that ship with the project, for --preset; the file of the one called NAME.",
    "relate": "Relate gain to sparsity over finished runs of `harness run`: rank correlation, and a line with its interval.",
    "report": "Write the HTML report of a finished run: verdict, intervals, curves, heads, and every single example.",
    "reproduce": "Do a finished run again, from its manifest, and compare every sample. "
    "Exit code 0: equal; 1: different; 2: it cannot be done.",
    "run": "Evaluate, apply each method, evaluate again, and compare.",
    "runs": "List run directories, look into one, verify that nothing is damaged, and free what nothing needs.",
    "samples": "Print or write an evaluation's samples: a row for each example and metric, with score, output and right answers.",
    "score": 'Score outputs that exist already, one JSON line each: {"id": ..., "metrics": {...}}.',
    "tasks": "The tasks: list them, look at what they ask, or use them from lm-eval's own command line.",
    "train": "Train on a method's pairs, sampling first what is missing of them.",
}
