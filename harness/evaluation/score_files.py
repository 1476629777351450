"""Scoring of outputs that exist already, in HELMET's result files or JSON lines."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError
from tasks.files import LARGEST_TEXT, read_text, replacing

if TYPE_CHECKING:
    from tasks.judges import Judge
    from tasks.modes import Mode
    from tasks.scoring import Scored

#: The judge that needs no model.
EXACT_WORDS: Final = "exact-words"
#: Metrics that are no share.
COUNTS: Final = frozenset({"length", "num_preds"})


@dataclass(frozen=True)
class Output:
    """A record, what a model wrote to it, and where the two stand."""

    record: dict[str, object]
    text: str
    place: str
    """File and line, or file and position in its ``data`` list."""


def score_outputs(task: str, outputs: Sequence[Output], mode: "Mode", judge: "Judge | None", sentences: str = "default") -> "list[Scored]":
    """Score ``outputs``, in order. Raises HarnessError with file, line and field."""
    from tasks import records, scoring

    try:
        return scoring.score_all(task, [(each.record, each.text) for each in outputs], mode=mode, judge=judge, sentences=sentences)
    except records.FieldError as error:
        place = outputs[error.index].place if error.index is not None else task
        raise HarnessError(f"{place}: {error}") from None


def thoughts_note(outputs: Sequence[Output], mode: "Mode") -> str:
    """Say how many outputs hold a reasoning model's thoughts, and what became of them; empty if none does."""
    from tasks.thoughts import holds_thoughts

    many = sum(holds_thoughts(each.text) for each in outputs)
    done = "read as answers, as the published scorers do; --mode strict cuts them off" if mode == "parity" else "cut off"
    return f"{many} of {len(outputs)} outputs hold thoughts, which are {done}" if many else ""


def find_judge(name: str | None, cache: Path | None) -> "Judge | None":
    """Find the judge that ``--judge`` names, with its verdicts kept."""
    import sqlite3

    from tasks.judges import Cached, ExactWords

    if name is None:
        return None
    if name == EXACT_WORDS:
        return ExactWords()
    from harness.evaluation.nli_judge import NliJudge

    try:
        return Cached(NliJudge(name), cache)
    except (sqlite3.Error, OSError) as error:
        raise HarnessError(f"{cache} cannot keep verdicts ({error}); name another file with --judge-cache") from None


def means(scored: "Sequence[Scored]") -> str:
    """Make a line for each metric: its mean times 100 (counts as they are), over the outputs that it does not leave out."""
    names = dict.fromkeys(name for each in scored for name in each.metrics)
    lines = []
    for name in names:
        values = [each.metrics[name] for each in scored if name in each.metrics and name not in each.left_out]
        mean = sum(values) / len(values) if values else 0.0
        shown = mean if name in COUNTS else 100 * mean
        lines.append(f"{name:<24}{shown:8.2f}   of {len(values)}")
    return "\n".join(lines)


def read_outputs(path: Path) -> list[Output]:
    """Read the records of a HELMET result or of JSON lines, with their outputs."""
    text = _read(path)
    found = _result(path, text)
    if found is None:
        found = _lines(path, text)
    if not found:
        raise HarnessError(f"{path} holds no records; it has to be a HELMET result or JSON lines")
    return [Output(record, _output(record, place), place) for record, place in found]


def read_json_lines(path: Path) -> list[tuple[dict[str, object], str]]:
    """Read the objects of a JSON-lines file, each with its place."""
    return _lines(path, _read(path))


def read_json_file(path: Path) -> object:
    """Read the value that a JSON file holds."""
    try:
        value: object = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise HarnessError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}); the file is cut off or damaged") from None
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{path}: not usable JSON ({error}); the file is damaged") from None
    return value


def _read(path: Path) -> str:
    try:
        return read_text(path, LARGEST_TEXT, "utf-8-sig")
    except OSError as error:
        raise HarnessError(f"{path} cannot be read ({error.strerror}); name a file that is there") from None
    except UnicodeDecodeError as error:
        raise HarnessError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None


def _lines(path: Path, text: str) -> list[tuple[dict[str, object], str]]:
    places = [(f"{path}, line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [(_record(line, place), place) for place, line in places]


def _result(path: Path, text: str) -> list[tuple[dict[str, object], str]] | None:
    """The records of a result file; None if ``text`` is not one JSON object with a ``data`` list."""
    if text.split("\n", 1)[0].strip() == "{":  # written with indentation, as HELMET does: no JSON lines
        value = read_json_file(path)
    else:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
    data = value.get("data") if isinstance(value, dict) and "output" not in value else None
    if not isinstance(data, list):
        return None
    places = [f"{path}, data[{number}]" for number in range(len(data))]
    for record, place in zip(data, places, strict=True):
        if not isinstance(record, dict):
            raise HarnessError(f"{place} is not a JSON object; a HELMET result holds one for each example")
    return list(zip(data, places, strict=True))


def _record(line: str, place: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except RecursionError:
        raise HarnessError(f"{place}: nested too deeply; write one flat JSON object a line") from None
    except ValueError as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise HarnessError(f"{place}: not valid JSON ({reason}); mend or remove the line, one JSON object each") from None
    if not isinstance(record, dict):
        raise HarnessError(f"{place}: not a JSON object; write one record with an 'output' a line")
    return record


def _output(record: dict[str, object], place: str) -> str:
    output = record.get("output")
    if isinstance(output, str):
        return output
    problem = "missing" if "output" not in record else "null" if output is None else "not text"
    raise HarnessError(f"{place}: field 'output' is {problem}; it holds what the model wrote (write \"\" for nothing)")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file as a whole or not at all. HarnessError where that cannot be."""
    try:
        with replacing(path, durable=False) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise HarnessError(f"cannot write {path} ({error.strerror}); name another file with --output") from None
