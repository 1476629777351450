"""Read files that others wrote: ordinary ones only, none that is larger, or unpacks to more, than makes sense. Write ours, whole or not.

A pipe or a device may never end, and opening one may wait for ever; a small packed file may hold more than there is memory. What is refused
is an OSError whose ``strerror`` says why, as for a file that is not there.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

#: Bytes of a file of settings or facts, such as JSON, which take twenty times as much once they are read.
LARGEST: Final = 64 << 20
#: Bytes of a file of plain text that is read as a whole.
LARGEST_TEXT: Final = 1 << 30
#: Bytes of a line in a file that is read line by line.
LONGEST_LINE: Final = 64 << 20
#: Bytes that a table, or a part of one that is read as a whole, may unpack to; more where its file is so large that this is no surprise.
_LARGEST_TABLE: Final = 1 << 29
_USUAL_PACKING: Final = 50
_MIB: Final = 1 << 20


class HasLines(Protocol):
    """An opened file, packed or not."""

    def readline(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes of the next line."""


def ordinary(path: str | Path, flags: int) -> int:
    """Open an ordinary file and nothing else: an ``opener`` for :func:`open`. A link to one will do."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))


def open_bytes(path: str | Path, most: int | None = None) -> BufferedReader:
    """Open an ordinary file for reading. OSError for another, and for one of more than ``most`` bytes."""
    file = open(path, "rb", opener=ordinary)  # noqa: SIM115  # the caller's to close
    if most is not None and os.fstat(file.fileno()).st_size > most:
        file.close()
        _refuse(f"it has more than {most // _MIB} MiB", path)
    return file


def read_bytes(path: str | Path, most: int = LARGEST) -> bytes:
    """Read all of an ordinary file, at most ``most`` bytes."""
    with open_bytes(path, most) as file:
        found = file.read(most + 1)  # one of the system's says that it has none
    if len(found) > most:
        _refuse(f"it has more than {most // _MIB} MiB", path)
    return found


def read_text(path: str | Path, most: int = LARGEST, encoding: str = "utf-8") -> str:
    """Read all of a text file, its line ends as ``\\n``."""
    return read_bytes(path, most).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def sha256(path: str | Path) -> str:
    """Hash an ordinary file's bytes, as hexadecimal digits."""
    with open_bytes(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a new file beside ``path``, which takes its place at the end: a reader sees the old file or the new one, whole.

    Its folder is made. If the block raises, nothing has changed. ``durable`` has the new file on the disk before it takes that place.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def open_mode(path: Path) -> None:
    """Let those read and write the user's own file whom the umask lets: libraries write weights for their owner alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    mode = stat.S_IMODE(path.stat().st_mode)
    if (wanted := mode | (0o666 & ~mask)) != mode:
        path.chmod(wanted)


def sync_folder(path: Path) -> None:
    """Make what was made or renamed in a folder durable: syncing a file does not sync its name (fsync(2))."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_lines(file: HasLines, path: str | Path, longest: int = LONGEST_LINE) -> Iterator[bytes]:
    """Read the lines of an opened file with their ends, however much they are packed. OSError for one that is too long."""
    while line := file.readline(longest + 1):
        if len(line) > longest:
            _refuse(f"it has a line of more than {longest // _MIB} MiB", path)
        yield line


def check_packing(size: int, packed: int, path: str | Path) -> None:
    """Raise OSError if ``packed`` bytes unpack to more than makes sense."""
    if size > max(_LARGEST_TABLE, _USUAL_PACKING * packed):
        _refuse(f"its {max(1, packed // _MIB)} MiB unpack to more than {size // _MIB} MiB", path)


def read_parquet(path: str | Path) -> "pa.Table":
    """Read a whole Parquet table. OSError if it unpacks to more than makes sense, before it does."""
    import pyarrow.parquet as pq

    with _unread_parquet(path) as (file, packed, texts):
        plain = pq.ParquetFile(file).schema_arrow
        table = pq.ParquetFile(file, read_dictionary=texts).read()
    check_packing(sum(_unpacked(chunk) for column in table.columns for chunk in column.chunks), packed, path)
    for at, field in enumerate(plain):
        if table.schema.field(at).type != field.type:
            table = table.set_column(at, field, table.column(at).cast(field.type))
    return table.replace_schema_metadata(plain.metadata)


def parquet_batches(path: str | Path, columns: Collection[str], rows: int = 64) -> "Iterator[pa.RecordBatch]":
    """Read some rows at a time of those of these columns that there are; OSError as :func:`read_parquet`."""
    import pyarrow.parquet as pq

    with _unread_parquet(path) as (file, packed, texts):
        opened = pq.ParquetFile(file, read_dictionary=texts)
        wanted = [name for name in opened.schema_arrow.names if name in columns]
        for batch in opened.iter_batches(batch_size=rows, columns=wanted):
            check_packing(sum(map(_unpacked, batch.columns)), packed, path)
            yield batch


@contextmanager
def _unread_parquet(path: str | Path) -> Iterator[tuple[BinaryIO, int, list[str]]]:
    """The opened file, its size, and its columns of texts: to be read as dictionaries, where a text that stands there often is once.

    OSError if a row group says that it unpacks to more than makes sense.
    """
    import pyarrow.parquet as pq

    with open_bytes(path) as file:
        packed = os.fstat(file.fileno()).st_size
        about = pq.ParquetFile(file).metadata
        for number in range(about.num_row_groups):
            check_packing(about.row_group(number).total_byte_size, packed, path)
        leaves = [about.schema.column(at) for at in range(about.num_columns)]
        yield file, packed, [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def _unpacked(values: "pa.Array") -> int:
    """Bytes of an array whose texts are written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        return int(pc.sum(pc.take(pc.binary_length(values.dictionary), values.indices)).as_py() or 0) + 8 * len(values)
    if pa.types.is_struct(values.type):
        return sum(map(_unpacked, values.flatten()))
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_map(values.type):
        return 8 * len(values) + _unpacked(values.flatten())
    return int(values.nbytes)


def _refuse(reason: str, path: str | Path) -> NoReturn:
    raise OSError(errno.EFBIG, reason, str(path))
