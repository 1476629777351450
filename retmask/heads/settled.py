"""When it is settled whether an answer holds its needle, so that no more of it has to be written.

A trial counts by ROUGE-1 recall over the whole answer. Words that are complete stay in the answer, so recall over them is a lower bound; a
token completes at most so many of the needle's words, so what is left to write gives an upper one. Both are exact: the outcome is that of
the whole answer.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from retmask.heads.trial_scoring import SUCCESS, TrialScoring

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from retmask.heads.trials import Trial

_WORD: Final = re.compile(r"[a-z0-9]+")
_UNFINISHED: Final = re.compile(r"[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]*$")
"""What is after the last blank or punctuation mark: a word, or a character, that may go on."""


class Settled:
    """Knows of an answer under way whether its trial counts, whatever comes."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", rules: TrialScoring) -> None:
        self._tokenizer = tokenizer
        self._rules = rules
        spelled = (_WORD.findall(token.lower()) for token in tokenizer.get_vocab())
        self._several = sorted({tuple(words) for words in spelled if len(words) > 1})
        """Tokens of more than one word."""
        self._most = lru_cache(maxsize=None)(self._most_words)

    def counts(self, trial: "Trial", ids: Sequence[int]) -> bool | None:
        """Say whether the trial counts; None while that depends on what is still to be written."""
        text = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        if self._rules.recall(trial.needle.answer, _UNFINISHED.sub("", text)) > SUCCESS:
            return True
        if self._rules.stems:  # words that stem to the same may be spelled in other tokens
            return None
        words = len(_WORD.findall(trial.needle.answer.lower()))
        found = self._rules.recall(trial.needle.answer, text) * words
        left = self._rules.max_new_tokens - len(ids)
        return None if found + left * self._most(trial.needle.answer) > SUCCESS * words + 1e-6 else False

    def is_settled(self, trial: "Trial", ids: Sequence[int]) -> bool:
        """Say whether that is known."""
        return self.counts(trial, ids) is not None

    def _most_words(self, answer: str) -> int:
        """Most of the answer's words that one token can complete: its first may end one, its last may begin one."""
        wanted = set(_WORD.findall(answer.lower()))

        def fitting(words: tuple[str, ...]) -> int:
            first = any(word.endswith(words[0]) for word in wanted)
            last = any(word.startswith(words[-1]) for word in wanted)
            return first + last + sum(word in wanted for word in words[1:-1])

        return max([1, *map(fitting, self._several)])
