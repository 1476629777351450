"""What is said of a suite's examples beside their number."""

import math
from collections.abc import Iterator

from tasks.example import Example
from tasks.remarks import MOVED, Census, sentences


def made(task: str, length: int, moved: bool = False) -> Example:
    meta = {MOVED: True} if moved else {}
    return Example("id", "cluster", task, "rag", length, "prompt", "", ("gold",), "gold", math.nan, meta)


def passing() -> Iterator[Example]:
    yield from (made("kilt_nq", 8_192, moved=number == 1) for number in range(3))
    yield made("json_kv", 8_192)


def test_what_lacks_and_what_moved_is_named_by_task_and_length() -> None:
    census = Census()
    assert list(census.watch(passing())) == list(passing())
    remarks = census.remarks({("kilt_nq", 8_192): 24, ("json_kv", 8_192): 1, ("json_kv", 16_384): 1})
    assert remarks == {
        "fewer": [
            {"task": "kilt_nq", "length": 8_192, "examples": 3, "asked": 24},
            {"task": "json_kv", "length": 16_384, "examples": 0, "asked": 1},
        ],
        "moved": [{"task": "kilt_nq", "length": 8_192, "examples": 1}],
    }
    fewer, moved = sentences({"digest": "0", **remarks})
    assert fewer.endswith("no more: kilt_nq at 8192 tokens 3 of 24, json_kv at 16384 tokens 0 of 1")
    assert moved.endswith("success by depth: kilt_nq at 8192 tokens 1")


def test_nothing_is_said_where_all_is_as_asked() -> None:
    census = Census()
    assert len(list(census.watch(passing()))) == 4
    assert "moved" in census.remarks({})
    assert Census().remarks({}) == {}
    assert sentences({"digest": "0", "examples": 4}) == []
