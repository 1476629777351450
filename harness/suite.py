"""The suite of one evaluation: every example, built once for a tokenizer and kept as a step. Models with one tokenizer share it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import Artifact, HarnessError, Json, Model
from harness.models import context_length, tokenizer_digest
from tasks.build import Budget, BudgetError, build
from tasks.example import Example, Task
from tasks.suite import CATEGORIES, TASKS, select

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.pipeline import Run

#: Raise when the same seed should give other examples than before.
VERSION: Final = 1
_FILE: Final = "examples.jsonl"


@dataclass(frozen=True)
class SuiteConfig:
    """Which examples to build."""

    tasks: tuple[str, ...]
    """Task or category names; empty for all."""
    lengths: tuple[int, ...]
    """Tokens for prompt and answer together."""
    examples: int
    """Of each task at each length."""
    seed: int
    clip: bool = False
    """Leave out lengths that the model cannot take, instead of refusing them."""
    think_tokens: int = 0
    """Room that a reasoning model needs beside the length."""


def chosen_tasks(names: Sequence[str]) -> tuple[Task, ...]:
    """The tasks by name or category."""
    try:
        return select(tuple(names))
    except KeyError as error:
        known = ", ".join((*CATEGORIES, *TASKS))
        raise HarnessError(f"unknown task {error.args[0]!r}; choose from {known}") from None


def prepare(run: "Run", config: SuiteConfig, model: Model) -> Artifact:
    """The step that holds the suite's examples; its facts hold their digest."""
    tasks = chosen_tasks(config.tasks)
    config = clipped(run, config, model)

    def write(work: Path) -> dict[str, Json]:
        examples = build_examples(config, load_tokenizer(model))
        return _write(work / _FILE, run.track("building examples", examples, total=len(tasks) * len(config.lengths) * config.examples))

    inputs: dict[str, Json] = {
        "tasks": [task.name for task in tasks],
        "lengths": list(config.lengths),
        "examples": config.examples,
        "seed": config.seed,
        "tokenizer": tokenizer_digest(model),
        "thinking": config.think_tokens > 0,
    }
    return run.step("suite", inputs, write, version=VERSION)


def clipped(run: "Run", config: SuiteConfig, model: Model) -> SuiteConfig:
    """``config`` with lengths that the model can take."""
    limit = context_length(model)
    if limit is not None:
        limit -= config.think_tokens
    if limit is None or max(config.lengths) <= limit:
        return config
    kept = tuple(length for length in config.lengths if length <= limit)
    if not config.clip or not kept:
        hint = "pass --clip to leave longer ones out" if kept else f"ask for --lengths {limit} or less"
        raise HarnessError(f"{model.name} takes at most {limit} tokens and --lengths asks for {max(config.lengths)}; {hint}")
    run.say(f"--clip: {model.name} takes at most {limit} tokens; left out: {', '.join(str(x) for x in config.lengths if x > limit)}")
    return replace(config, lengths=kept)


def load(suite: Artifact) -> Iterator[Example]:
    """The examples of a prepared suite."""
    with (suite.path / _FILE).open() as file:
        for line in file:
            record = json.loads(line)
            depth = float("nan") if record["depth"] is None else record["depth"]
            yield Example(**{**record, "targets": tuple(record["targets"]), "depth": depth})


def load_tokenizer(model: Model) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model.path, trust_remote_code=False)
    return tokenizer


def rendered_prompt(tokenizer: "PreTrainedTokenizerBase", text: str, prefix: str, *, thinking: bool = False) -> str:
    """What the model reads: one user turn in its chat template; without a template, the text and the answer's prefix.

    Templates that know ``enable_thinking`` get it; the others do not mind.
    """
    if tokenizer.chat_template is None:
        return text + prefix
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=thinking
    )
    assert isinstance(rendered, str)
    return rendered


def build_examples(config: SuiteConfig, tokenizer: "PreTrainedTokenizerBase") -> Iterator[Example]:
    """The examples of a suite, fitted to ``tokenizer``; one is in memory at a time."""
    tasks = chosen_tasks(config.tasks)
    for length in config.lengths:
        for task in tasks:

            def count(text: str, prefix: str = task.answer_prefix) -> int:
                rendered = rendered_prompt(tokenizer, text, prefix, thinking=config.think_tokens > 0)
                return len(tokenizer(rendered, add_special_tokens=tokenizer.chat_template is None)["input_ids"])

            try:
                yield from build(task, Budget(length, count), config.examples, config.seed)
            except BudgetError as error:
                raise HarnessError(str(error)) from None


def _write(path: Path, examples: Iterable[Example]) -> dict[str, Json]:
    digest = hashlib.sha256()
    written = 0
    with path.open("w") as file:
        for example in examples:
            record = asdict(example)
            record["depth"] = None if example.depth != example.depth else round(example.depth, 4)
            line = json.dumps(record, sort_keys=True)
            digest.update(line.encode() + b"\n")
            file.write(line + "\n")
            written += 1
    return {"digest": digest.hexdigest(), "examples": written}
