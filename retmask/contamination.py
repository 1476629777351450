"""Instructions that share a long n-gram with what the model is evaluated on.

A prompt is contaminated if ``words`` successive words of it stand in an example of the suite (13 in Brown et al. 2020, appendix C).
N-grams that stand in more than half of a task's examples are the task's wording, such as its instruction, and count for nothing.

The suite may hold 10⁸ words, so it is streamed past the prompts' hashes and never kept.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]
_WORD: Final = re.compile(r"\w+")
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)


def contaminated(prompts: Sequence[str], suite: Iterable[tuple[str, str]], words: int) -> set[int]:
    """Indices of the prompts that share an n-gram of ``words`` words with an example. ``suite`` is (task, text) of every example."""
    grams = _Grams(words)
    each = [grams.of(prompt) for prompt in prompts]
    known = np.unique(np.concatenate([np.empty(0, np.uint64), *each]))
    hits: dict[str, NDArray[np.int64]] = {}
    examples: Counter[str] = Counter()
    for task, text in suite:
        examples[task] += 1
        found = np.isin(known, grams.of(text))
        hits[task] = hits.get(task, np.zeros(len(known), np.int64)) + found
    seen, wording = np.zeros(len(known), bool), np.zeros(len(known), bool)
    for task, counts in hits.items():
        seen |= counts > 0
        wording |= counts > max(examples[task] / 2, 1)
    copied = known[seen & ~wording]
    return {index for index, hashes in enumerate(each) if np.isin(hashes, copied).any()}


class _Grams:
    """Hashes of a text's n-grams. Equal words have equal numbers within one object."""

    def __init__(self, words: int) -> None:
        self.words = words
        self.numbers: dict[str, int] = {}

    def of(self, text: str) -> Hashes:
        """uint64 [words of the text - n + 1]; arithmetic is modulo 2⁶⁴."""
        numbers = [self.numbers.setdefault(word, len(self.numbers) + 1) for word in _WORD.findall(text.lower())]
        if len(numbers) < self.words:
            return np.empty(0, np.uint64)
        ids = np.array(numbers, np.uint64) * _MIX
        ids ^= ids >> np.uint64(29)
        count = len(ids) - self.words + 1
        hashes = np.zeros(count, np.uint64)
        for offset in range(self.words):
            hashes = hashes * _BASE + ids[offset : offset + count]
        return hashes
