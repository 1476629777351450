"""Suite x model -> samples table: answers through ``lm_eval.evaluate``, then their scores.

Two steps, so that scoring the same answers in another way generates nothing anew.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from harness.api import Artifact, HarnessError, Json, Model
from harness.config import RunConfig
from harness.engines import generations, open_engine
from harness.engines.framing import FRAMINGS, Framing, frame_for, template_digest, template_name
from harness.engines.options import EngineConfig
from harness.evaluation import judging as opinions
from harness.evaluation import lmeval_tasks as lmeval
from harness.evaluation.asking import GENERATION_VERSION, ask
from harness.evaluation.judging import Answer, Judging, Verdicts
from harness.evaluation.server_steps import with_server
from harness.evaluation.sources import GENERATED, Source, TaskInfo
from harness.evaluation.suite import infos, load, source_of
from harness.models import generation_config as decoding
from harness.models.tokenizers import load_tokenizer
from harness.store.journal import Generation, Journal
from harness.store.steps import begun
from reports import samples
from reports.safe import encodable
from tasks.example import Example
from tasks.helmet.judged import METRICS
from tasks.modes import Mode
from tasks.scoring import later_rules
from tasks.suite import EVERY

if TYPE_CHECKING:
    from harness.context import Run

#: Raise when the same answers should have other scores than before.
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
    judging: Judging | None = None
    """Who judges the prose of published data; None: nobody, and its other metrics are its scores."""


@dataclass(frozen=True)
class Part:
    """Some of a suite's examples, asked before the others."""

    inputs: Mapping[str, Json]
    """What says which, in the step's key."""
    examples: frozenset[str]
    """Their ids."""


def check(source: Source, tasks: Sequence[str], scoring: Scoring) -> None:
    """Raise HarnessError if what is asked for cannot be scored, before anything is generated."""
    chosen = source.tasks(tasks)
    if scoring.judging is not None:
        if not any(task.opinion for task in chosen):
            raise HarnessError(
                f"--judge-model {scoring.judging.model.name}: none of the tasks is judged by a model; ask for --data helmet with "
                f"--tasks {','.join(METRICS)}, or leave it out"
            )
        opinions.key_points(chosen)
    judged = [task.name for task in chosen if task.judged]
    if judged and scoring.judge is None:
        raise HarnessError(
            f"{', '.join(judged)}: citations need a judge; give --judge google/t5_xxl_true_nli_mixture (the published one, 11B), "
            "another NLI model, or exact-words for a try"
        )


def scoring(config: RunConfig) -> Scoring:
    """Say how a run's settings have answers scored."""
    return Scoring(config.scoring, config.judge, opinions.judging(config))


def evaluate(run: "Run", model: Model, suite: Artifact, engine: EngineConfig, scoring: Scoring, part: Part | None = None) -> Artifact:
    """Build the step that holds ``model``'s samples on ``suite``, or on a part of it."""
    facts = suite.facts
    source = source_of(suite)
    mode = scoring.mode or source.mode
    generated = _generate(run, model, suite, engine, part)
    verdicts = None if scoring.judging is None else _judged(run, scoring.judging, generated, suite, part)

    def build(work: Path) -> dict[str, Json]:
        frame = pd.DataFrame.from_records(list(_rows(generated, suite, source, mode, scoring, part, verdicts)))
        frame = frame.assign(model_digest=model.digest, suite_digest=str(facts["digest"]), backend=engine.backend)
        samples.write(frame, work / _FILE)
        once = frame.drop_duplicates("example_id")
        answers = frame.drop_duplicates(["example_id", "generation"]) if "generation" in frame.columns else once
        judged: dict[str, Json] = {}
        if verdicts is not None:
            verdicts.write(work / opinions.JUDGEMENTS)
            judged = {"judge_model": verdicts.judge.name, "unreadable": _unread(run, frame, verdicts)}
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
            **judged,
            "samples": samples.digest(samples.read(work / _FILE)),
        }

    inputs: dict[str, Json] = {"generations": generated.key, "suite": facts["digest"], "mode": mode, "judge": scoring.judge}
    if verdicts is not None:
        inputs["verdicts"] = verdicts.key
    if mode == "strict" and (rules := _rules(source, suite, generated)):
        inputs["rules"] = rules
    return run.step("eval", inputs, build, version=SCORING_VERSION)


def _rules(source: Source, suite: Artifact, generated: Artifact) -> list[Json]:
    """Name the strict rules that are younger than the scoring's version and touch these answers."""
    ours = source.name == GENERATED and all(task.name in EVERY for task in infos(suite))
    return [*later_rules((each.output for each in _finished(generated).values()), known_golds=ours)]


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
    chosen: dict[str, Json] = {} if part is None else {"part": dict(part.inputs)}
    asked = with_server(run, "generate", {**inputs, **chosen}, config, GENERATION_VERSION)
    inputs = {name: value for name, value in asked.items() if name != "part"}

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
            lm.notice = run.say
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


