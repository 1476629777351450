"""Read what ``lm_eval --log_samples --output_path`` writes: ``results_TIME.json`` and ``samples_TASK_TIME.jsonl``."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from harness.api import HarnessError, Json
from harness.evaluation.lmeval_tasks import MEAN
from harness.evaluation.score_files import read_json_file, read_json_lines
from harness.files import file_digest
from harness.importing.outputs import ImportedExample, Results
from tasks import scoring

_SAMPLES: Final = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")
#: A task name may end with its context length: ``helmet_recall_8k``, ``niah_mk_4096``. A bare number has to be one of 1,024 tokens each:
#: ``exam_2022`` names a year.
_SIZED: Final = re.compile(r"(?P<task>.+)_(?P<number>\d+)(?P<thousand>k?)")
#: ``results_TIME.json``, or ``NAME_TIME.json`` where ``--output_path`` ended in ``NAME.json``.
_RESULTS: Final = re.compile(r"results_.*\.json|.+_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?\.json")
#: A metric whose name is a context length, as in lm-eval's RULER.
_LENGTH: Final = re.compile(r"\d{1,9}")
_UNIT: Final = 1_024


@dataclass(frozen=True)
class _Row:
    """What one line of a samples file says of one example."""

    example: ImportedExample
    filtered: object
    """The name of the filter that the answer went through, where the file says it."""
    place: str


def read(directory: Path, length: int | None, model_name: str | None = None) -> Results:
    """Read the latest samples of every task below ``directory``, with lm-eval's own scores.

    ``model_name`` is the model's where no results say it, as where the samples are all that was kept.
    """
    latest: dict[str, tuple[str, Path]] = {}
    notes: list[str] = []
    for path in sorted(directory.rglob("samples_*.jsonl")):
        found = _SAMPLES.fullmatch(path.name)
        if found is None:
            notes.append(f"{path.name} is skipped: its name is not samples_TASK_TIME.jsonl")
        elif found["task"] not in latest or latest[found["task"]][0] < found["time"]:
            latest[found["task"]] = found["time"], path
    if not latest:
        raise HarnessError(f"{directory} holds no samples_TASK_TIME.jsonl; run lm_eval with --log_samples --output_path {directory}")
    model, worse = _results(directory, model_name)
    rows: list[_Row] = []
    read = 0
    for task, (_, path) in latest.items():
        samples = read_json_lines(path)
        metrics = _metrics(task, samples, worse.get(task, frozenset()), notes)
        if not samples:
            notes.append(f"{path.name} is empty")
        elif not any(_list(sample.get("metrics")) for sample, _ in samples):
            notes.append(f"{path.name} has no list of metrics in its rows, which later versions of lm-eval write: evaluate again with one")
        made = [[_Row(each, sample.get("filter"), place) for each in _examples(task, sample, place, metrics, length)]
                for sample, place in samples]  # fmt: skip
        read += len(samples)
        if empty := sum(not each for each in made):
            notes.append(f"{task}: {empty} of {len(samples)} rows have no metric that can be imported")
        rows += [row for each in made for row in each]
    if not rows:
        raise HarnessError(f"{directory}: no metric can be imported; {'; '.join(notes)}")
    examples = list(_merged(rows))
    notes.append(f"{read:,} rows of {len(latest)} {'task' if len(latest) == 1 else 'tasks'} became {len(examples):,} examples")
    files: dict[str, Json] = {path.name: file_digest(path) for _, path in latest.values()}
    return Results(model, "lm-eval", tuple(examples), files, tuple(notes))


def _results(directory: Path, model_name: str | None) -> tuple[str, Mapping[str, frozenset[str]]]:
    """The model's name, and for each task the metrics of which less is better."""
    paths = sorted(path for path in directory.rglob("*.json") if _RESULTS.fullmatch(path.name))
    found = [value for path in paths if isinstance(value := read_json_file(path), dict)]
    models = sorted({name for value in found if (name := _model_name(value))})
    if model_name is not None:
        models = [model_name]
    if not models:
        raise HarnessError(
            f"{directory} holds no results_TIME.json (or NAME_TIME.json) with a 'model_name'; give the directory that --output_path named, "
            "or say whose samples these are with --model-name"
        )
    if len(models) > 1:
        raise HarnessError(f"{directory} holds results of {len(models)} models ({', '.join(models)}); give the directory of one of them")
    worse: dict[str, frozenset[str]] = {}
    for value in found:
        table = value.get("higher_is_better")
        for task, better in table.items() if isinstance(table, dict) else ():
            if isinstance(better, dict):
                worse[str(task)] = frozenset(str(name) for name, higher in better.items() if higher is False)
    return models[0], worse


def _model_name(results: Mapping[str, object]) -> str:
    config = results.get("config")
    return str(results.get("model_name") or (config.get("model") if isinstance(config, dict) else None) or "")


def _metrics(task: str, samples: Sequence[tuple[dict[str, object], str]], worse: frozenset[str], notes: list[str]) -> list[str]:
    """The metrics that are shares, more being better; ``notes`` gets the others."""
    names = dict.fromkeys(str(name) for sample, _ in samples for name in _list(sample.get("metrics")))
    kept = []
    for name in names:
        values = [sample[name] for sample, _ in samples if name in sample]
        numbers = [value for value in values if isinstance(value, int | float)]
        absent = {-1} if _LENGTH.fullmatch(name) else set()  # RULER's mark for "another length"
        if name in worse or len(numbers) < len(values) or not all(0 <= value <= 1 or value in absent for value in numbers):
            reason = "less is better" if name in worse else "not every value is in [0, 1]"
            notes.append(f"{task}: metric {name} is left out: {reason}")
        else:
            kept.append(name)
    return kept


