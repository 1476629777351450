"""Sources of instructions: layouts, filters and their counts, bad rows, and prompts that stand in the evaluation."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from harness.api import HarnessError
from retmask.pairs.contamination import contaminated
from retmask.pairs.prompts import collect, identity, read_prompts, rows, write_prompts

CHAT = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}]}
LMSYS = {
    "conversation_id": "1f",
    "model": "vicuna-13b",
    "conversation": [{"role": "user", "content": "Name a lake."}, {"role": "assistant", "content": "Como."}],
    "turn": 1,
    "language": "English",
    "redacted": False,
}
SHAREGPT = {"conversations": [{"from": "human", "value": "Name a hill."}, {"from": "gpt", "value": "Box Hill."}]}
PLAIN = {"prompt": "Name a town."}
ALL = ("Name a river.", "Name a lake.", "Name a hill.", "Name a town.")


def lines(path: Path, *records: Any) -> Path:
    text = "".join(json.dumps(record) + "\n" for record in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def taken(path: Path, count: int = 0, language: str = "English") -> tuple[str, ...]:
    return collect(rows(str(path), "train", ""), count, language).prompts


@pytest.mark.parametrize("name", ["chats.jsonl", "chats.jsonl.gz"])
def test_every_layout_gives_its_first_user_turn(tmp_path: Path, name: str) -> None:
    assert taken(lines(tmp_path / name, CHAT, LMSYS, SHAREGPT, PLAIN)) == ALL


def test_parquet_and_folders_of_files_are_read_in_order(tmp_path: Path) -> None:
    extra = {**LMSYS, "openai_moderation": [{"flagged": False}]}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([extra]), tmp_path / "b.parquet")
    lines(tmp_path / "a.jsonl", CHAT)
    lines(tmp_path / "c.jsonl", PLAIN)
    (tmp_path / "README.md").write_text("no data")
    assert taken(tmp_path) == ("Name a river.", "Name a lake.", "Name a town.")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "chats.jsonl",
        LMSYS,
        {**LMSYS, "conversation": [{"role": "user", "content": "  "}]},
        {**LMSYS, "redacted": True},
        {"prompt": "Write to NAME_1 about the map."},
        {"prompt": " Name a lake.\n"},
        {**LMSYS, "language": "German"},
        {"messages": [{"role": "assistant", "content": "Hello!"}]},
        PLAIN,
    )
    found = collect(rows(str(path), "train", ""), 0, "English")
    assert found.prompts == ("Name a lake.", "Name a town.")
    assert found.counts == {"read": 8, "empty": 1, "redacted": 2, "duplicate": 1, "other_language": 1, "no_user_turn": 1}
    assert taken(path, language="")[-1] == "Name a town."
    assert taken(path, count=1) == ("Name a lake.",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not a JSON object"),
        ('{"text": "Name a river."}', "line 2: no instruction; expected a column named messages"),
        ('{"messages": ["Name a river."]}', "line 2: messages is not a list of messages"),
        ("\udcff", "cannot be read as UTF-8"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = lines(tmp_path / "chats.jsonl", PLAIN)
    path.write_bytes(path.read_bytes() + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(HarnessError, match=message) as caught:
        taken(path)
    assert "chats.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_what_they_seem(tmp_path: Path) -> None:
    for name in ("chats.jsonl.gz", "chats.parquet"):
        (tmp_path / name).write_text("no such thing")
        with pytest.raises(HarnessError, match=rf"{name}, after (line|row) 0: cannot be read"):
            taken(tmp_path / name)
    with pytest.raises(HarnessError, match=r"expected \.jsonl"):
        identity(str(lines(tmp_path / "chats.csv", PLAIN)), "train", "")
    with pytest.raises(HarnessError, match="no such file; give JSONL or Parquet"):
        identity(str(tmp_path / "missing.jsonl"), "train", "")


def test_identity_is_the_content(tmp_path: Path) -> None:
    here, there = lines(tmp_path / "a.jsonl", PLAIN), lines(tmp_path / "b.jsonl", PLAIN)
    assert identity(str(here), "train", "") == identity(str(there), "train", "")
    lines(there, CHAT)
    assert identity(str(here), "train", "") != identity(str(there), "train", "")


def test_prompts_come_back_from_their_file(tmp_path: Path) -> None:
    prompts = ["one\u2028two\n", "three"]
    write_prompts(prompts, tmp_path / "prompts.jsonl")
    assert read_prompts(tmp_path / "prompts.jsonl") == prompts


WORDING = "Read the report below and say in one word which of the towns it is about. "
PASSAGE = "the old ferry crossed the grey river twice before noon and nobody on the bank looked up from the nets"


def test_a_long_ngram_of_an_example_is_contamination_and_wording_is_not() -> None:
    suite = [("rag", f"{WORDING}Passage {index}: {PASSAGE if index == 3 else f'number {index} of the filler'}") for index in range(8)]
    copied = f"Continue: {PASSAGE.upper().replace(' ', ', ')}!"  # case and punctuation do not hide it
    prompts = [f"{WORDING}Which?", copied, "the old ferry crossed the grey river twice before noon"]
    assert contaminated(prompts, suite, 13) == {1}
    assert contaminated(prompts, suite, 9) == {1, 2}
    assert contaminated([f"{WORDING}Passage 4: number 4 of the filler"], suite, 13) == set()  # wording and little else
    assert contaminated(prompts, [], 13) == set()
    assert contaminated([], suite, 13) == set()
