"""Examples to be looked at: the exact prompts of a suite, without a model's weights."""

import json
from collections.abc import Iterator
from typing import Final

from harness.api import HarnessError, Json, Model
from harness.engines.framing import frame_for, rendered_prompt
from harness.evaluation.sources import find_source
from harness.evaluation.suite import SuiteConfig, build_examples
from harness.models.tokenizers import load_tokenizer
from harness.models.tokens import token_ids
from tasks.example import Example
from tasks.helmet import LONGER

#: Characters of each end of a prompt that a terminal shows.
_ENDS: Final = 600


def whole_records(config: SuiteConfig) -> Iterator[dict[str, Json]]:
    """Build published examples as their files make them, whatever their length in anybody's tokens, which are not counted.

    HarnessError for sets whose contexts are cut in a model's tokens.
    """
    source = find_source(config.data, config.wording, config.edition)
    for length in config.lengths:
        for task in source.tasks(config.tasks):
            if task.name in LONGER:
                raise HarnessError(f"{task.name}: its contexts are cut in a model's tokens; name one with --model")
            for example in source.build(task.name, length, lambda text, prefix: 0, config.examples, config.seed):
                yield _record(example, None)


def records(config: SuiteConfig, model: Model) -> Iterator[dict[str, Json]]:
    """Build the examples of a suite one after another, each as a record of JSON, fitted to the tokens of ``model``.

    ``prompt`` is the text that HELMET would call its prompt, without a chat template, and ``answer_prefix`` what a completion goes on from.
    HELMET joins the two by a newline, so of published sets neither has it; of generated ones nothing stands between them.
    ``prompt_tokens`` counts both in the frame that the model gets them in.
    """
    tokenizer = load_tokenizer(model)
    chats = {task.name: task.chat for task in find_source(config.data, config.wording, config.edition).tasks(config.tasks)}
    for example in build_examples(config, tokenizer):
        frame = frame_for(config.framing, chat=chats[example.task], has_template=tokenizer.chat_template is not None)
        read = rendered_prompt(tokenizer, example.prompt, example.answer_prefix, frame=frame, thinking=config.think_tokens > 0)
        yield _record(example, len(token_ids(tokenizer, read)))


def _record(example: Example, tokens: int | None) -> dict[str, Json]:
    dropped = example.meta.get("dropped_tokens", 0)
    return {
        "id": example.id,
        "task": example.task,
        "length": example.length,
        "question": _question(example),
        "prompt": example.prompt,
        "answer_prefix": example.answer_prefix.removeprefix("\n") if "record" in example.meta else example.answer_prefix,
        "targets": list(example.targets),
        "depth": None if example.depth != example.depth else example.depth,
        "prompt_tokens": tokens,
        "dropped_tokens": dropped if isinstance(dropped, int) else 0,
    }


def _question(example: Example) -> str:
    """The question's own text; of generated tasks what stands last in the prompt, and nothing where HELMET asks for a summary."""
    if "record" in example.meta:
        return str(example.meta.get("question", ""))
    return example.prompt.rpartition("\n\n")[2]


def in_lines(record: dict[str, Json]) -> str:
    """Write a record for a terminal: what it is, both ends of its prompt, and how much lies between them."""
    prompt, prefix = str(record["prompt"]), str(record["answer_prefix"])
    hidden = len(prompt) - 2 * _ENDS
    shown = prompt if hidden <= 0 else f"{prompt[:_ENDS]}\n[... {hidden:,} characters ...]\n{prompt[-_ENDS:]}"
    depth = "" if record["depth"] is None else f", depth {record['depth']:.2f}"
    dropped = f", {record['dropped_tokens']:,} tokens left out" if record["dropped_tokens"] else ""
    size = f"{len(prompt):,} characters" if record["prompt_tokens"] is None else f"{record['prompt_tokens']:,} tokens"
    head = f"== {record['task']} at {record['length']} tokens: {record['id']} ({size}{depth}{dropped})"
    joint = "" if prefix.startswith((" ", "\n")) else "\n"
    return f"{head}\n{shown}{joint}{prefix}\n-- right: {json.dumps(record['targets'], ensure_ascii=False)}\n"
