"""Only ordinary files are opened, and none that holds, or unpacks to, more than makes sense."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import files

MIB = 1 << 20


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Nobody ever writes to it: whoever opens it in the usual way waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("read", [files.read_bytes, files.read_text, files.open_bytes, files.read_parquet])
def test_a_pipe_is_not_waited_for(pipe: Path, read: object) -> None:
    with pytest.raises(OSError, match="pipe or a device"):
        read(pipe)  # type: ignore[operator]


@pytest.mark.parametrize("read", [files.read_bytes, files.read_text, files.open_bytes, files.read_parquet])
def test_a_device_is_not_read(tmp_path: Path, read: object) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="pipe or a device"):
        read(tmp_path / "link")  # type: ignore[operator]


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        files.read_bytes(tmp_path)


def test_a_file_is_measured_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="more than 64 MiB"):
        files.read_text(tmp_path / "sparse")
    with pytest.raises(OSError, match="more than 1 MiB"):
        files.open_bytes(tmp_path / "sparse", 1 << 20)


def test_a_file_of_the_systems_has_an_end_too() -> None:
    """Its size is 0, whatever it holds."""
    with pytest.raises(OSError, match="more than 0 MiB"):
        files.read_bytes("/proc/self/maps", most=10)


def test_line_ends_are_as_in_any_text_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a\r\nb\rc\n")
    assert files.read_text(tmp_path / "a") == (tmp_path / "a").read_text() == "a\nb\nc\n"


def test_a_line_is_not_unpacked_beyond_what_makes_sense(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.gz", "wb") as packed:
        packed.write(b"short\n")
        for _ in range(3):
            packed.write(b"x" * MIB)
    with gzip.open(tmp_path / "a.gz") as opened:
        lines = files.read_lines(opened, tmp_path / "a.gz", longest=2 * MIB)  # type: ignore[arg-type]
        assert next(lines) == b"short\n"
        with pytest.raises(OSError, match="a line of more than 2 MiB"):
            next(lines)


MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LARGEST_TABLE", 16 * MIB)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("groups", [1, 40], ids=["in one part", "in parts"])
def test_a_text_that_a_table_repeats_is_not_written_out(tmp_path: Path, groups: int) -> None:
    text = "x" * MIB
    with pq.ParquetWriter(tmp_path / "a.parquet", pa.schema([("prompt", pa.string())]), compression="zstd") as writer:
        for _ in range(groups):
            writer.write_table(pa.table({"prompt": [text] * (40 // groups)}))
    assert (tmp_path / "a.parquet").stat().st_size < MIB
    with pytest.raises(OSError, match="unpack to more than"):
        files.read_parquet(tmp_path / "a.parquet")
    if groups == 1:
        with pytest.raises(OSError, match="unpack to more than"):
            list(files.parquet_batches(tmp_path / "a.parquet", ["prompt"]))
    else:
        assert max(batch.num_rows for batch in files.parquet_batches(tmp_path / "a.parquet", ["prompt"], rows=1)) == 1


@pytest.mark.usefixtures("small_limit")
def test_nor_is_one_within_a_row(tmp_path: Path) -> None:
    chats = pa.array([[{"role": "user", "content": "x" * MIB}] * 40], type=MESSAGES)
    pq.write_table(pa.table({"messages": chats}), tmp_path / "a.parquet")
    with pytest.raises(OSError, match="unpack to more than"):
        list(files.parquet_batches(tmp_path / "a.parquet", ["messages"]))


def test_tables_are_read_as_they_were_written(tmp_path: Path) -> None:
    chats = [[{"role": "user", "content": "x"}], [], None]
    table = pa.table(
        {"a": pa.array(["x", None, "y"]), "n": [1, 2, 3], "b": pa.array([b"x", b"", None]), "messages": pa.array(chats, type=MESSAGES)},
        metadata={"k": "v"},
    )
    pq.write_table(table, tmp_path / "a.parquet")
    found = files.read_parquet(tmp_path / "a.parquet")
    assert found.equals(table)
    assert found.schema.field("a").type == pa.string()
    rows = [row for batch in files.parquet_batches(tmp_path / "a.parquet", ["a", "messages"], rows=2) for row in batch.to_pylist()]
    assert rows == table.select(["a", "messages"]).to_pylist()
