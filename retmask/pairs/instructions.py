"""Instructions that a model writes itself: given only its chat template up to the place where the user speaks, it says what a user would.

Method: Magpie (Xu et al. 2024, arXiv 2406.08464), section 2. What the model writes is a function of the turn's number and the seed, and
what is kept is decided turn by turn in that order, so neither the size of a round nor an interruption changes which instructions come out.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import fmean, median
from typing import Final

from harness.api import HarnessError, Json
from retmask.pairs.pairing import is_repetitive
from retmask.pairs.responses import Begun, Response, Sampler, Sampling

SELF: Final = "self"
"""``prompts_from`` of instructions that the model writes."""
REASONS: Final = ("unfinished", "empty", "repetitive", "contaminated", "duplicate", "near_duplicate")
"""Why a turn may be left out, in the order in which it is asked."""
#: Share of character n-grams that two instructions have in common (Jaccard) from which the later one is a near-duplicate.
_ALIKE: Final = 0.7
_NGRAM: Final = 5
_HASHES: Final = 128
#: Turns that are written in excess of those wanted, at first: about a fifth is left out of what SmolLM2-135M writes.
_SPARE: Final = 1.25
_ROUND: Final = 16
#: One in so many turns has to be of use, once there are so many to judge by.
_FEWEST: Final = 20
_JUDGED: Final = 256
_WORDS: Final = re.compile(r"\w+")

Guard = Callable[[Sequence[str]], set[int]]
"""Indices of the texts that share an n-gram with the evaluation."""


@dataclass(frozen=True)
class Written:
    """Instructions in the order of their turns, and what was left out before the last of them."""

    prompts: tuple[str, ...]
    tokens: tuple[int, ...]
    """Of each, the one that ends it included."""
    counts: Mapping[str, int]
    """``read`` turns, each of :data:`REASONS`, and ``kept``."""

    def facts(self) -> dict[str, Json]:
        """Give the figures for a manifest."""
        pairs = [pair for prompt in self.prompts for pair in _bigrams(prompt)]
        return {
            **self.counts,
            "mean_tokens": round(fmean(self.tokens), 1),
            "median_tokens": float(median(self.tokens)),
            "longest_tokens": max(self.tokens),
            "distinct_bigram_share": round(len(set(pairs)) / max(len(pairs), 1), 3),
        }


def first_round(count: int) -> int:
    """Count the turns that are written at first for ``count`` instructions."""
    return max(ceil(count * _SPARE), _ROUND)


def write(
    engine: Sampler,
    count: int,
    settings: Sampling,
    guard: Guard,
    journal: Path,
    say: Callable[[str], None],
    begun: Begun | None = None,
) -> Written:
    """Write the first ``count`` instructions that pass the filters, written in rounds until they are there.

    ``begun`` gives what the user has said before the model goes on; it is part of the instruction. Then two instructions are alike only if
    they are the same, since a question may well be asked about two texts.

    HarnessError, with what was left out and why, if too little of what the model writes is of use.
    """
    sieve = _Sieve(count, guard, begun)
    asked = first_round(count)
    while True:
        turns = engine.user_turns(asked, settings, journal, say, **({} if begun is None else {"begun": begun}))
        sieve.take(turns[sieve.counts["read"] :])
        kept = len(sieve.kept)
        if kept == count:
            return sieve.written()
        if asked >= _JUDGED and kept * _FEWEST < asked:
            reasons = ", ".join(f"{sieve.counts[reason]} {reason.replace('_', ' ')}" for reason in REASONS if sieve.counts[reason])
            raise HarnessError(
                f"[method]: prompts_from: of {asked} instructions that the model wrote {kept} can be used, and {count} are "
                f"wanted ({reasons}); ask for fewer prompts, change prompts_temperature or prompts_max_tokens, or name another source"
            )
        say(f"{kept} of {count} instructions can be used so far")
        asked += min(max(ceil((count - kept) * asked / max(kept, 1)), _ROUND), asked)


class _Sieve:
    """Which turns are kept, decided one after another."""

    def __init__(self, count: int, guard: Guard, begun: Begun | None = None) -> None:
        self.count, self.guard, self.begun = count, guard, begun
        self.kept: list[tuple[str, int]] = []
        self.counts: Counter[str] = Counter(dict.fromkeys(("read", *REASONS), 0))
        self._said: set[str] = set()
        self._alike = NearDuplicates()

    def take(self, turns: Sequence[Response]) -> None:
        """Look at these, which follow those looked at before, until there are enough."""
        texts = [f"{self.begun(turn.prompt) if self.begun else ''}{turn.text}".strip() for turn in turns]
        sound = [index for index, turn in enumerate(turns) if _fault(turn) is None]
        shared = {sound[place] for place in self.guard([texts[index] for index in sound])}
        for index, turn in enumerate(turns):
            if len(self.kept) == self.count:
                return
            self.counts["read"] += 1
            reason = _fault(turn) or ("contaminated" if index in shared else self._known(texts[index]))
            if reason is not None:
                self.counts[reason] += 1
                continue
            self.kept.append((texts[index], len(turn.ids)))

    def _known(self, text: str) -> str | None:
        words = " ".join(_words(text))
        if words in self._said:
            return "duplicate"
        self._said.add(words)
        return "near_duplicate" if not self.begun and self._alike.is_known(words) else None

    def written(self) -> Written:
        prompts, tokens = zip(*self.kept, strict=True)
        return Written(prompts, tokens, {**self.counts, "kept": len(prompts)})


def _fault(turn: Response) -> str | None:
    """What is wrong with a turn by itself."""
    if not turn.finished:
        return "unfinished"
    if not _words(turn.text):
        return "empty"
    return "repetitive" if is_repetitive(turn) else None


class NearDuplicates:
    """Texts that were seen, found again by what they are made of (Broder 1997).

    MinHash names the few that may be alike, and the n-grams themselves decide; so what is said does not hang on luck with the hashes.
    """

    def __init__(self) -> None:
        from datasketch import MinHashLSH

        self._index = MinHashLSH(threshold=_ALIKE, num_perm=_HASHES, weights=(0.1, 0.9))  # a candidate too many costs nothing
        self._grams: list[set[str]] = []

    def is_known(self, text: str) -> bool:
        """Say whether one like ``text`` was seen; if not, it is remembered."""
        from datasketch import MinHash

        grams = {text[start : start + _NGRAM] for start in range(max(len(text) - _NGRAM, 0) + 1)}
        sketch = MinHash(num_perm=_HASHES)
        sketch.update_batch([gram.encode() for gram in sorted(grams)])
        if any(_jaccard(grams, self._grams[number]) >= _ALIKE for number in self._index.query(sketch)):
            return True
        self._index.insert(len(self._grams), sketch, check_duplication=False)
        self._grams.append(grams)
        return False


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


def _bigrams(text: str) -> list[tuple[str, str]]:
    return list(pairwise(_words(text)))
