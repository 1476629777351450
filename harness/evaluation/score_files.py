"""``harness score``: score outputs that exist already (entry-point group ``harness.commands``)."""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import click

from harness.api import HarnessError
from harness.screen.terminal import echo
from tasks.files import LARGEST_TEXT, read_text

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


@click.command("score")
@click.option("--task", required=True, help="Name as in HELMET's configs, such as kilt_nq or alce_asqa_30.")
@click.option("--input", "source", type=click.Path(path_type=Path), required=True, help="A HELMET result (JSON) or JSONL.")
@click.option("--output", "target", type=click.Path(path_type=Path, dir_okay=False), required=True, help="JSONL of scores to write.")
@click.option(
    "--mode",
    type=click.Choice(["parity", "strict"]),
    default="parity",
    show_default=True,
    help="As the published scorers, or with their quirks mended (docs/scoring.md).",
)
@click.option("--judge", help="Judge of citations: an NLI model (Hub id or directory), or exact-words, for tests.")
@click.option("--judge-cache", type=click.Path(path_type=Path, dir_okay=False), help="File that keeps the judge's verdicts (SQLite).")
@click.option(
    "--sentences",
    type=click.Choice(["simple", "default"]),
    default="default",
    show_default=True,
    help="Where a sentence ends: at white space after . ! or ?, or as NLTK's Punkt finds.",
)
def score_command(task: str, source: Path, target: Path, mode: str, judge: str | None, judge_cache: Path | None, sentences: str) -> None:
    """Score outputs that exist already, one JSON line each: {"id": ..., "metrics": {...}}.

    The input is a result file of HELMET (a JSON object with a `data` list) or JSON lines; each record holds the published record's fields
    and `output`. Values are in [0, 1] except counts; means are printed times 100.

    \b
    Examples:
      harness score --task kilt_nq --input outputs.jsonl --output scores.jsonl
      harness score --task alce_asqa_30 --input result.json --output scores.jsonl --judge google/t5_xxl_true_nli_mixture
    """
    from tasks import records, scoring

    try:
        scoring.family(task)
    except scoring.UnknownTaskError as error:
        raise HarnessError(str(error)) from None
    outputs = read_outputs(source)
    scored = score_outputs(task, outputs, cast("Mode", mode), find_judge(judge, judge_cache), sentences)
    lines = []
    for number, (each, found) in enumerate(zip(outputs, scored, strict=True)):
        name = records.identity(each.record)
        plain = name if isinstance(name, str | int) else json.dumps(name)  # NaN, inside of a list, is no JSON
        line = {"id": number if name is None else plain, "metrics": dict(found.metrics)}
        lines.append(line | ({"left_out": list(found.left_out)} if found.left_out else {}))
    write_lines(target, (json.dumps(line) for line in lines))
    echo(means(scored))
    if scoring.family(task).judged and judge is None:
        echo("citation scores are left out; --judge MODEL adds them", err=True)


def score_outputs(task: str, outputs: Sequence[Output], mode: "Mode", judge: "Judge | None", sentences: str = "default") -> "list[Scored]":
    """The scores of ``outputs``, in order. Raises HarnessError with file, line and field."""
    from tasks import records, scoring

    try:
        return scoring.score_all(task, [(each.record, each.text) for each in outputs], mode=mode, judge=judge, sentences=sentences)
    except records.FieldError as error:
        place = outputs[error.index].place if error.index is not None else task
        raise HarnessError(f"{place}: {error}") from None


def find_judge(name: str | None, cache: Path | None) -> "Judge | None":
    """The judge that ``--judge`` names, with its verdicts kept."""
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
    """A line for each metric: its mean times 100 (counts as they are), over the outputs that it does not leave out."""
    names = dict.fromkeys(name for each in scored for name in each.metrics)
    lines = []
    for name in names:
        values = [each.metrics[name] for each in scored if name in each.metrics and name not in each.left_out]
        mean = sum(values) / len(values) if values else 0.0
        shown = mean if name in COUNTS else 100 * mean
        lines.append(f"{name:<24}{shown:8.2f}   of {len(values)}")
    return "\n".join(lines)


def read_outputs(path: Path) -> list[Output]:
    """The records of a HELMET result or of JSON lines, with their outputs."""
    text = _read(path)
    found = _result(path, text)
    if found is None:
        found = _lines(path, text)
    if not found:
        raise HarnessError(f"{path} holds no records; it has to be a HELMET result or JSON lines")
    return [Output(record, _output(record, place), place) for record, place in found]


def read_json_lines(path: Path) -> list[tuple[dict[str, object], str]]:
    """The objects of a JSON-lines file, each with its place."""
    return _lines(path, _read(path))


def read_json_file(path: Path) -> object:
    """The value that a JSON file holds."""
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
    """Write a text file as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise HarnessError(f"cannot write {path} ({error.strerror}); name another file with --output") from None
