"""Where instructions come from, which are left out, and how many for which reason.

A source is ``generated`` (the shipped model's), a file or folder of JSON lines (also gzipped) or Parquet, or a data set on the Hub. A row
gives its first user turn:

    {"messages": [{"role": "user", "content": "Name a river."}, ...]}                     any chat data set
    {"conversation": [{"role": "user", ...}], "language": "English", "redacted": false}   LMSYS-Chat-1M and LMSYS-Chat-1M-Synth
    {"prompt": "Name a river."}                                                           plain text; "instruction" likewise

Filters after RetMask (arXiv 2601.11020), section 4.1: empty, redacted and duplicate instructions.
"""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.api import HarnessError, Json
from retmask.heads.needle_texts import is_encodable
from tasks.files import open_bytes, parquet_batches, read_lines, sha256, write_text

GENERATED: Final = "generated"
_LINES: Final = (".jsonl", ".jsonl.gz", ".json.gz", ".json")
_PARQUET: Final = ".parquet"
_COLUMNS: Final = ("messages", "conversation", "conversations", "prompt", "instruction")
_USERS: Final = ("user", "human")
#: LMSYS-Chat-1M writes NAME_1, NAME_2, ... for names it took out.
_REDACTED: Final = re.compile(r"\bNAME_\d+\b")


@dataclass(frozen=True)
class Collected:
    """Instructions, and what was read to get them."""

    prompts: tuple[str, ...]
    counts: Mapping[str, int]
    """``read`` rows, and for each reason how many of them were left out."""


def identity(source: str, split: str, revision: str) -> dict[str, Json]:
    """Say what the instructions of a source depend on beside the number and the seed: its content, not its place.

    HarnessError if there is no such file or data set.
    """
    if source == GENERATED:
        return {"kind": GENERATED}
    check_source(source)
    path = Path(source)
    if path.exists():
        return {"kind": "files", "sha256": [sha256(file) for file in _files(path)]}
    return {"kind": "hub", "name": source, "split": split, "revision": _hub_revision(source, revision)}


def check_source(source: str) -> None:
    """Raise HarnessError for a source that is neither a file, a folder of them, nor a name that a data set on the Hub can have."""
    path = Path(source)
    if path.exists():
        _files(path)
    elif source != GENERATED and (source.count("/") != 1 or path.suffix in (*_LINES, _PARQUET)):
        raise HarnessError(
            f"prompts_from = {source!r}: no such file; give JSONL or Parquet, a data set on the Hub, self, self-context or {GENERATED}"
        )


def rows(source: str, split: str, revision: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where it stands, row) of a file, a folder or a data set on the Hub, in its order."""
    path = Path(source)
    if not path.exists():
        yield from _hub_rows(source, split, revision)
        return
    for file in _files(path):
        yield from _parquet_rows(file) if file.suffix == _PARQUET else _json_rows(file)


def collect(found: Iterable[tuple[str, Mapping[str, Any]]], count: int, language: str) -> Collected:
    """Collect the first ``count`` instructions that pass the filters; all of them if ``count`` is 0.

    ``language`` leaves out rows whose own ``language`` is another; rows that do not name one stay. HarnessError names the row that
    holds no instruction.
    """
    kept: dict[str, None] = {}
    counts: Counter[str] = Counter(read=0, empty=0, redacted=0, duplicate=0, other_language=0, no_user_turn=0)
    for where, row in found:
        counts["read"] += 1
        text = first_turn(row, where)
        reason = _why_drop(row, text, language)
        if reason is None and text is not None and text.strip() in kept:
            reason = "duplicate"
        if reason is not None:
            counts[reason] += 1
            continue
        assert text is not None
        kept[text.strip()] = None
        if len(kept) == count:
            break
    return Collected(tuple(kept), dict(counts))


def first_turn(row: Mapping[str, Any], where: str) -> str | None:
    """Find the user's first message; None where nobody but an assistant speaks. HarnessError if the row has no known column."""
    for column in _COLUMNS:
        value = row.get(column)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            turns = [turn for turn in value if isinstance(turn, Mapping)]
            if len(turns) < len(value):
                raise HarnessError(f"{where}: {column} is not a list of messages with role and content")
            return next((_content(turn) for turn in turns if turn.get("role", turn.get("from")) in _USERS), None)
    raise HarnessError(f"{where}: no instruction; expected a column named {', '.join(_COLUMNS[:-1])} or {_COLUMNS[-1]}")


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content", turn.get("value"))
    return content if isinstance(content, str) else ""


