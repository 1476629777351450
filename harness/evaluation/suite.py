"""The suite of one evaluation: every example, built once for a tokenizer and kept as a step. Models with one tokenizer share it."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import Artifact, EvaluationSuite, HarnessError, Json, Model
from harness.config import RunConfig
from harness.context import Run
from harness.engines.framing import Frame, Framing, frame_for, rendered_prompt
from harness.evaluation.sources import GENERATED, Source, TaskInfo, find_source
from harness.models.footprint import context_length
from harness.models.lookup import tokenizer_digest
from harness.models.tokenizers import load_tokenizer
from harness.models.tokens import token_ids
from tasks.editions import EDITIONS, NEWEST, Edition
from tasks.example import Example
from tasks.files import open_bytes, read_lines
from tasks.remarks import Census, Place, sentences
from tasks.wording import WORDINGS, Wording

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


#: Raise when the same seed should give other examples than before.
VERSION: Final = 3
_FILE: Final = "examples.jsonl"


@dataclass(frozen=True)
class SuiteConfig:
    """Which examples to build."""

    tasks: tuple[str, ...]
    """Task or category names; empty for all."""
    lengths: tuple[int, ...]
    """Tokens for prompt and answer together."""
    examples: int | None
    """Of each task at each length; ``None`` for the source's own number (published data count questions)."""
    seed: int
    data: str = GENERATED
    """A source's name (:data:`harness.evaluation.sources.SOURCES`)."""
    clip: bool = False
    """Leave out lengths that the model cannot take, instead of refusing them."""
    think_tokens: int = 0
    """Room that a reasoning model needs beside the length."""
    framing: Framing = "task"
    """How prompts are put to the model, which their tokens depend on."""
    references: bool = False
    """Build the reference points of these examples' questions instead."""
    wording: Wording = "full"
    """Of generated tasks."""
    edition: Edition = NEWEST
    """Of HELMET's draws."""


def suite_config(config: RunConfig) -> SuiteConfig:
    """Say which suite a run's settings ask for."""
    return SuiteConfig(
        config.tasks,
        config.lengths,
        config.examples,
        config.seed,
        data=config.data,
        clip=config.clip,
        think_tokens=config.think_tokens,
        framing=config.suite_framing,
        wording=config.wording,
        edition=config.edition,
    )


def prepare(run: Run, config: SuiteConfig, model: Model) -> Artifact:
    """Build the step that holds the suite's examples; its facts hold their digest."""
    source = find_source(config.data, config.wording, config.edition)
    config = clipped(run, config, model)
    identity = source.identity(config.tasks, config.lengths)

    def write(work: Path) -> dict[str, Json]:
        examples = build_examples(config, load_tokenizer(model))
        count = source.expected_references if config.references else source.expected
        expected = count(config.tasks, config.lengths, config.examples)
        asked = {} if config.references else asked_for(source, config)
        census = Census()
        written = write_examples(work / _FILE, census.watch(run.track("building examples", examples, total=expected)))
        said: Any = census.remarks(asked)
        return {
            "data": config.data,
            "framing": config.framing,
            "wording": config.wording,
            **source.notes(),
            **{name: identity[name] for name in ("edition",) if name in identity},
            **written,
            **said,
        }

    inputs: dict[str, Json] = {
        "data": config.data,
        "tasks": [task.name for task in source.tasks(config.tasks)],
        "lengths": list(config.lengths),
        "examples": config.examples,
        "seed": config.seed,
        "tokenizer": tokenizer_digest(model),
        "thinking": config.think_tokens > 0,
        "framing": config.framing,
        **identity,
        **({"references": True} if config.references else {}),
    }
    before = len(run.steps)
    suite = run.step("suite", inputs, write, version=VERSION)
    if len(run.steps) > before:  # a method may ask for its suite again
        for sentence in remarks(suite):
            run.say(sentence)
    return suite


def asked_for(source: Source, config: SuiteConfig) -> dict[Place, int]:
    """Count the examples that ``config`` asks for, by task and length."""
    names = [task.name for task in source.tasks(config.tasks)]
    return {(name, length): source.expected((name,), (length,), config.examples) for length in config.lengths for name in names}


