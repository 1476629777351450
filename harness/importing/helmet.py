"""Read the result files that HELMET's ``eval.py`` writes: one JSON object for each dataset, with ``args`` and a ``data`` list."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError, Json
from harness.evaluation.score_files import Output, read_json_file, read_outputs, score_outputs, thoughts_note
from harness.files import file_digest
from harness.importing.outputs import ImportedExample, Results
from tasks import records, scoring

if TYPE_CHECKING:
    from tasks.judges import Judge
    from tasks.modes import Mode

#: In its thinking mode HELMET adds these tokens to the length that was asked for.
_THINKING_TOKENS: Final = 32_768
#: Stored scores that differ by more were made by another version of the scorer.
_TOLERANCE: Final = 1e-6
#: More than any count of tokens, and within 64 bits.
_MOST_TOKENS: Final = 10**15


def read(directory: Path, mode: "Mode", judge: "Judge | None") -> Results:
    """Read every result in ``directory``, scored anew; ``notes`` say how often the stored scores differ from these."""
    if not directory.is_dir():
        raise HarnessError(f"{directory} is not a directory; give the one that HELMET's --output_dir named")
    notes: list[str] = []
    settings = {path: args for path in sorted(directory.glob("*.json")) if (args := _arguments(path)) is not None}
    if not settings:
        raise HarnessError(f"{directory} holds no HELMET results (*.json with 'args' and 'data'); give the one that --output_dir named")
    models = sorted({str(args["model_name_or_path"]) for args in settings.values()})
    if len(models) > 1:
        raise HarnessError(f"{directory} holds results of {len(models)} models ({', '.join(models)}); keep one model's in a directory")
    found: dict[tuple[str, int], Path] = {}
    examples: list[ImportedExample] = []
    for path, args in settings.items():
        task, length = str(args["datasets"]), _length(path, args)
        try:
            family = scoring.family(task)
        except scoring.UnknownTaskError:
            notes.append(f"{path.name} is skipped: no scorer for task {task!r}")
            continue
        if (task, length) in found:
            raise HarnessError(f"{path} and {found[task, length]} both hold {task} at {length} tokens; keep one of them")
        found[task, length] = path
        if family.judged and judge is None and "nocite" not in task:
            notes.append(f"{task}: citation scores are left out; --judge MODEL adds them")
        outputs = read_outputs(path)
        scored = score_outputs(task, outputs, mode, judge)
        if note := thoughts_note(outputs, mode):
            notes.append(f"{task}: {note}")
        notes += _remarks(task, family, outputs, scored, mode)
        examples += _examples(task, length, family, outputs, scored, args)
    if not examples:
        raise HarnessError(f"{directory}: none of the results can be scored; {notes[0]}")
    backend = "/".join(["helmet", mode, *([judge.name] if judge else [])])
    files: dict[str, Json] = {path.name: file_digest(path) for path in found.values()}
    return Results(models[0], backend, tuple(examples), files, tuple(notes))


def _arguments(path: Path) -> Mapping[str, object] | None:
    """The settings of a result; None for other JSON, such as what a model judge wrote beside it."""
    value = read_json_file(path)
    args = value.get("args") if isinstance(value, dict) and isinstance(value.get("data"), list) else None
    if not isinstance(args, dict) or "gpt4eval" in path.name:
        return None
    for field in ("datasets", "input_max_length", "model_name_or_path"):
        if field not in args:
            raise HarnessError(f"{path}: field 'args.{field}' is missing; results of HELMET's eval.py have it")
    return args


def _length(path: Path, args: Mapping[str, object]) -> int:
    length = args["input_max_length"]
    if isinstance(length, str) and length.isdecimal() and len(length) < len(str(_MOST_TOKENS)):
        length = int(length)
    if not isinstance(length, int) or isinstance(length, bool) or abs(length) > _MOST_TOKENS:
        raise HarnessError(f"{path}: field 'args.input_max_length' is {str(length)[:40]!r}, not a number of tokens")
    return length - (_THINKING_TOKENS if args.get("thinking") else 0)


def _examples(
    task: str,
    length: int,
    family: scoring.Family,
    outputs: Sequence[Output],
    scored: Sequence[scoring.Scored],
    args: Mapping[str, object],
) -> list[ImportedExample]:
    limit = args.get("generation_max_length")
    seen: Counter[str] = Counter()
    found = []
    for number, (each, scores) in enumerate(zip(outputs, scored, strict=True)):
        name = records.identity(each.record)
        cluster = str(each.record.get("question") or number if name is None else name)
        example_id = f"{cluster}-{seen[cluster]}"  # a question comes several times, with its gold at other depths
        seen[cluster] += 1
        written = _tokens(each.record, "output_len")
        found.append(
            ImportedExample(
                task=task,
                category=family.category,
                length=length,
                example_id=example_id,
                cluster=cluster,
                metrics={metric: scores.metrics[metric] for metric in family.headline if metric in scores.metrics},
                output=each.text,
                targets=_targets(each.record),
                prompt_tokens=_tokens(each.record, "input_len"),
                output_tokens=written,
                finish_reason="length" if isinstance(limit, int) and written >= limit else "stop",
            )
        )
    return found


def _remarks(task: str, family: scoring.Family, outputs: Sequence[Output], scored: Sequence[scoring.Scored], mode: str) -> list[str]:
    remarks = []
    empty = sum(bool(each.left_out) for each in scored)
    if empty:
        remarks.append(f"{task}: {empty} outputs without a sentence count as 0 for citations; the published mean leaves them out")
    if mode == "parity":
        for metric in family.headline:
            stored = [(each.record.get(metric), scores.metrics.get(metric)) for each, scores in zip(outputs, scored, strict=True)]
            pairs = [(old, new) for old, new in stored if isinstance(old, int | float) and new is not None]
            different = sum(not new - _TOLERANCE <= old <= new + _TOLERANCE for old, new in pairs)
            if different:
                remarks.append(f"{task}: {different} of {len(pairs)} stored values of {metric} differ from the scores given here")
    return remarks


def _targets(record: Mapping[str, object]) -> tuple[str, ...]:
    try:
        return tuple(records.golds(record, "answers", "answer", "outputs"))
    except records.FieldError:
        return ()


def _tokens(record: Mapping[str, object], field: str) -> int:
    value = record.get(field)
    return value if isinstance(value, int) and 0 <= value <= _MOST_TOKENS else 0
