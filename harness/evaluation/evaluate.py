"""Suite x model -> samples table: answers through ``lm_eval.evaluate``, then their scores.

Two steps, so that scoring the same answers in another way generates nothing anew.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from harness.api import Artifact, HarnessError, Json, Model
from harness.config import RunConfig
from harness.engines import generations, open_engine
from harness.engines.framing import FRAMINGS, Framing, frame_for, is_continued, rendered_prompt, template_digest, template_name
from harness.engines.options import EngineConfig
from harness.evaluation import lmeval_tasks as lmeval
from harness.evaluation.sources import Source, TaskInfo
from harness.evaluation.suite import infos, load, source_of
from harness.models import generation_config as decoding
from harness.models.tokenizers import load_tokenizer
from harness.store.journal import Generation, Journal
from harness.store.steps import begun
from reports import samples
from reports.safe import encodable
from tasks.example import Example
from tasks.modes import Mode

if TYPE_CHECKING:
    from harness.engines.lm import HarnessLM
    from harness.run import Run

#: Raise when the same inputs should give other answers, or other scores, than before.
GENERATION_VERSION: Final = 3
SCORING_VERSION: Final = 3
_JOURNAL: Final = "generations.journal"
_FILE: Final = "samples.parquet"


@dataclass(frozen=True)
class Scoring:
    """How answers are scored."""

    mode: Mode | None = None
    """``None``: parity for published data, strict for generated."""
    judge: str | None = None
    """Judge of the citations of published data: a model, or ``exact-words``."""


@dataclass(frozen=True)
class Part:
    """Some of a suite's examples, asked before the others."""

    inputs: Mapping[str, Json]
    """What says which, in the step's key."""
    examples: frozenset[str]
    """Their ids."""


def check(source: Source, tasks: Sequence[str], scoring: Scoring) -> None:
    """Raise HarnessError if what is asked for cannot be scored, before anything is generated."""
    judged = [task.name for task in source.tasks(tasks) if task.judged]
    if judged and scoring.judge is None:
        raise HarnessError(
            f"{', '.join(judged)}: citations need a judge; give --judge google/t5_xxl_true_nli_mixture (the published one, 11B), "
            "another NLI model, or exact-words for a try"
        )


def scoring(config: RunConfig) -> Scoring:
    """Say how a run's settings have answers scored."""
    return Scoring(config.scoring, config.judge)


def evaluate(run: "Run", model: Model, suite: Artifact, engine: EngineConfig, scoring: Scoring, part: Part | None = None) -> Artifact:
    """Build the step that holds ``model``'s samples on ``suite``, or on a part of it."""
    facts = suite.facts
    source = source_of(suite)
    mode = scoring.mode or source.mode
    generated = _generate(run, model, suite, engine, part)

    def build(work: Path) -> dict[str, Json]:
        frame = pd.DataFrame.from_records(list(_rows(generated, suite, source, mode, scoring.judge, part)))
        frame = frame.assign(model_digest=model.digest, suite_digest=str(facts["digest"]), backend=engine.backend)
        samples.write(frame, work / _FILE)
        once = frame.drop_duplicates("example_id")
        answers = frame.drop_duplicates(["example_id", "generation"]) if "generation" in frame.columns else once
        shorter = int((once["dropped_passages"] > 0).sum())
        if shorter:
            run.say(f"{shorter} of {len(once)} published prompts lost passages without an answer, so that they fit their length")
        totals = {name: int(answers[name].sum()) for name in ("prompt_tokens", "output_tokens", "thinking_tokens", "dropped_tokens")}
        return {
            "examples": len(once),
            "shortened": shorter,
            **totals,
            "mode": mode,
            "judge": scoring.judge,
            "samples": samples.digest(samples.read(work / _FILE)),
        }

    inputs: dict[str, Json] = {"generations": generated.key, "suite": facts["digest"], "mode": mode, "judge": scoring.judge}
    return run.step("eval", inputs, build, version=SCORING_VERSION)


