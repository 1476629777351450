"""What the harness adds to generation: suite through lm-eval with the journal, against the same backend asked directly.

    python benchmarks/overhead.py            recall and RAG on the shipped model, two minutes on two cores
    python benchmarks/overhead.py --quick    half a minute, for a look

Both sides run in this process, one after the other and in turns, on the same engine with the same prompts in the same batches. The ratio
is of each side's fastest round, so that other work on the machine counts least. Exit code 1 if it is above 1.05.
"""

import json
import sys
import tempfile
from pathlib import Path

import click
from _sides import Clock, Recorder, batch_of, build_suite, evaluate_all, timed

from harness.config import load_preset, override
from harness.engines import open_engine
from harness.models.lookup import resolve

MOST = 1.05


@click.command()
@click.option("--examples", default=24, show_default=True, help="Of each task at each length.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--quick", is_flag=True)
def main(examples: int, rounds: int, quick: bool) -> None:
    """Time both sides in turns and print the ratios."""
    if quick:
        examples, rounds = 8, 3
    model = resolve("builtin")
    config = override(
        load_preset("builtin"), {"tasks": ("recall", "rag"), "lengths": (1024, 2048), "examples": examples, "device": "cpu"}, {}
    )
    with tempfile.TemporaryDirectory() as folder:
        suite = build_suite(Path(folder), model, config)
        lm = open_engine(model, config)
        recorder = lm._backend = Recorder(lm._backend)

        def through() -> None:
            recorder.calls.clear()
            evaluate_all(lm, suite, Path(folder) / "journal", config.batch_tokens)

        def directly() -> None:
            for prompts in list(recorder.calls):
                for _ in recorder.backend.generate(prompts, batch_of(config.batch_tokens)):
                    pass

        through(), directly()  # warm up
        times: dict[str, list[Clock]] = {"harness": [], "direct": []}
        for _ in range(rounds):
            times["harness"].append(timed(through))
            times["direct"].append(timed(directly))
        asked = sum(len(prompts) for prompts in recorder.calls)
        lm.close()
    best = {side: Clock(min(each.wall for each in found), min(each.own for each in found)) for side, found in times.items()}
    ratios = {"wall": best["harness"].wall / best["direct"].wall, "cpu": best["harness"].own / best["direct"].own}
    print(
        json.dumps(
            {
                "prompts": asked,
                "rounds": rounds,
                "harness_seconds": round(best["harness"].wall, 2),
                "direct_seconds": round(best["direct"].wall, 2),
                "ratio_wall": round(ratios["wall"], 3),
                "ratio_cpu": round(ratios["cpu"], 3),
            }
        )
    )
    print(f"overhead: {ratios['wall'] - 1:+.1%} of wall time, {ratios['cpu'] - 1:+.1%} of CPU time; at most {MOST - 1:.0%} is allowed")
    sys.exit(min(ratios.values()) > MOST)


if __name__ == "__main__":
    main()