def _why_drop(row: Mapping[str, Any], text: str | None, language: str) -> str | None:
    if text is None:
        return "no_user_turn"
    if not text.strip():
        return "empty"
    if row.get("redacted") is True or _REDACTED.search(text):
        return "redacted"
    spoken = row.get("language")
    if language and isinstance(spoken, str) and spoken.lower() != language.lower():
        return "other_language"
    return None


def _files(path: Path) -> list[Path]:
    files = sorted(file for file in path.iterdir() if _known(file)) if path.is_dir() else [path]
    if not files or not all(_known(file) for file in files):
        raise HarnessError(f"prompts_from = {str(path)!r}: expected {', '.join((*_LINES, _PARQUET))}")
    return files


def _known(file: Path) -> bool:
    return file.name.endswith((*_LINES, _PARQUET))


def _json_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        with open_bytes(file) as packed, gzip.GzipFile(fileobj=packed) if file.suffix == ".gz" else packed as stream:
            for number, line in enumerate(read_lines(stream, file), start=1):
                if line.strip():
                    yield f"{file}, line {number}", _json_row(line.decode(), f"{file}, line {number}")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise HarnessError(f"{file}, after line {number}: cannot be read as UTF-8 text ({_reason(error)})") from None


def _json_row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f'{where}: not JSON ({error}); each line is one object, such as {{"prompt": "Name a river."}}') from None
    if not isinstance(row, dict):
        raise HarnessError(f'{where}: not a JSON object; each line is one, such as {{"prompt": "Name a river."}}')
    if "\\u" in line and not is_encodable(json.dumps(row, ensure_ascii=False)):
        raise HarnessError(
            f"{where}: holds half of a surrogate pair (\\ud800 to \\udfff), which no tokenizer reads; mend or remove the line"
        )
    return row


def _parquet_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow

    number = 0
    try:
        for batch in parquet_batches(file, (*_COLUMNS, "redacted", "language")):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}, row {number}", row
    except (OSError, pyarrow.ArrowException) as error:
        raise HarnessError(f"{file}, after row {number}: cannot be read as Parquet ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said.strip().partition("\n")[0]


def _hub_revision(name: str, revision: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(HfApi().dataset_info(name, revision=revision or None).sha)
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise HarnessError(f"prompts_from = {name!r}: no such file, and the Hub did not deliver such a data set ({reason})") from None


def _hub_rows(name: str, split: str, revision: str) -> Iterator[tuple[str, dict[str, Any]]]:
    from datasets import load_dataset

    try:
        stream = load_dataset(name, split=split, revision=revision or None, streaming=True)
        for number, row in enumerate(stream, start=1):
            yield f"{name} ({split}), row {number}", dict(row)
    except (OSError, ValueError, RuntimeError) as error:
        raise HarnessError(f"{name} ({split}) cannot be read: {str(error).strip().partition(chr(10))[0]}") from None


def write_prompts(prompts: Iterable[str], path: Path) -> None:
    """Write one JSON object a line."""
    write_text(path, "".join(json.dumps({"prompt": prompt}, ensure_ascii=False) + "\n" for prompt in prompts))


def read_prompts(path: Path) -> list[str]:
    """Read what :func:`write_prompts` wrote."""
    with open_bytes(path) as file:
        return [json.loads(line)["prompt"] for line in read_lines(file, path) if line.strip()]
