"""What trials are made of: filler prose and needles, invented or the user's own."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

from harness.api import HarnessError
from tasks.files import LARGEST_TEXT, read_text
from tasks.needles import Needle, draw_needle
from tasks.prose import sentence

Prose: TypeAlias = Callable[[Random], Iterator[str]]
"""Sentences without end, drawn with a generator."""

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+")


@dataclass(frozen=True)
class Texts:
    """Haystacks and needles. By default both are invented, so that no model can know them."""

    prose: Prose
    needles: Sequence[Needle] = ()
    """Needles to use in turn; if there are none, each is drawn."""

    def needle(self, number: int, rng: Random) -> Needle:
        """Give the needle of the trial (or group of trials) with this number."""
        return self.needles[number % len(self.needles)] if self.needles else draw_needle(rng)


def invented(rng: Random) -> Iterator[str]:
    """Yield generated sentences."""
    while True:
        yield sentence(rng)


INVENTED = Texts(invented)


def read_texts(haystack: Path | None, needles: Path | None) -> Texts:
    """Read the user's haystack directory and needle file, where given; otherwise what is invented."""
    return Texts(invented if haystack is None else read_haystack(haystack), () if needles is None else read_needles(needles))


def read_haystack(directory: Path) -> Prose:
    """Read the sentences of the text files (``*.txt``) in a directory, from a drawn place on, over and over.

    HarnessError if there are none, or a file is not UTF-8 text.
    """
    sentences: list[str] = []
    for path in sorted(directory.glob("*.txt")):
        try:
            text = read_text(path, LARGEST_TEXT)
        except (OSError, UnicodeDecodeError) as error:
            raise HarnessError(f"cannot read {path} as UTF-8 text: {error}") from error
        sentences += split_sentences(text)
    if not sentences:
        raise HarnessError(f"{directory} holds no text files (*.txt) with sentences to hide a needle in")

    def prose(rng: Random) -> Iterator[str]:
        place = rng.randrange(len(sentences))
        while True:
            yield sentences[place % len(sentences)]
            place += 1

    return prose


def is_encodable(text: str) -> bool:
    """Say whether UTF-8, and so a tokenizer, can hold it: JSON can spell half of a surrogate pair, and they cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def split_sentences(text: str) -> list[str]:
    """List sentences by their end marks and by paragraph, blanks and line breaks made single.

    >>> split_sentences('One. "Two!" he said.\\n\\nA heading\\n\\nThree?')
    ['One.', '"Two!" he said.', 'A heading', 'Three?']
    """
    paragraphs = re.split(r"\n\s*\n", text)
    parts = [part for paragraph in paragraphs for part in _cut(" ".join(paragraph.split()))]
    return [part for part in parts if part]


def _cut(paragraph: str) -> Iterator[str]:
    """At white space after an end mark, unless a small letter follows (``"Two!" he said``)."""
    start = 0
    for found in _SENTENCE_END.finditer(paragraph):
        if not paragraph[found.end() : found.end() + 1].islower():
            yield paragraph[start : found.end()].strip()
            start = found.end()
    yield paragraph[start:].strip()


def read_needles(path: Path) -> tuple[Needle, ...]:
    """Read needles from JSONL: ``{"needle": sentence, "question": text, "answer": words of the sentence}`` a line.

    The published files' ``real_needle`` may stand for ``answer``. An answer's capitals may differ from the sentence's (one published
    needle's do); what is copied are the sentence's. HarnessError names the line.
    """
    try:
        lines = read_text(path, LARGEST_TEXT).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"cannot read needles from {path}: {error}") from error
    found = tuple(_parse_needle(f"{path}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip())
    if not found:
        raise HarnessError(f"{path} holds no needles")
    return found


def _parse_needle(where: str, line: str) -> Needle:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{where} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise HarnessError(f'{where}: expected an object with "needle", "question" and "answer"')
    values = [record.get("needle"), record.get("question"), record.get("answer", record.get("real_needle"))]
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise HarnessError(f'{where}: "needle", "question" and "answer" have to be text')
    if not all(is_encodable(str(value)) for value in values):
        raise HarnessError(
            f"{where}: holds half of a surrogate pair (\\ud800 to \\udfff), which no tokenizer reads; mend or remove the line"
        )
    text, question, answer = (str(value).strip() for value in values)
    start = text.casefold().find(answer.casefold())
    if start < 0 or len(text.casefold()) != len(text):
        raise HarnessError(f'{where}: the answer "{answer[:60]}" is not part of the needle, so nobody could copy it')
    return Needle(f"{where}", text, question, text[start : start + len(answer)])
