"""Scores that are a model's opinion: NarrativeQA and summaries, as HELMET has a judge grade them.

The judge is asked through the same engines as the models that it judges. Each of its verdicts is on disk before the next batch, under the
digest of what was asked: the same answer to the same question is judged once in a run, whoever gave it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from harness.api import Artifact, HarnessError, Json, Model
from harness.config import RunConfig
from harness.context import settled
from harness.engines import generations, open_engine
from harness.engines.options import EngineConfig
from harness.evaluation.asking import ask
from harness.evaluation.server_steps import with_server
from harness.evaluation.sources import TaskInfo, find_source
from harness.files import digest
from harness.models.lookup import resolve
from harness.store.journal import Journal
from reports.comparable import JUDGED
from reports.safe import encodable
from tasks.example import Example
from tasks.files import write_text
from tasks.helmet import EVERY as DATASETS
from tasks.helmet import DataError
from tasks.helmet import judge_words as words_of
from tasks.helmet.judge_words import JudgeWords
from tasks.helmet.judged import MAX_NEW_TOKENS, TEMPERATURE, Call, calls, judgement
from tasks.judgements import Judgement

if TYPE_CHECKING:
    from harness.context import Run
    from harness.engines.lm import HarnessLM

#: Beside the samples: what the judge said of each answer.
JUDGEMENTS: Final = "judgements.jsonl"
#: Raise when the same answers should be judged anew.
VERSION: Final = 1
JOURNAL: Final = "verdicts.journal"
Points = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Judging:
    """Who judges, and how."""

    model: Model
    engine: EngineConfig
    words: JudgeWords
    tokens: int | None
    """A verdict's budget; None: as published."""

    @property
    def name(self) -> str:
        """Name the judge in a scorer's name: the model, in its words, and how it was asked."""
        shown = self.model.path.name if Path(self.model.name).is_dir() else self.model.name
        return f"{shown} {digest(self.inputs())[:12]}"

    def inputs(self) -> dict[str, Json]:
        """Say what can change a verdict."""
        return {
            "judge": self.model.digest,
            **self.engine.inputs(),
            "temperature": self.engine.temperature,
            "generations": self.engine.generations,
            "words": words_of.digest(self.words),
            "tokens": self.tokens,
        }


def judging(config: RunConfig) -> Judging | None:
    """Say who judges in a run with these settings; None if nobody does. HarnessError for a model that is not there."""
    from harness.helmet_files.where import judge_words

    if config.judge_model is None:
        return None
    served = config.judge_backend == "served"
    if served:
        model = Model(config.judge_model, Path(), digest({"served": config.judge_model}))
    else:
        model = resolve(config.judge_model, allow_unsafe_weights=config.allow_unsafe_weights)
    engine = EngineConfig(
        backend=config.judge_backend,
        device=config.device,
        batch_tokens=config.batch_tokens,
        temperature=TEMPERATURE,
        generations=config.judge_generations,
        url=config.judge_url,
        served_model=config.judge_model if served else "",
        served_api="chat" if served else "completions",
        concurrency=config.concurrency,
        timeout=config.timeout,
    )
    engine = settled(engine, model)
    return Judging(model, engine, judge_words(), config.judge_tokens)


def judge_calls(config: RunConfig) -> int:
    """Count the verdicts that one model's answers take with these settings, at most; 0 if nobody judges."""
    if config.judge_model is None:
        return 0
    source = find_source(config.data, config.wording, config.edition)
    tasks = [task for task in source.tasks(config.tasks) if task.opinion]
    each = {task.name: source.expected((task.name,), config.lengths, config.examples) for task in tasks}
    parts = {name: 3 if DATASETS[name].category == "summ" else 1 for name in each}
    return config.judge_generations * config.generations * sum(parts[name] * number for name, number in each.items())


def scorer(judging: Judging | None, task: TaskInfo) -> str:
    """Say what the judge adds to the name of the scorer of ``task``."""
    return f"{JUDGED}{judging.name}" if judging is not None and task.opinion else ""


def key_points(tasks: Sequence[TaskInfo]) -> dict[str, tuple[Points, str]]:
    """Find the key points of each task that is judged, and their file's digest. HarnessError where they are not on this machine."""
    from harness.helmet_files.where import key_points as of

    return {task.name: of(DATASETS[task.name]) for task in tasks if task.opinion}


@dataclass(frozen=True)
class Answer:
    """One answer that is to be judged."""

    example: Example
    name: str
    """What a journal calls it."""
    output: str


