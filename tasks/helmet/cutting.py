"""Cut a long context: first to the length in its set's name, then to what the prompt has room for.

HELMET measures the first with Llama 2's tokenizer, which is gated: a copy of the user's does the same here (:class:`Tokenized`), and
without one the tested model's own tokens count (:class:`Counted`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from tasks.files import read_bytes
from tasks.helmet.fit import Count
from tasks.helmet.records import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FILE: Final = "tokenizer.json"
#: Bytes of the largest tokenizers there are.
_LARGEST: Final = 64 << 20
#: Guesses at the end of a text, and the tokens within which one is good enough.
_GUESSES: Final = 16
_NEAR: Final = 2


class Cutter(Protocol):
    """Counts the tokens of a context and cuts it."""

    @property
    def name(self) -> str:
        """Say which tokenizer it is, for a suite's facts."""

    def tokens(self, text: str) -> int:
        """Count the tokens of ``text``."""

    def cut(self, text: str, most: int, mark: str) -> str:
        """Cut ``text`` to at most ``most`` tokens with ``mark`` at its end; one that is no longer stays as it is."""


@dataclass(frozen=True)
class Counted:
    """Cut by the tested model's own tokens."""

    count: Count
    name: str = "the model's own tokenizer"

    def tokens(self, text: str) -> int:
        return self.count(text, "") - self.count("", "")

    def cut(self, text: str, most: int, mark: str) -> str:
        if self.tokens(text) <= most:
            return text
        return longest(text, lambda start: self.tokens(start + mark), most) + mark


class Tokenized:
    """Cut by a copy of the tokenizer that HELMET cuts with, or of any other, where HELMET would."""

    def __init__(self, directory: Path) -> None:
        self._tokenizer, self.digest = _load(directory)
        self.name = f"{directory}, tokenizer.json sha256 {self.digest[:12]}"

    def tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text).ids)

    def cut(self, text: str, most: int, mark: str) -> str:
        encoded = self._tokenizer.encode(text)
        if len(encoded.ids) <= most:
            return text
        end: int = encoded.offsets[max(0, most - self.tokens(mark))][1]
        return text[:end] + mark


def _load(directory: Path) -> tuple["Tokenizer", str]:
    from tokenizers import Tokenizer

    path = directory / _FILE if directory.is_dir() else directory
    try:
        content = read_bytes(path, _LARGEST)
        json.loads(content)
        return Tokenizer.from_str(content.decode()), sha256(content).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name the directory of a tokenizer, with its {_FILE}") from None
    except Exception as error:  # the library raises nothing narrower
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{path} is no tokenizer ({reason}); name the directory of one, with its {_FILE}") from None


def longest(text: str, tokens: Callable[[str], int], most: int) -> str:
    """Find the longest beginning of ``text`` of at most ``most`` tokens, give or take two. Empty if none is that short.

    ``tokens`` counts what becomes of a beginning, such as a whole prompt. The same text and counts give the same end on every machine.
    """
    fits, over = -1, len(text) + 1  # invariant: `fits` characters fit (-1: none known to), `over` do not
    guess, rate = len(text), 1.0
    for attempt in range(_GUESSES):
        found = tokens(text[:guess])
        if found <= most:
            fits = guess
            if most - found <= _NEAR:
                break
        else:
            over = guess
        if over - fits <= 1:
            break
        rate = max(rate, guess / max(1, found)) if attempt == 0 else rate
        step = int((most - found) * rate)
        guess = min(max(guess + step, fits + 1, 0), over - 1) if attempt % 4 < 3 else max(0, (fits + over) // 2)
    return text[: max(0, fits)]
