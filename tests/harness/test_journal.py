"""Finished generations survive; torn and damaged records do not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.journal import Generation, Journal

ONE = Generation('two\nlines, a tab\tand "quotes" é\u2028', 10, 3, "stop")
TWO = Generation("", 11, 50, "length")


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append({"a": ONE})
    journal.append({"b": TWO})
    assert Journal(tmp_path / "j").finished == journal.finished == {"a": ONE, "b": TWO}


@given(cut=st.integers(1, 60))
def test_a_torn_last_record_is_dropped_and_written_again(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    Journal(path).append({"a": ONE, "b": TWO})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    journal = Journal(path)
    assert journal.finished == {"a": ONE}
    journal.append({"b": TWO})
    assert path.read_bytes() == whole


def test_a_flipped_bit_ends_what_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).append({"a": ONE, "b": TWO})
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))
    assert Journal(path).finished == {}
