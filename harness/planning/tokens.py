"""How many tokens an evaluation reads and writes, before anything is built."""

from math import ceil
from typing import Final

from harness.api import Work
from harness.evaluation.sources import find_source
from harness.evaluation.suite import clipped, suite_config
from harness.run import Run

#: A prompt of a reference point, which has a few passages and at most two worked examples.
_REFERENCE_TOKENS: Final = 1_024


def generation(run: Run) -> Work:
    """Count every example of every task and length, full to its length and with its whole answer budget."""
    config = clipped(run, suite_config(run.config), run.model)
    source = find_source(config.data, config.wording, config.edition)
    prompts = prefill = new = budget = passes = 0
    for task in source.tasks(config.tasks):
        for length in config.lengths:
            count = source.expected((task.name,), (length,), config.examples) * run.config.generations
            budget = max(budget, task.max_new_tokens + config.think_tokens)
            prompts, prefill, new = prompts + count, prefill + count * length, new + count * (task.max_new_tokens + config.think_tokens)
            rows = max(1, run.config.batch_tokens // length)
            passes += ceil(count / rows) * (task.max_new_tokens + config.think_tokens)
    longest = max(config.lengths) + config.think_tokens
    batch = max(run.config.batch_tokens, longest) + budget * max(1, run.config.batch_tokens // longest)
    in_flight = longest if run.config.backend == "vllm" else batch
    return Work("generate", prompts=prompts, prefill_tokens=prefill, new_tokens=new, passes=passes, in_flight=in_flight)


def reference_points(run: Run) -> Work:
    """Count every question with its gold passages alone, and without them."""
    config = clipped(run, suite_config(run.config), run.model)
    source = find_source(config.data, config.wording, config.edition)
    prompts = prefill = new = passes = longest = 0
    for task in source.tasks(config.tasks):
        for length in config.lengths:
            count = source.expected_references((task.name,), (length,), config.examples) * run.config.generations
            size, budget = min(length, _REFERENCE_TOKENS), task.max_new_tokens + config.think_tokens
            prompts, prefill, new = prompts + count, prefill + count * size, new + count * budget
            passes += ceil(count / max(1, run.config.batch_tokens // size)) * budget
            longest = max(longest, size + budget)
    in_flight = max(run.config.batch_tokens, longest)
    return Work("generate", prompts=prompts, prefill_tokens=prefill, new_tokens=new, passes=passes, in_flight=in_flight)