def _generate(run: "Run", model: Model, suite: Artifact, config: EngineConfig, part: Part | None = None) -> Artifact:
    """The step that holds ``model``'s answers, every one on disk before the next batch starts."""
    facts = suite.facts
    examples = facts["examples"] if part is None else len(part.examples)
    assert isinstance(examples, int)
    total = examples * config.generations
    inputs: dict[str, Json] = {
        "model": model.digest,
        "suite": facts["digest"],
        "framing": _framing(suite),
        **config.inputs(),
        **(decoding.inputs(model.path) if config.backend == "hf" else {}),
    }
    sampling = config.sampling(run.seed)
    inputs |= sampling
    asked: dict[str, Json] = {**inputs, **({} if part is None else {"part": dict(part.inputs)})}

    def build(work: Path) -> dict[str, Json]:
        from harness.engines.lm import Batch

        source = source_of(suite)
        journal = _journal(run, work)
        others = run.relatives("generate", asked, apart_from="part", version=GENERATION_VERSION)
        if sampling:  # with more or fewer generations
            others += run.relatives("generate", asked, apart_from="generations", version=GENERATION_VERSION)
        known = _carry_over(others, journal, _wanted(suite, part, config))
        if known is not None and len(journal.finished) == total:
            return {**known, **sampling, "examples": total, "taken_over": total}
        aside = {} if config.backend == "served" else decoding.facts(model.path)
        if aside and (line := decoding.notice(model.path, config.temperature)):
            run.say(line)
        with closing(open_engine(model, config)) as lm, run.bar(f"evaluating {model.name}", total) as advance:
            lm.journal, lm.batch, lm.advance, lm.seed = journal, Batch(config.batch_tokens, run.say), advance, run.seed
            lm.known_answers = _answered(run.relatives("generate", inputs, apart_from="suite", version=GENERATION_VERSION))
            for (task, length), examples in groups(suite, part):
                ask(lm, _info(source, task), length, examples, _framing(suite), config)
            lm.check_complete()
        how: dict[str, Json] = {"chat_template": lm.chat_template_digest, "think_tokens": config.think_tokens, **aside}
        return {"examples": total, **how, **sampling, "taken_over": lm.taken_over, **lm.batch.facts()}

    return run.step("generate", asked, build, version=GENERATION_VERSION)


def _journal(run: "Run", work: Path) -> Journal:
    journal = Journal(work / _JOURNAL)
    if journal.damaged:
        run.say(f"{work / _JOURNAL}: {journal.damaged} damaged records are passed over; what is missing is generated again")
    return journal


def _answered(folders: Iterable[Path]) -> dict[tuple[str, str], Generation]:
    """What other evaluations of the same model have answered, by example id and request."""
    journals = (Journal(folder / _JOURNAL, read_only=True).finished for folder in folders)
    return {(example, found.request): found for finished in journals for example, found in finished.items() if found.request}


def _carry_over(folders: Iterable[Path], journal: Journal, wanted: frozenset[str] | None) -> dict[str, Json] | None:
    """Copy into ``journal`` what these steps hold of the same model's answers to the same suite, whole or a part of it.

    Returns the facts of a finished one, which all agree on how the model was asked; None if there is none.
    """
    known: dict[str, Json] | None = None
    for folder in folders:
        facts = begun(folder).get("facts")
        known = facts if isinstance(facts, dict) else known
        answers = Journal(folder / _JOURNAL, read_only=True).finished
        fresh = {name: found for name, found in answers.items() if name not in journal.finished and (wanted is None or name in wanted)}
        journal.append(fresh)
    return known


def groups(suite: Artifact, part: Part | None = None) -> Iterator[tuple[tuple[str, int], list[Example]]]:
    """Yield the examples of one task at one length after another: no more than those are in memory."""
    chosen = (example for example in load(suite) if part is None or example.id in part.examples)
    for key, examples in groupby(chosen, key=lambda example: (example.task, example.length)):
        yield key, list(examples)


def _info(source: Source, task: str) -> TaskInfo:
    return source.tasks((task,))[0]


def _framing(suite: Artifact) -> Framing:
    """The framing that the suite's prompts were fitted to."""
    facts = suite.facts
    framing = facts["framing"]
    assert framing in FRAMINGS
    return framing


def templates(suite: Artifact, model: Model, think_tokens: int) -> dict[str, str]:
    """Map each task to the ``template`` that ``model``'s samples of the suite will have, before anything is generated."""
    template = load_tokenizer(model).chat_template
    digest = None if template is None else template_digest(template)
    return {
        task.name: template_name(frame_for(_framing(suite), chat=task.chat, has_template=digest is not None), digest, think_tokens)
        for task in infos(suite)
    }


def _wanted(suite: Artifact, part: Part | None, config: EngineConfig) -> frozenset[str] | None:
    """What the answers to all of this are called; None for any answer to the suite."""
    if part is None and not config.temperature:
        return None
    examples = part.examples if part is not None else [example.id for example in load(suite)]
    return frozenset(name for example in examples for name in generations.names(example, config.generations, config.temperature))