def judge(
    run: "Run", judging: Judging, generated: Artifact, tasks: Sequence[TaskInfo], answers: Callable[[], Iterator[Answer]]
) -> "Verdicts":
    """Find the verdicts on ``answers``, those to ``tasks`` in ``generated``: of a finished step, or asked for now."""
    points = key_points(tasks)
    files: dict[str, Json] = {name: found for name, (_, found) in points.items()}
    about: dict[str, Json] = {"of": {"generations": generated.key, "key points": files}, "seed": run.seed, **judging.inputs()}
    inputs = with_server(run, "judge", about, judging.engine, VERSION)

    def build(work: Path) -> dict[str, Json]:
        from harness.engines.lm import Batch

        asked = {call.key: (answer.example.task, call) for answer in answers() for call in _calls(judging, answer, points)}
        total = len(asked) * judging.engine.generations
        journal = Journal(work / JOURNAL)
        names = {name for key in asked for name in generations.names(key, judging.engine.generations, TEMPERATURE)}
        for folder in run.relatives("judge", inputs, apart_from="of", version=VERSION):
            found = Journal(folder / JOURNAL, read_only=True).finished
            journal.append({name: found[name] for name in sorted(names & found.keys() - journal.finished.keys())})
        taken = len(names & journal.finished.keys())
        if taken < total:
            run.say(f"{judging.model.name} judges: {total - taken:,} verdicts of {total:,}, the others are there")
            with closing(_open(judging)) as lm, run.bar(f"judging by {judging.model.name}", total) as advance:
                lm.journal, lm.batch, lm.advance, lm.seed = journal, Batch(judging.engine.batch_tokens, run.say), advance, run.seed
                _ask(lm, judging, list(asked.values()))
                lm.check_complete()
        return {"verdicts": total, "taken_over": taken, "judge_name": judging.model.name}

    return Verdicts(judging, run.step("judge", inputs, build, version=VERSION), points)


def _open(judging: Judging) -> "HarnessLM":
    if judging.engine.backend != "served":
        return open_engine(judging.model, judging.engine)
    from harness.engines.lm import HarnessLM
    from harness.engines.remote import Remote

    return HarnessLM(Remote(judging.model, judging.engine))


def _ask(lm: "HarnessLM", judging: Judging, asked: Sequence[tuple[str, Call]]) -> None:
    """Have the judge answer; its verdicts land in its journal."""
    for task, calls_of in groupby(asked, key=lambda pair: pair[0]):
        tokens = judging.tokens or MAX_NEW_TOKENS[task]
        how = TaskInfo(f"judge_{task}", "judge", (), tokens, chat=True)
        prompts = [Example(call.key, call.key, how.name, "judge", tokens, call.prompt, "", (), "", float("nan")) for _, call in calls_of]
        ask(lm, how, tokens, prompts, "chat", judging.engine)


def _calls(judging: Judging, answer: Answer, points: Mapping[str, tuple[Points, str]]) -> tuple[Call, ...]:
    task = answer.example.task
    try:
        return calls(DATASETS[task], answer.example, answer.output, judging.words, points[task][0])
    except DataError as error:
        raise HarnessError(str(error)) from None


@dataclass(frozen=True)
class Opinion:
    """What became of the verdicts on one answer."""

    score: float | None
    """The mean of the judgements that could be read; None if none could."""
    judgements: tuple[Judgement, ...]
    verdicts: tuple[Mapping[str, str], ...]
    """The judge's texts, by call, for each judgement."""

    @property
    def reason(self) -> str:
        """Why there is no score; empty where there is one."""
        if self.score is not None:
            return ""
        call, why = next(iter(self.judgements[0].unreadable.items()))
        return f"the verdict on {call} cannot be read: {why}"

    @property
    def parts(self) -> str:
        """The grades, for a person: "fluency 1, correctness 0.67"."""
        names = dict.fromkeys(name for each in self.judgements for name in each.parts)
        return ", ".join(f"{name} {fmean(each.parts[name] for each in self.judgements if name in each.parts):.3g}" for name in names)


class Verdicts:
    """The finished verdicts of a step, as opinions on answers."""

    def __init__(self, judging: Judging, artifact: Artifact, points: Mapping[str, tuple[Points, str]]) -> None:
        self.judge = judging
        self.key = artifact.key
        self._points = points
        self._opinions: list[tuple[Answer, Opinion]] = []
        self._texts = {name: found.output for name, found in Journal(artifact.path / JOURNAL, read_only=True).finished.items()}

    def opinion(self, answer: Answer) -> Opinion:
        """Read what the judge thinks of one answer."""
        task, count = answer.example.task, self.judge.engine.generations
        made = _calls(self.judge, answer, self._points)
        texts = tuple({call.part: self._texts[generations.name(call.key, number)] for call in made} for number in range(1, count + 1))
        found = tuple(judgement(DATASETS[task], answer.example, each, self._points[task][0]) for each in texts)
        scores = [each.score for each in found if each.score is not None]
        opinion = Opinion(fmean(scores) if scores else None, found, texts)
        self._opinions.append((answer, opinion))
        return opinion

    def write(self, path: Path) -> None:
        """Write every judgement of the opinions so far, a JSON line each, with the judge's own words."""
        lines = (json.dumps(record, ensure_ascii=False) for answer, opinion in self._opinions for record in _records(answer, opinion))
        write_text(path, "".join(f"{line}\n" for line in lines))


def _records(answer: Answer, opinion: Opinion) -> Iterator[dict[str, object]]:
    for number, (made, verdict) in enumerate(zip(opinion.judgements, opinion.verdicts, strict=True), 1):
        yield {
            "example_id": answer.example.id,
            "task": answer.example.task,
            "length": answer.example.length,
            "answer": answer.name,
            "judgement": number,
            "score": made.score,
            "parts": dict(made.parts),
            "unreadable": dict(made.unreadable),
            "verdicts": {part: encodable(text) for part, text in verdict.items()},
        }
