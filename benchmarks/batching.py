"""Length-sorted batches against one prompt at a time, which is how HELMET generates: the demo's suite on the shipped model.

    python benchmarks/batching.py            all tasks and lengths, 6 examples each: minutes on two cores
    python benchmarks/batching.py --quick    two tasks

Both sides run in this process on the same engine and the same prompts, in turns. Answers are compared too: padding may change the last
digits of a number, and with them an answer now and then. Exit code 1 if batches are not 1.5 times as fast.
"""

import json
import sys
import tempfile
from pathlib import Path

import click
from _sides import Clock, Recorder, batch_of, build_suite, evaluate_all, timed

from harness.config import load_preset, override
from harness.engines import open_engine
from harness.models import resolve

LEAST = 1.5


@click.command()
@click.option("--examples", default=6, show_default=True, help="Of each task at each length.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--quick", is_flag=True)
def main(examples: int, rounds: int, quick: bool) -> None:
    """Time both sides in turns and print the ratio."""
    model = resolve("builtin")
    chosen = {"tasks": ("niah_mk", "rag_qa"), "lengths": (512, 1024)} if quick else {}
    config = override(load_preset("builtin"), {**chosen, "examples": examples, "device": "cpu"}, {})
    with tempfile.TemporaryDirectory() as folder:
        suite = build_suite(Path(folder), model, config)
        lm = open_engine(model, config)
        recorder = lm._backend = Recorder(lm._backend)
        evaluate_all(lm, suite, Path(folder) / "journal", config.batch_tokens)  # warm up, and to have the prompts
        calls = list(recorder.calls)
        answers: dict[str, dict[str, str]] = {"batches": {}, "one by one": {}}

        def run(side: str, batch_tokens: int) -> None:
            for prompts in calls:
                for finished in recorder.backend.generate(prompts, batch_of(batch_tokens)):
                    answers[side].update({example: completion.text for example, completion in finished.items()})

        times: dict[str, list[Clock]] = {"batches": [], "one by one": []}
        for _ in range(rounds):
            times["batches"].append(timed(lambda: run("batches", config.batch_tokens)))
            times["one by one"].append(timed(lambda: run("one by one", 1)))
        lm.close()
    best = {side: min(each.wall for each in found) for side, found in times.items()}
    same = sum(answers["batches"][example] == answer for example, answer in answers["one by one"].items())
    ratio = best["one by one"] / best["batches"]
    print(
        json.dumps(
            {
                "prompts": len(answers["batches"]),
                "same_answers": same,
                "batches_seconds": round(best["batches"], 2),
                "one_by_one_seconds": round(best["one by one"], 2),
                "times_faster": round(ratio, 2),
            }
        )
    )
    print(f"batching: {ratio:.2f} times as fast; {same} of {len(answers['batches'])} answers are the same; at least {LEAST} is the goal")
    sys.exit(ratio < LEAST)


if __name__ == "__main__":
    main()
