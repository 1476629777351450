"""Guesses at a model's answers, so that one pass can check a whole answer instead of one pass writing each token.

A needle's answer is mostly known: the needle's own tokens, in the wrapping the model has used before ("The note says: ... ."). Greedy
decoding is then verified instead of run (speculative decoding, Leviathan et al., arXiv 2211.17192, with a draft that costs nothing). A
wrong guess costs a few tokens of time and never changes an answer.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from retmask.trials import Trial

_LONGEST_WRAPPING: Final = 16


class Drafts:
    """Guesses answers to needle questions, and learns from those it sees."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._before: tuple[int, ...] = ()
        self._after: tuple[int, ...] = ()
        self._as_in_context = True

    def guess(self, trial: "Trial") -> tuple[int, ...]:
        """The answer expected, without an end-of-text token."""
        return self._before + self._variants(trial)[0 if self._as_in_context else 1] + self._after

    def learn(self, trial: "Trial", answer: Sequence[int], stops: Sequence[int]) -> None:
        """Take over the wrapping of an answer that holds the needle."""
        said = tuple(answer[:-1] if answer and answer[-1] in stops else answer)
        for number, variant in enumerate(self._variants(trial)):
            start = _find(said, variant)
            if start is not None:
                before, after = said[:start], said[start + len(variant) :]
                if len(before) + len(after) <= _LONGEST_WRAPPING:
                    self._before, self._after, self._as_in_context = before, after, number == 0
                return

    def _variants(self, trial: "Trial") -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The needle's tokens as they stand in the prompt, and at the start of a text, where a word has no blank before it."""
        alone = self._tokenizer(trial.needle.answer, add_special_tokens=False)["input_ids"]
        return trial.needle_ids, tuple(alone)


def _find(text: tuple[int, ...], part: tuple[int, ...]) -> int | None:
    if not part:
        return None
    return next((start for start in range(len(text) - len(part) + 1) if text[start : start + len(part)] == part), None)
