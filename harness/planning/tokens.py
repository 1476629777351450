"""How many tokens an evaluation reads and writes, before anything is built."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final, TypeAlias

from harness.api import Work
from harness.config import RunConfig
from harness.context import Run
from harness.evaluation.sources import Source, find_source
from harness.evaluation.suite import SuiteConfig, clipped, suite_config

#: A prompt of a reference point, which has a few passages and at most two worked examples.
_REFERENCE_TOKENS: Final = 1_024
_Expected: TypeAlias = Callable[[Sequence[str], Sequence[int], int | None], int]


def generation(run: Run) -> Work:
    """Count every example of every task and length, full to its length and with its whole answer budget."""
    return generation_of(run.config, clipped(run, suite_config(run.config), run.model))


def generation_of(config: RunConfig, asked: SuiteConfig) -> Work:
    """Count the same of a suite, ``asked``, as the run's settings ask it."""
    cells = list(_cells(config, asked, lambda source: source.expected))
    longest = max(cell.length for cell in cells) + config.think_tokens
    batch = max(config.batch_tokens, longest) + max(cell.budget for cell in cells) * max(1, config.batch_tokens // longest)
    return _work(config, cells, longest if config.backend == "vllm" else batch)


def reference_points(run: Run) -> Work:
    """Count every question with its gold passages alone, and without them."""
    asked = clipped(run, suite_config(run.config), run.model)
    found = _cells(run.config, asked, lambda source: source.expected_references)
    cells = [replace(cell, length=min(cell.length, _REFERENCE_TOKENS)) for cell in found]
    return _work(run.config, cells, max(run.config.batch_tokens, *(cell.length + cell.budget for cell in cells)))


@dataclass(frozen=True)
class _Cell:
    """One task at one length."""

    prompts: int
    length: int
    """Tokens of each prompt."""
    budget: int
    """Tokens of each answer, thoughts included."""


def _cells(run: RunConfig, config: SuiteConfig, expected: Callable[[Source], _Expected]) -> Iterator[_Cell]:
    source = find_source(config.data, config.wording, config.edition)
    for task in source.tasks(config.tasks):
        for length in config.lengths:
            count = expected(source)((task.name,), (length,), config.examples) * run.generations
            yield _Cell(count, length, task.max_new_tokens + config.think_tokens)


def _work(config: RunConfig, cells: Sequence[_Cell], in_flight: int) -> Work:
    return Work(
        "generate",
        prompts=sum(cell.prompts for cell in cells),
        prefill_tokens=sum(cell.prompts * cell.length for cell in cells),
        new_tokens=sum(cell.prompts * cell.budget for cell in cells),
        passes=sum(ceil(cell.prompts / max(1, config.batch_tokens // cell.length)) * cell.budget for cell in cells),
        in_flight=in_flight,
    )