def remarks(suite: Artifact) -> list[str]:
    """Say what a reader of scores on a prepared suite has to know of its examples."""
    facts = suite.facts
    return sentences(facts)


def clipped(run: Run, config: SuiteConfig, model: Model) -> SuiteConfig:
    """Keep of ``config`` the lengths that the model can take."""
    kept = fitting(config, model)
    if kept == config.lengths:
        return config
    run.say(f"--clip: {model.name} cannot take all lengths; left out: {', '.join(str(x) for x in config.lengths if x not in kept)}")
    return replace(config, lengths=kept)


def fitting(config: SuiteConfig, model: Model) -> tuple[int, ...]:
    """Choose the lengths that the model can take. HarnessError if it cannot take all, unless ``clip`` leaves some out and some stay."""
    limit = context_length(model)
    if limit is not None:
        limit -= config.think_tokens
    if limit is None or max(config.lengths) <= limit:
        return config.lengths
    kept = tuple(length for length in config.lengths if length <= limit)
    if not config.clip or not kept:
        hint = "pass --clip to leave longer ones out" if kept else f"ask for --lengths {limit} or less"
        raise HarnessError(f"{model.name} takes at most {limit} tokens and --lengths asks for {max(config.lengths)}; {hint}")
    return kept


def is_suiteless(config: RunConfig, stage: str | None) -> bool:
    """Say whether a command needs no suite: a stage that trains on a file of pairs has nothing to keep clear of."""
    return stage is not None and bool(config.options.get("pairs_from"))


def asked_suite(run: Run) -> EvaluationSuite:
    """Give what a method of this run has to keep clear of: the evaluation's suite, built if need be."""
    built = prepare(run, suite_config(run.config), run.model)
    return EvaluationSuite(str(built.facts["digest"]), lambda: ((example.task, example.prompt) for example in load(built)))


def source_of(suite: Artifact) -> Source:
    """Say where the examples of a prepared suite come from."""
    facts = suite.facts
    wording, edition = facts["wording"], facts.get("edition", NEWEST)
    assert wording in WORDINGS
    assert edition in EDITIONS
    return find_source(str(facts["data"]), wording, edition)


def infos(suite: Artifact) -> tuple[TaskInfo, ...]:
    """Describe the tasks of a prepared suite."""
    inputs = suite.manifest["inputs"]
    assert isinstance(inputs, dict)
    names = inputs["tasks"]
    assert isinstance(names, list)
    return source_of(suite).tasks([str(name) for name in names])


def load(suite: Artifact) -> Iterator[Example]:
    """Read the examples of a prepared suite. HarnessError for a line that is none."""
    path, number = suite.path / _FILE, 0
    try:
        with open_bytes(path) as file:
            for line in read_lines(file, path):
                number += 1
                yield _example(line)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise HarnessError(f"{path}, line {number}: damaged; delete {suite.path} to have it rebuilt") from None
    except OSError as error:
        raise HarnessError(f"{path} cannot be read ({error.strerror}); delete {suite.path} to have it rebuilt") from None


def _example(line: bytes) -> Example:
    record = json.loads(line)
    depth = float("nan") if record["depth"] is None else record["depth"]
    return Example(**{**record, "targets": tuple(record["targets"]), "depth": depth})


def build_examples(config: SuiteConfig, tokenizer: "PreTrainedTokenizerBase") -> Iterator[Example]:
    """Build the examples of a suite, fitted to ``tokenizer``; one is in memory at a time."""
    source = find_source(config.data, config.wording, config.edition)
    for length in config.lengths:
        for task in source.tasks(config.tasks):
            frame = frame_for(config.framing, chat=task.chat, has_template=tokenizer.chat_template is not None)

            def count(text: str, prefix: str, frame: Frame = frame) -> int:
                rendered = rendered_prompt(tokenizer, text, prefix, frame=frame, thinking=config.think_tokens > 0)
                return len(token_ids(tokenizer, rendered))

            build = source.references if config.references else source.build
            yield from build(task.name, length, count, config.examples, config.seed)


def write_examples(path: Path, examples: Iterable[Example]) -> dict[str, Json]:
    """Write examples as JSONL, one in memory at a time; their digest and number."""
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