def ask(lm: "HarnessLM", task: TaskInfo, length: int, examples: Sequence[Example], framing: Framing, engine: EngineConfig) -> None:
    """Have ``lm`` answer, through lm-eval; the answers land in its journal."""
    from lm_eval import evaluate as lm_evaluate
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager

    frame = frame_for(framing, chat=task.chat, has_template=lm.has_chat_template)
    until = task.until if is_continued(frame) else ()

    def render(example: Example) -> str:
        return rendered_prompt(lm.tokenizer, example.prompt, example.answer_prefix, frame=frame, thinking=engine.think_tokens > 0)

    config = {
        **lmeval.task_config(f"{task.name}_{length}", task.max_new_tokens, task.metrics, until, engine.temperature),
        "repeats": engine.generations,
        "custom_dataset": partial(lmeval.dataset, examples, render),
        "doc_to_text": lmeval.text,
        "doc_to_target": lmeval.target,
        "process_results": lambda document, results: {lmeval.MEAN: 0.0},  # scores come later, in batches
        "metric_list": [{"metric": lmeval.MEAN, "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": GENERATION_VERSION},
    }
    nothing = TaskManager(include_defaults=False)  # by default lm-eval reads the YAML of all its own tasks, for seconds
    # simple_evaluate would do the same, and each time list the machine's packages and devices, for more than a second
    lm_evaluate(lm, nothing.load([ConfigurableTask(config=config)]), bootstrap_iters=0, log_samples=False)


def read_samples(artifact: Artifact, name: str) -> pd.DataFrame:
    """Read the samples of a finished evaluation, labelled with the name this run gives it."""
    return samples.read(artifact.path / _FILE).assign(run=name)


def write_samples(table: pd.DataFrame, work: Path) -> None:
    """Write the samples of an evaluation's step."""
    samples.write(table, work / _FILE)


def suite_rows(suite: Artifact) -> pd.DataFrame:
    """List what a suite's samples table will have rows for, with the columns that need no answer."""
    metrics = {task.name: task.metrics for task in infos(suite)}
    columns = ("category", "task", "metric", "length", "example_id", "cluster")
    rows = [
        (example.category, example.task, metric, example.length, example.id, example.cluster)
        for example in load(suite)
        for metric in metrics[example.task]
    ]
    return pd.DataFrame.from_records(rows, columns=list(columns))


def _rows(
    generated: Artifact, suite: Artifact, source: Source, mode: Mode, judge_name: str | None, part: Part | None
) -> Iterator[dict[str, object]]:
    from harness.evaluation.score_files import find_judge
    from tasks.records import FieldError

    facts = generated.facts
    answers = Journal(generated.path / _JOURNAL, read_only=True).finished
    judge = find_judge(judge_name, None)
    digest, think_tokens = facts["chat_template"], facts["think_tokens"]
    assert isinstance(digest, str | None)
    assert isinstance(think_tokens, int)
    temperature, count = facts.get("temperature", 0.0), facts.get("generations", 1)
    assert isinstance(temperature, float)
    assert isinstance(count, int)
    for (name, length), examples in groups(suite, part):
        task = _info(source, name)
        frame = frame_for(_framing(suite), chat=task.chat, has_template=digest is not None)
        template = template_name(frame, digest, think_tokens)
        scorer = f"{mode}-{SCORING_VERSION}" + (f" {judge_name}" if task.judged else "")
        given = [(example, name) for example in examples for name in generations.names(example.id, count, temperature)]
        pairs = [(example, lmeval.as_scored(example, answers[name].output, mode, frame)) for example, name in given]
        try:
            scored = source.score(task, length, pairs, mode, judge if task.judged else None)
        except FieldError as error:
            raise HarnessError(f"{pairs[error.index or 0][0].id}: {error}") from None
        for place, ((example, name), result) in enumerate(zip(given, scored, strict=True)):
            columns = {**_columns(example, answers[name]), "template": template, "scorer": scorer, "parsed": encodable(result.parsed)}
            if temperature:
                columns |= {"generation": place % count + 1, "temperature": temperature}
            yield from ({**columns, "metric": metric, "score": result.metrics[metric]} for metric in task.metrics)


def _columns(example: Example, generation: Generation) -> dict[str, object]:
    return {
        "run": "",
        "task": example.task,
        "category": example.category,
        "length": example.length,
        "example_id": example.id,
        "cluster": example.cluster,
        "depth": example.depth,
        "output": encodable(generation.output),
        "targets": json.dumps(example.targets),
        "prompt_tokens": generation.prompt_tokens,
        "output_tokens": generation.output_tokens,
        "finish_reason": generation.finish_reason,
        "truncated_tokens": 0,
        "thinking": encodable(generation.thinking),
        "thinking_tokens": generation.thinking_tokens,
        "dropped_tokens": example.meta.get("dropped_tokens", 0),
        "dropped_passages": example.meta.get("dropped_passages", 0),
    }
