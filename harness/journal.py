"""Every finished generation is on disk before the next batch starts.

One line a generation: its checksum, a tab, and the record. A line that a crash tore, or that was damaged since, is dropped and redone.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


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


class Records:
    """Append-only JSON objects by id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.finished: dict[str, dict[str, object]] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        whole = 0
        with self._path.open("rb") as file:
            for line in file:
                record = _parse(line)
                if record is None:
                    break
                self.finished[str(record.pop("id"))] = record
                whole += len(line)
        with self._path.open("r+b") as file:
            file.truncate(whole)

    def append(self, records: Mapping[str, Mapping[str, object]]) -> None:
        """Make these durable."""
        lines: Sequence[bytes] = [_format({"id": name, **record}) for name, record in records.items()]
        with self._path.open("ab") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        self.finished.update({name: dict(record) for name, record in records.items()})


class Journal:
    """Append-only record of generations by example id."""

    def __init__(self, path: Path) -> None:
        self._records = Records(path)
        kept = self._records.finished.items()
        self.finished = {name: Generation(**record) for name, record in kept}  # type: ignore[arg-type]  # checksummed: we wrote it

    def append(self, generations: Mapping[str, Generation]) -> None:
        """Make these durable."""
        self._records.append({name: asdict(generation) for name, generation in generations.items()})
        self.finished.update(generations)


def _format(record: Mapping[str, object]) -> bytes:
    text = json.dumps(record).encode()
    return b"%08x\t%s\n" % (zlib.crc32(text), text)


def _parse(line: bytes) -> dict[str, object] | None:
    checksum, tab, text = line.partition(b"\t")
    if not tab or not text.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text[:-1]):
        return None
    record: dict[str, object] = json.loads(text)
    return record
