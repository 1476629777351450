"""What a GGUF file says of itself, read without trust: every count and length is held against the bytes that are there.

    "GGUF"  version  tensors  fields          4 bytes, then uint32, uint64, uint64; little-endian
    name  type  value                         for each field; an array is its type, its length and its values
    name  dimensions  type  offset            for each tensor; offsets count from the end of this list, aligned
    the tensors' bytes

The gguf library's own reader believes lengths: a damaged one keeps it busy for ever. (Specification: ggml, docs/gguf.md, versions 2, 3.)
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.api import HarnessError
from tasks.files import open_bytes

MAGIC: Final = b"GGUF"
Value = int | float | bool | str
_VERSIONS: Final = (2, 3)
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY, _MOST_DIMENSIONS, _ALIGNMENT = 8, 9, 4, 32


@dataclass(frozen=True)
class Header:
    """A file's fields, arrays but for their lengths left out, and its tensors."""

    fields: dict[str, Value]
    arrays: dict[str, int]
    """Number of values of each array."""
    tensors: dict[str, tuple[int, ...]]
    """Dimensions of each tensor, the innermost first."""

    def text(self, name: str) -> str:
        """Read a field that should be a text; empty if it is not there, or something else."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """Read a field that should be a whole number; None if it is not there, or something else."""
        value = self.fields.get(name)
        return value if isinstance(value, int) else None


class _DamageError(Exception):
    """What is wrong, in a few words."""


def read(path: Path) -> Header:
    """Read the header of the file at ``path``. HarnessError if it is no GGUF file, or not all of one."""
    with open_bytes(path) as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise HarnessError(f"{path} is no GGUF file: its first four bytes are not {MAGIC.decode()}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _Reader(content).header()
            except _DamageError as error:
                raise HarnessError(f"{path} is damaged, or no GGUF file that can be read ({error}); get it again") from None


class _Reader:
    """A place in the file's bytes, which moves on with each value."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._at, self._size = content, len(MAGIC), len(content)

    def header(self) -> Header:
        version = self._integer("I")
        if version not in _VERSIONS:
            raise _DamageError(f"version {version}; versions {_VERSIONS[0]} and {_VERSIONS[1]} can be read")
        tensors, count = self._count(24), self._count(13)
        fields: dict[str, Value] = {}
        arrays: dict[str, int] = {}
        for _ in range(count):
            name, kind = self._text(), self._integer("I")
            if kind == _ARRAY:
                arrays[name] = self._skip_array()
            else:
                fields[name] = self._text() if kind == _STRING else self._scalar(kind)
        placed = dict(self._tensor() for _ in range(tensors))
        self._check_ends(placed, fields.get("general.alignment", _ALIGNMENT))
        return Header(fields, arrays, {name: dimensions for name, (dimensions, _, _) in placed.items()})

    def _tensor(self) -> tuple[str, tuple[tuple[int, ...], int, int]]:
        name, rank = self._text(), self._integer("I")
        if rank > _MOST_DIMENSIONS:
            raise _DamageError(f"a tensor of {rank} dimensions")
        dimensions = tuple(self._integer("Q") for _ in range(rank))
        return name, (dimensions, self._integer("I"), self._integer("Q"))

    def _check_ends(self, tensors: dict[str, tuple[tuple[int, ...], int, int]], alignment: Value) -> None:
        """Every tensor lies within the file."""
        from gguf import GGML_QUANT_SIZES

        if not isinstance(alignment, int) or alignment < 1:
            raise _DamageError(f"an alignment of {alignment}")
        if not tensors:
            raise _DamageError("no tensors in it")
        start = -(-self._at // alignment) * alignment
        sizes = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
        for name, (dimensions, kind, offset) in tensors.items():
            if kind not in sizes:
                raise _DamageError(f"a number format {kind} that is not known")
            block, block_bytes = sizes[kind]
            end = start + offset + math.prod(dimensions) // block * block_bytes
            if end > self._size:
                raise _DamageError(f"tensor {name[:80]} ends at byte {end}, the file at {self._size}")

    def _skip_array(self) -> int:
        kind = self._integer("I")
        if kind == _STRING:
            count = self._count(8)
            for _ in range(count):
                self._take(self._integer("Q"))
            return count
        size = struct.calcsize(_SCALARS.get(kind, ""))
        if not size:
            raise _DamageError(f"an array of type {kind}")
        count = self._count(size)
        self._take(count * size)
        return count

    def _scalar(self, kind: int) -> Value:
        code = _SCALARS.get(kind)
        if code is None:
            raise _DamageError(f"a field of type {kind}")
        value: Value = self._unpack(code)
        return value

    def _integer(self, code: str) -> int:
        return int(self._unpack(code))

    def _unpack(self, code: str) -> int | float | bool:
        start = self._take(struct.calcsize(code))
        value: int | float | bool = struct.unpack_from(f"<{code}", self._content, start)[0]
        return value

    def _count(self, smallest: int) -> int:
        """A number of things that follow, each of ``smallest`` bytes or more."""
        count = self._integer("Q")
        if count * smallest > self._size - self._at:
            raise _DamageError(f"{count} values in {self._size - self._at} bytes")
        return count

    def _text(self) -> str:
        length = self._integer("Q")
        start = self._take(length)
        try:
            return self._content[start : start + length].decode()
        except UnicodeDecodeError:
            raise _DamageError("a text that is not UTF-8") from None

    def _take(self, length: int) -> int:
        """Where the next ``length`` bytes begin."""
        start = self._at
        if length > self._size - start:
            raise _DamageError(f"it ends at byte {self._size}, amid its header")
        self._at = start + length
        return start
