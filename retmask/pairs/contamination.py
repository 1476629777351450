"""Instructions that share a long n-gram with what the model is evaluated on.

A prompt is contaminated if ``words`` successive words of it stand in an example of the suite (13 in Brown et al. 2020, appendix C).
N-grams that stand in more than half of a task's examples are the task's wording, such as its instruction, and count for nothing; nor do
those that begin or end with half an n-gram of wording.

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
    """Find the prompts that share an n-gram of ``words`` words with an example. ``suite`` is (task, text) of every example."""
    long, short = _Grams(words), _Grams(max(words // 2, 1))
    each = [long.of(prompt) for prompt in prompts]
    ends = [short.of(prompt) for prompt in prompts]
    seen, halves = _Known(each), _Known(ends)
    for task, text in suite:
        seen.add(task, long.of(text))
        halves.add(task, short.of(text))
    copied, wording = seen.hashes[seen.rare()], halves.hashes[halves.common()]
    return {index for index, (grams, parts) in enumerate(zip(each, ends, strict=True)) if _copies(grams, parts, copied, wording)}


def _copies(grams: Hashes, parts: Hashes, copied: Hashes, wording: Hashes) -> bool:
    """True if one of a prompt's n-grams stands in an example, and neither of its halves is a task's wording."""
    common = np.isin(parts, wording)
    last = len(parts) - len(grams)  # from an n-gram's first half to its last, in words
    return bool((np.isin(grams, copied) & ~common[: len(grams)] & ~common[last:]).any())


class _Known:
    """How many examples of each task hold each of the prompts' n-grams."""

    def __init__(self, each: Sequence[Hashes]) -> None:
        self.hashes = np.unique(np.concatenate([np.empty(0, np.uint64), *each]))
        self.counts: dict[str, NDArray[np.int64]] = {}
        self.examples: Counter[str] = Counter()

    def add(self, task: str, found: Hashes) -> None:
        """Count one example."""
        self.examples[task] += 1
        self.counts[task] = self.counts.get(task, np.zeros(len(self.hashes), np.int64)) + np.isin(self.hashes, found)

    def common(self) -> NDArray[np.bool_]:
        """Find those in more than half of some task's examples."""
        common = np.zeros(len(self.hashes), bool)
        for task, counts in self.counts.items():
            common |= counts > max(self.examples[task] / 2, 1)
        return common

    def rare(self) -> NDArray[np.bool_]:
        """Find those that stand in an example and are not common."""
        seen = np.zeros(len(self.hashes), bool)
        for counts in self.counts.values():
            seen |= counts > 0
        return seen & ~self.common()


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
