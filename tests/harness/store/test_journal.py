"""Finished generations survive; torn and damaged records do not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.journal import Generation, Journal

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


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_its_own_record_and_no_other(tmp_path_factory: pytest.TempPathFactory, position: int, bit: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    written = dict.fromkeys("abcd", ONE)
    Journal(path).append(written)
    whole = path.read_bytes()
    data = bytearray(whole)
    position %= len(data)
    data[position] ^= 1 << bit
    path.write_bytes(bytes(data))
    journal = Journal(path)
    assert journal.finished.items() <= written.items(), "a damaged record was believed"
    hit = whole.count(b"\n", 0, position)
    near = {"abcd"[hit], "abcd"[min(hit + 1, 3)]} if whole[position : position + 1] == b"\n" else {"abcd"[hit]}
    assert set(journal.finished) == set("abcd") - near, "without the newline between them, two records are one damaged line"
    journal.append(dict.fromkeys(near, ONE))
    assert Journal(path).finished == written


def test_a_damaged_record_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).append({"a": ONE, "b": TWO})
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))
    journal = Journal(path)
    assert (journal.finished, journal.damaged) == ({"b": TWO}, 1)


def test_reading_a_finished_journal_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).append({"a": ONE})
    path.write_bytes(path.read_bytes() + b"torn")
    before = path.read_bytes()
    assert Journal(path, read_only=True).finished == {"a": ONE}
    assert path.read_bytes() == before
