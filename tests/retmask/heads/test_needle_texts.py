"""The user's haystacks and needles."""

import doctest
import json
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from transformers import PreTrainedTokenizerBase

from harness.api import HarnessError
from retmask.heads import needle_texts as texts
from retmask.heads.needle_texts import read_haystack, read_needles, read_texts
from retmask.heads.trials import build_trials, evenly

STORY = "The ship left at noon. Who saw it? Nobody!\n\nA chapter of its own\n\nThe sea was calm and grey. It rained."


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(texts).failed == 0
    assert doctest.testmod(texts).attempted == 1


@pytest.fixture
def haystack(tmp_path: Path) -> Path:
    (tmp_path / "b.txt").write_text(STORY)
    (tmp_path / "a.txt").write_text("First of all.")
    (tmp_path / "ignored.md").write_text("Not this.")
    return tmp_path


def test_sentences_come_from_the_text_files_over_and_over(haystack: Path) -> None:
    sentences = ["First of all.", "The ship left at noon.", "Who saw it?", "Nobody!", "A chapter of its own"]
    sentences += ["The sea was calm and grey.", "It rained."]
    found = list(islice(read_haystack(haystack)(Random(0)), 14))
    start = sentences.index(found[0])
    assert found == [sentences[(start + step) % 7] for step in range(14)]


def test_a_directory_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="holds no text files"):
        read_haystack(tmp_path)
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HarnessError, match=r"cannot read .*x\.txt as UTF-8"):
        read_haystack(tmp_path)


def test_needles_are_read_and_hidden_in_the_users_text(haystack: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    lines = [
        {
            "needle": "The cook hid salt because he is mean.",
            "question": "Why did the cook hide salt?",
            "real_needle": "Because he is mean.",
        },
        {"needle": "The key is under the mat.", "question": "Where is the key?", "answer": "under the mat"},
    ]
    (tmp_path / "needles.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    found = read_texts(haystack, tmp_path / "needles.jsonl")
    assert [needle.answer for needle in found.needles] == ["because he is mean.", "under the mat"]
    built = build_trials(tokenizer, [200], 4, evenly(4), 0, found)
    for trial, needle in zip(built, [*found.needles] * 2, strict=True):
        assert tokenizer.decode(trial.needle_ids).strip() == needle.answer
        assert needle.text in trial.prompt
        assert "The sea was calm and grey." in trial.prompt


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("[1]", "line 1: expected an object"),
        ('{"needle": "A b.", "question": "?"}', "have to be text"),
        ('{"needle": "A b.", "question": "?", "answer": "zebra"}', 'the answer "zebra" is not part of the needle'),
        ("", "holds no needles"),
    ],
)
def test_a_broken_needle_file_is_refused_in_words(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "needles.jsonl").write_text(line)
    with pytest.raises(HarnessError, match=message):
        read_needles(tmp_path / "needles.jsonl")