def read_samples(artifact: Artifact, name: str) -> pd.DataFrame:
    """Read the samples of a finished evaluation, labelled with the name this run gives it."""
    return samples.read(artifact.path / _FILE).assign(run=name)


def write_samples(table: pd.DataFrame, work: Path) -> None:
    """Write the samples of an evaluation's step."""
    samples.write(table, work / _FILE)


def suite_rows(suite: Artifact) -> pd.DataFrame:
    """List what a suite's samples table will have rows for where no model judges, with the columns that need no answer."""
    metrics = {task.name: task.metrics for task in infos(suite)}
    columns = ("category", "task", "metric", "length", "example_id", "cluster")
    rows = [
        (example.category, example.task, metric, example.length, example.id, example.cluster)
        for example in load(suite)
        for metric in metrics[example.task]
    ]
    return pd.DataFrame.from_records(rows, columns=list(columns))


def _judged(run: "Run", judging: Judging, generated: Artifact, suite: Artifact, part: Part | None) -> Verdicts | None:
    """The verdicts on the answers that a model judges; None if the suite has no such task."""
    tasks = [task for task in infos(suite) if task.opinion]
    if not tasks:
        return None
    names = {task.name for task in tasks}

    def answers() -> Iterator[Answer]:
        found = _finished(generated)
        for (task, _), examples in groups(suite, part):
            if task in names:
                yield from (Answer(example, name, found[name].output) for example, name in _given(generated, examples))

    return opinions.judge(run, judging, generated, tasks, answers)


def _unread(run: "Run", frame: pd.DataFrame, verdicts: Verdicts) -> int:
    """Count, and say, the scores that are missing for want of a readable verdict. HarnessError if all are."""
    reasons = frame[samples.UNREADABLE]
    unread = int((reasons != "").sum())
    if unread == len(frame):
        raise HarnessError(
            f"none of the verdicts of {verdicts.judge.model.name} can be read, such as on {frame['example_id'].iloc[0]}: "
            f"{reasons.iloc[0]}. The answers are kept; choose another --judge-model"
        )
    if unread:
        run.say(f"{unread} of {len(frame)} scores are missing, since the judge's verdicts on them cannot be read; no mean counts them")
    return unread


def _finished(generated: Artifact) -> dict[str, Generation]:
    return Journal(generated.path / _JOURNAL, read_only=True).finished


def _sampled(generated: Artifact) -> tuple[float, int]:
    """Temperature and number of the answers to each prompt."""
    temperature, count = generated.facts.get("temperature", 0.0), generated.facts.get("generations", 1)
    assert isinstance(temperature, float)
    assert isinstance(count, int)
    return temperature, count


def _given(generated: Artifact, examples: Sequence[Example]) -> list[tuple[Example, str]]:
    """Each answer's example, and what the journal calls it."""
    temperature, count = _sampled(generated)
    return [(example, name) for example in examples for name in generations.names(example.id, count, temperature)]


def _rows(
    generated: Artifact, suite: Artifact, source: Source, mode: Mode, scoring: Scoring, part: Part | None, verdicts: Verdicts | None
) -> Iterator[dict[str, object]]:
    from harness.evaluation.score_files import find_judge
    from tasks.records import FieldError

    facts = generated.facts
    answers = _finished(generated)
    judge = find_judge(scoring.judge, None)
    digest, think_tokens = facts["chat_template"], facts["think_tokens"]
    assert isinstance(digest, str | None)
    assert isinstance(think_tokens, int)
    temperature, count = _sampled(generated)
    for (name, length), examples in groups(suite, part):
        task = _info(source, name)
        frame = frame_for(_framing(suite), chat=task.chat, has_template=digest is not None)
        template = template_name(frame, digest, think_tokens)
        scorer = f"{mode}-{SCORING_VERSION}" + (f" {scoring.judge}" if task.judged else "") + opinions.scorer(scoring.judging, task)
        given = _given(generated, examples)
        pairs = [(example, lmeval.as_scored(example, answers[name].output, mode, frame)) for example, name in given]
        try:
            scored = source.score(task, length, pairs, mode, judge if task.judged else None)
        except FieldError as error:
            raise HarnessError(f"{pairs[error.index or 0][0].id}: {error}") from None
        for place, ((example, name), result) in enumerate(zip(given, scored, strict=True)):
            columns = {**_columns(example, answers[name]), "template": template, "scorer": scorer, "parsed": encodable(result.parsed)}
            if temperature:
                columns |= {"generation": place % count + 1, "temperature": temperature}
            if verdicts is not None:
                columns[samples.UNREADABLE] = ""
            if verdicts is None or not task.opinion:
                yield from ({**columns, "metric": metric, "score": result.metrics[metric]} for metric in task.metrics)
                continue
            opinion = verdicts.opinion(Answer(example, name, answers[name].output))
            columns |= {"parsed": opinion.parts, samples.UNREADABLE: encodable(opinion.reason)}
            yield {**columns, "metric": task.opinion, "score": float("nan") if opinion.score is None else opinion.score}


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
