"""Passages that a model asks a question about, so that its instructions have a context to read.

They are invented (prose, with facts about persons of the half of the world that the evaluation never asks about) or cut out of the user's
own text files: whole sentences, up to a number of tokens. Passage number i is a function of i and the seed.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError, Json
from tasks.files import LARGEST_TEXT, read_text, sha256
from tasks.prose import sentence
from tasks.world import ATTRIBUTES, World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONTEXT: Final = "self-context"
"""``prompts_from`` of questions that the model writes about passages."""
MOST_TOKENS: Final = 4096
FEWEST_TOKENS: Final = 32
_KINDS: Final = (".txt", ".md")
#: What a user says before the model goes on.
_BEGUN: Final = "{passage}\n\nA question about this text:"
_ENDS: Final = re.compile(r"(?<=[.!?])\s+|\n+")
#: Of so many invented sentences one is a fact.
_FACTS: Final = 3
#: Characters of a token, at most but for runs of blanks: what is looked at of a text.
_CHARACTERS: Final = 12
#: Passages by which a generator is known.
_SAMPLE: Final = 4


class Passages:
    """Passages of at most ``tokens`` tokens: invented, or cut out of the texts in ``source``, a file or a folder.

    HarnessError for a source without a text.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", source: str, tokens: int, seed: int) -> None:
        self._tokenizer, self._tokens, self._seed = tokenizer, tokens, seed
        self._files = _files(Path(source)) if source else []
        self._texts = _texts(source, self._files)
        self._starts = [[0, *(found.end() for found in _ENDS.finditer(text) if found.end() < len(text))] for text in self._texts]
        self._known: dict[int, str] = {}

    def identity(self) -> dict[str, Json]:
        """Say what the passages depend on, beside the seed."""
        texts: list[Json] = [sha256(file) for file in self._files] or [self.passage(number) for number in range(_SAMPLE)]
        return {"tokens": self._tokens, "texts": texts, "begun": _BEGUN}

    def passage(self, number: int) -> str:
        """Give passage ``number``."""
        if number not in self._known:
            self._known[number] = self._fitting(self._drawn(Random(f"passage:{self._seed}:{number}")))
        return self._known[number]

    def begun(self, number: int) -> str:
        """Give what the user has said when the model goes on: passage ``number``, and that a question follows."""
        return _BEGUN.format(passage=self.passage(number))

    def _drawn(self, rng: Random) -> str:
        """More text than fits, from the beginning of a sentence."""
        if not self._texts:
            return _invented(rng, self._tokens)
        (which,) = rng.choices(range(len(self._texts)), weights=[len(text) for text in self._texts])
        start = rng.choice(self._starts[which])
        return self._texts[which][start : start + self._tokens * _CHARACTERS].strip()

    def _fitting(self, text: str) -> str:
        """As many whole sentences from the beginning as fit; as many tokens, where the first alone does not."""
        ends = [found.start() for found in _ENDS.finditer(text)] + [len(text)]
        low, high = 0, len(ends)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._count(text[: ends[middle]]) <= self._tokens else (low, middle)
        if low:
            return text[: ends[low - 1]].strip()
        ids = self._tokenizer(text[: ends[0]], add_special_tokens=False)["input_ids"]
        return str(self._tokenizer.decode(ids[: self._tokens])).strip()

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def _invented(rng: Random, tokens: int) -> str:
    """Sentences, about one in three a fact about a person."""
    world = World(rng, "train")

    def fact() -> str:
        attribute = rng.choice(ATTRIBUTES)
        return attribute.state(rng, world.person(), rng.choice(attribute.values))

    return " ".join(fact() if rng.randrange(_FACTS) == 0 else sentence(rng) for _ in range(max(4, tokens // 4)))


def check_texts(source: str) -> None:
    """Raise HarnessError for a file or a folder without a text that can be read."""
    _texts(source, _files(Path(source)))


def _texts(source: str, files: Sequence[Path]) -> list[str]:
    found = [text for file in files if (text := _text(file).strip())]
    if source and not found:
        raise HarnessError(f"[method]: context_from = {source!r} holds no text; name a file, or a folder of them ({', '.join(_KINDS)})")
    return found


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix in _KINDS and file.is_file())
    if not path.exists():
        raise HarnessError(f"[method]: context_from = {str(path)!r} is not there; name a file, or a folder of them ({', '.join(_KINDS)})")
    return [path]


def _text(file: Path) -> str:
    try:
        return read_text(file, LARGEST_TEXT)
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"[method]: context_from: {file} cannot be read as UTF-8 text ({error})") from None