def _examples(task: str, sample: dict[str, object], place: str, metrics: Sequence[str], length: int | None) -> Iterator[ImportedExample]:
    """One example, or one for each length where a metric's name is the length, as in lm-eval's RULER."""
    doc = sample.get("doc")
    document: Mapping[str, object] = doc if isinstance(doc, dict) else {}
    ours = _own_example(document)
    scores = {name: float(value) for name in metrics if isinstance(value := sample.get(name), int | float) and not (ours and name == MEAN)}
    base, sized = _name_and_length(task)
    lengths = {int(name): {"ruler_recall": score} for name, score in scores.items() if _LENGTH.fullmatch(name) and score >= 0}
    if not lengths:
        base, sized = (task, None) if length is not None and not ours else (base, sized)
        known = next((value for value in (ours.get("length"), length, sized, document.get("max_length")) if isinstance(value, int)), None)
        if known is None:
            raise HarnessError(f"{place}: the context length of task {task} is not known; give it with --length")
        lengths = {known: {name: score for name, score in scores.items() if not _LENGTH.fullmatch(name)}}
    name = str(ours["id"]) if ours else _identity(sample, document, place)
    shared = next((value for value in (ours.get("cluster"), document.get("qid"), document.get("id")) if value is not None), name)
    depth = ours.get("depth")
    for tokens, values in lengths.items():
        if values:
            yield ImportedExample(
                task=str(ours.get("task") or base),
                category=str(ours.get("category") or _category(base, task)),
                length=tokens,
                example_id=name,
                cluster=str(shared),
                metrics=_named(values, sample.get("filter")),
                output=_output(sample),
                targets=_targets(ours.get("targets"), sample.get("target")),
                depth=float(depth) if isinstance(depth, int | float) and 0 <= depth <= 1 else math.nan,
                content=str(sample.get("doc_hash") or ""),
            )


def _identity(sample: Mapping[str, object], document: Mapping[str, object], place: str) -> str:
    """What lm-eval numbers a document by, and only where it does not, the document's own ``id``, which several may share."""
    found = next((value for value in (sample.get("doc_id"), document.get("id")) if value is not None), None)
    if found is None:
        raise HarnessError(f"{place}: neither doc_id nor doc.id says which document this is")
    return str(found)


def _merged(rows: Sequence[_Row]) -> Iterator[ImportedExample]:
    """lm-eval repeats a document for every filter; its metrics belong to one example, under the filter's name where names collide.

    HarnessError for two documents that are called alike, and for one that went through a filter twice.
    """
    groups: dict[tuple[str, int, str], list[_Row]] = {}
    for row in rows:
        groups.setdefault((row.example.task, row.example.length, row.example.example_id), []).append(row)
    for group in groups.values():
        first = group[0]
        for row in group[1:]:
            if row.example.content != first.example.content:
                raise HarnessError(
                    f"{row.place}: document {row.example.example_id} is another one than in {first.place}; keep one result in a folder"
                )
        filters = [row.filtered for row in group if row.filtered is not None]
        if len(set(map(str, filters))) < len(filters):
            raise HarnessError(f"{group[1].place}: document {first.example.example_id} is there already, in {first.place}; keep it once")
        metrics: dict[str, float] = {}
        for number, row in enumerate(group, 1):
            for name, score in row.example.metrics.items():
                bare = name.partition(",")[0]
                unnamed = bare if number == 1 else f"{bare},{number}"
                metrics[bare if len(group) == 1 else name if row.filtered is not None else unnamed] = score
        yield replace(first.example, metrics=metrics)


def _named(values: Mapping[str, float], filtered: object) -> dict[str, float]:
    return {f"{name},{filtered}" if filtered else name: score for name, score in values.items()}


def _own_example(document: Mapping[str, object]) -> Mapping[str, object]:
    """This harness's tasks for lm-eval carry the whole example as JSON text."""
    text = document.get("example")
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and {"id", "task", "category", "length"} <= set(value) else {}


def _name_and_length(task: str) -> tuple[str, int | None]:
    found = _SIZED.fullmatch(task)
    if found is None:
        return task, None
    number = int(found["number"]) * (1024 if found["thousand"] else 1)
    return (found["task"], number) if number and number % _UNIT == 0 else (task, None)


def _category(*names: str) -> str:
    """The category of the first name that a scorer knows; a task that none knows is its own category."""
    for name in names:
        try:
            return scoring.family(name).category
        except scoring.UnknownTaskError:
            continue
    return names[0]


def _output(sample: Mapping[str, object]) -> str:
    """The first text among the filtered responses; what is no text, such as log-likelihoods, as JSON."""
    value = sample.get("filtered_resps")
    while isinstance(value, list) and len(value):
        value = value[0]
    return value if isinstance(value, str) else json.dumps(sample.get("filtered_resps"))


def _targets(ours: object, target: object) -> tuple[str, ...]:
    if isinstance(ours, list):
        return tuple(str(item) for item in ours)
    return () if target is None else (str(target),)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
