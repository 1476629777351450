"""How long does it take to build examples at 128K, measured in times of tokenising the finished prompts once?

    python benchmarks/build_suite.py --examples 100

One example is in memory at a time. Exit code 1 if any task takes more than three times as long.
"""

import resource
import sys
import time
from collections.abc import Callable

import click

from harness.engines.framing import rendered_prompt
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from tasks.build import Budget, build
from tasks.suite import TASKS

MOST = 3.0


@click.command()
@click.option("--length", default=131_072, show_default=True)
@click.option("--examples", default=12, show_default=True, help="Of each task.")
def main(length: int, examples: int) -> None:
    """Build every task's examples on the shipped tokenizer and print the ratios."""
    tokenizer = load_tokenizer(resolve("builtin"))
    tokenizer.model_max_length = 2 * length  # transformers warns of longer texts
    worst = 0.0

    def count(text: str, prefix: str) -> int:
        return len(tokenizer(rendered_prompt(tokenizer, text, prefix), add_special_tokens=False)["input_ids"])

    for name, task in TASKS.items():
        building, counting = measure(lambda task=task: build(task, Budget(length, count), examples, seed=0), count)
        worst = max(worst, building / counting)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        times = f"built in {building:6.1f} s, counted once in {counting:6.1f} s"
        click.echo(f"{name:16} {times}: ratio {building / counting:.2f}  (peak {peak:.0f} MiB)")
    click.echo(f"worst ratio {worst:.2f}, at most {MOST} is asked for")
    sys.exit(worst > MOST)


def measure(examples: Callable, count: Callable[[str, str], int]) -> tuple[float, float]:
    """CPU seconds to build the examples, and to count each finished prompt once."""
    counting = 0.0
    begun = time.process_time()
    for example in examples():
        start = time.process_time()
        count(example.prompt, example.answer_prefix)
        counting += time.process_time() - start
    return time.process_time() - begun - counting, counting


if __name__ == "__main__":
    main()
