"""Read records from files that others wrote: one at a time, every field checked, every complaint with file, line, field and advice."""

import codecs
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final

from tasks.files import open_bytes, parquet_batches, read_parquet

#: Bytes read at once from a file that is one large JSON array.
_CHUNK: Final = 1 << 20
#: Rows of a large table read at once; one may hold a book.
_ROWS: Final = 16
#: Nothing that HELMET counts is near this large.
_LARGEST_NUMBER: Final = 10**15
_AGAIN: Final = "get it again with `harness data fetch`"


Key = int | str
"""An identifier."""


class DataError(ValueError):
    """A file that is missing, damaged, or not in the published format. One line: what, where, what to do."""


@dataclass(frozen=True)
class Record:
    """One record and where it stands."""

    values: Mapping[str, object]
    where: str
    """``FILE, line 3``, and for nested records the field they are in."""
    number: int = 0
    """Line or position in the file, from 1."""

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(self, name: str, *, null: bool = False) -> str:
        """Read a string field; a whole number counts as its digits, because some identifiers are written so.

        With ``null``, null is empty.
        """
        if null and name in self.values and self.values[name] is None:
            return ""
        value = self._get(name, "a string")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.wrong(name, "a string")
        return str(value)

    def key(self, name: str) -> Key:
        """Read an identifier: a whole number or a string, as it is written. Identifiers are sorted as what they are."""
        self.text(name)
        value = self.values[name]
        assert isinstance(value, int | str)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Read a list of strings, at least one; a single string counts as a list of one."""
        value = self._get(name, "a list of strings")
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
            raise self.wrong(name, "a list of at least one string")
        return tuple(items)

    def lists(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Read a list of lists of strings, none of them empty."""
        value = self._get(name, "a list of lists of strings")
        if not isinstance(value, list) or not value:
            raise self.wrong(name, "a list of lists of strings")
        return tuple(Record({f"{name}[{index}]": item}, self.where).texts(f"{name}[{index}]") for index, item in enumerate(value))

    def number_of(self, name: str) -> float:
        """Read a number, or its digits as a string."""
        value = self._get(name, "a number")
        if isinstance(value, str) and re.fullmatch(r"\d{1,15}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST_NUMBER or math.isnan(value):
            raise self.wrong(name, "a number")
        return float(value)

    def records(self, name: str) -> tuple["Record", ...]:
        """Read a list of objects, at least one."""
        value = self._get(name, "a list of objects")
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.wrong(name, "a list of at least one object")
        return tuple(Record(item, f"{self.where}, {name}[{index}]", index + 1) for index, item in enumerate(value))

    def record(self, name: str) -> "Record":
        """Read an object."""
        value = self._get(name, "an object")
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Record(value, f"{self.where}, {name}", self.number)

    def wrong(self, name: str, expected: str) -> DataError:
        """Make the error for a field that is there but is not what it should be."""
        return DataError(f"{self.where}: field {name!r} is not {expected}; this is not HELMET's file, or it is damaged: {_AGAIN}")

    def _get(self, name: str, expected: str) -> object:
        if name not in self:
            raise DataError(f"{self.where}: field {name!r} is missing ({expected}); this is not HELMET's file, or it is damaged: {_AGAIN}")
        return self.values[name]


@dataclass(frozen=True)
class Span:
    """Where a record's bytes are, so that it can be read again."""

    number: int
    start: int
    size: int


def json_lines(path: Path) -> Iterator[tuple[Span, Record]]:
    """Yield the records of a JSONL file, in order."""
    with _open(path) as file:
        start = 0
        for number in count(1):
            line = file.readline()
            if not line:
                break
            span = Span(number, start, len(line))
            start += len(line)
            if line.strip():
                yield span, _parse(line, path, f"line {number}", number)
    if start == 0:
        raise DataError(f"{path} is empty; {_AGAIN}")


def json_array(path: Path) -> Iterator[tuple[Span, Record]]:
    """Yield the records of a file that is one JSON array, without ever holding more than a few of them."""
    decoder, utf8 = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")()
    with _open(path) as file:
        text, start, ended = "", 0, False  # `text` begins at byte `start`

        def more(at_least: int) -> bool:
            nonlocal text, ended
            chunk = file.read(max(_CHUNK, at_least))
            ended = not chunk
            try:
                text += utf8.decode(chunk, final=ended)
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: not UTF-8 text ({error.reason}); {_AGAIN}") from None
            return not ended

        def skip(signs: str) -> None:
            """Drop white space and ``signs`` from the front."""
            nonlocal text, start
            while True:
                rest = text.lstrip(signs + " \t\r\n")
                start += len(text) - len(rest)  # all of them take one byte
                text = rest
                if text or not more(0):
                    return

        skip("")
        if not text.startswith("["):
            raise DataError(f"{path}: not a JSON array of records; this is not HELMET's file, or it is damaged: {_AGAIN}")
        text, start = text[1:], start + 1
        for number in count(1):
            skip("," if number > 1 else "")
            if text.startswith("]"):
                return
            if not text:
                raise DataError(f"{path}: cut short after {number - 1} records; {_AGAIN}")
            if not text.startswith("{"):
                raise DataError(f"{path}, record {number}: not a JSON object but {text[:20]!r}; {_AGAIN}")
            while True:
                try:
                    values, end = decoder.raw_decode(text)
                    _encodable(values, "\\u" in text[:end])
                    break
                except (ValueError, RecursionError) as error:
                    if ended or not more(len(text)):
                        raise DataError(f"{path}, record {number}: not JSON or cut short ({_reason(error)}); {_AGAIN}") from None
            size = len(text[:end].encode())
            yield Span(number, start, size), Record(values, f"{path}, record {number}", number)
            text, start = text[end:], start + size


def read_span(path: Path, span: Span, unit: str) -> Record:
    """Read the record at ``span``; ``unit`` is what messages count: line or record."""
    with _open(path) as file:
        file.seek(span.start)
        return _parse(file.read(span.size), path, f"{unit} {span.number}", span.number)


def parquet_rows(path: Path, text: str, label: str) -> list[tuple[str, int]]:
    """Read (text, label) of every row of a small Parquet file."""
    import pyarrow as pa

    try:
        table = read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file, or cut short ({_reason(error)}); {_AGAIN}") from None
    absent = [name for name in (text, label) if name not in table.column_names]
    if absent:
        raise DataError(f"{path}: no column {absent[0]!r} (it has {', '.join(table.column_names)}); {_AGAIN}")
    columns = table.select([text, label]).to_pydict()
    rows = list(zip(columns[text], columns[label], strict=True))
    for number, (words, value) in enumerate(rows, 1):
        if not isinstance(words, str):
            raise DataError(f"{path}, row {number}: field {text!r} is not a string; {_AGAIN}")
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(f"{path}, row {number}: field {label!r} is not a whole number; {_AGAIN}")
    if not rows:
        raise DataError(f"{path} has no rows; {_AGAIN}")
    return rows


def parquet_records(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    """Yield the rows of a Parquet file with these columns, a few in memory at a time."""
    import pyarrow as pa

    number = 0
    try:
        for batch in parquet_batches(path, columns, rows=_ROWS):
            if absent := [name for name in columns if name not in batch.schema.names]:
                raise DataError(f"{path}: no column {absent[0]!r} (of those needed it has {', '.join(batch.schema.names)}); {_AGAIN}")
            for row in range(len(batch)):
                number += 1
                values = {name: batch.column(name)[row].as_py() for name in columns}
                yield Record(values, f"{path}, row {number}", number)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a Parquet file, or cut short ({_reason(error)}); {_AGAIN}") from None
    if not number:
        raise DataError(f"{path} has no rows; {_AGAIN}")


def _open(path: Path) -> BinaryIO:
    try:
        return open_bytes(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {_AGAIN}") from None


def _parse(line: bytes, path: Path, place: str, number: int) -> Record:
    try:
        values = json.loads(line)
        _encodable(values, b"\\u" in line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, {place}: not JSON ({_reason(error)}); the file is damaged or cut short: {_AGAIN}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}, {place}: not a JSON object; this is not HELMET's file, or it is damaged: {_AGAIN}")
    return Record(values, f"{path}, {place}", number)


def _encodable(values: object, escapes: bool) -> None:
    """Raise UnicodeEncodeError on half a surrogate pair, which JSON can spell but no tokenizer reads. Only ``escapes`` can spell it."""
    if escapes:
        json.dumps(values, ensure_ascii=False).encode()


def _reason(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
