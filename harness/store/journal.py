"""Every finished generation is on disk before the next batch starts.

One line a generation: its checksum, a tab, and the record. Lines are only ever added. What a crash tore off at the end is cut away; a line
that was damaged since is passed over and counted, and those after it still hold; both are generated again.
"""

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Literal

from tasks.files import open_bytes, sync_folder

#: How files end that this module writes: each of their lines vouches for itself, so they are worth keeping when a file beside them is not.
SUFFIX: Final = ".journal"


@dataclass(frozen=True)
class Generation:
    """What a model wrote for one prompt."""

    output: str
    prompt_tokens: int
    output_tokens: int
    finish_reason: Literal["stop", "length"]
    thinking: str = ""
    """What a reasoning model wrote before its answer."""
    thinking_tokens: int = 0
    request: str = ""
    """Digest of the rendered prompt and the generation settings that it answers."""


@dataclass(frozen=True)
class Lines:
    """What :func:`read_lines` found."""

    records: tuple[dict[str, object], ...]
    damaged: int
    """Whole lines that do not match their checksum."""
    end: int
    """Bytes up to the end of the last whole line; what follows was torn off by a crash."""


class Records:
    """Append-only JSON objects by id. With ``read_only`` the file is left as it is."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        found = read_lines(path)
        self.damaged = found.damaged
        self.finished = {str(record["id"]): {name: value for name, value in record.items() if name != "id"} for record in found.records}
        if not read_only:
            cut_torn(path, found)

    def append(self, records: Mapping[str, Mapping[str, object]]) -> None:
        """Make these durable."""
        append_lines(self._path, ({"id": name, **record} for name, record in records.items()))
        self.finished.update({name: dict(record) for name, record in records.items()})


class Journal:
    """Append-only record of generations by example id. With ``read_only`` the file is left as it is."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._records = Records(path, read_only=read_only)
        self.damaged = self._records.damaged
        self.finished = {name: _generation(record) for name, record in self._records.finished.items()}

    def append(self, generations: Mapping[str, Generation]) -> None:
        """Make these durable."""
        self._records.append({name: asdict(generation) for name, generation in generations.items()})
        self.finished.update(generations)


def read_lines(path: Path) -> Lines:
    """Read the records of a journal in the order they were added; none if there is no such file."""
    records: list[dict[str, object]] = []
    damaged = end = 0
    if path.exists():
        with open_bytes(path) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                record = _parse(line)
                if record is None:
                    damaged += 1
                else:
                    records.append(record)
    return Lines(tuple(records), damaged, end)


def cut_torn(path: Path, found: Lines) -> None:
    """Remove half a line from the end, so that the next one starts on a line of its own."""
    if path.exists() and path.stat().st_size > found.end:
        os.truncate(path, found.end)


def append_lines(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Add records and wait until they are on the disk."""
    lines = b"".join(map(_format, records))
    new = not path.exists()
    with path.open("ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def _format(record: Mapping[str, object]) -> bytes:
    text = json.dumps(record).encode()
    return b"%08x\t%s\n" % (zlib.crc32(text), text)


def _parse(line: bytes) -> dict[str, object] | None:
    checksum, tab, text = line.partition(b"\t")
    if not tab or checksum != b"%08x" % zlib.crc32(text[:-1]):
        return None
    record: dict[str, object] = json.loads(text)
    return record


def _generation(record: Mapping[str, object]) -> Generation:
    values = {item.name: record[item.name] for item in fields(Generation) if item.name in record}
    return Generation(**values)  # type: ignore[arg-type]  # checksummed: we wrote it
