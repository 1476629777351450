"""Guesses at a model's answers, so that one pass can check a whole answer instead of one pass writing each token.

An answer is mostly known: the needle's tokens, or its whole sentence, in the wrapping that the model has used before. Greedy decoding is
then verified instead of run (speculative decoding, Leviathan et al., arXiv 2211.17192, with a draft that costs nothing). A wrong guess
costs a few tokens of time and never changes an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from retmask.heads.trials import Trial

_LONGEST_WRAPPING: Final = 16


@dataclass(frozen=True)
class _Wording:
    """How a model words its answers."""

    before: tuple[int, ...] = ()
    """Tokens of its own, before what it copies."""
    after: tuple[int, ...] = ()
    skipped: int | None = None
    """Tokens of the needle's sentence that it leaves out at the start; None if it starts with the needle's answer itself."""
    dropped: int | None = None
    """Likewise at the end."""
    in_context: bool = True
    """Whether it copies the tokens of the prompt, or those of the answer by itself, whose first word has no blank before it."""


class Drafts:
    """Guesses answers to needle questions, and learns from those it sees."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._wording = _Wording()

    def guess(self, trial: "Trial") -> tuple[int, ...]:
        """Give the answer expected, without an end-of-text token."""
        how = self._wording
        if not how.in_context:
            return how.before + self._alone(trial) + how.after
        start = trial.needle_start if how.skipped is None else trial.passage[0] + how.skipped
        end = trial.needle_end if how.dropped is None else trial.passage[1] - how.dropped
        return how.before + trial.prompt_ids[start:end] + how.after

    def learn(self, trial: "Trial", answer: Sequence[int], stops: Sequence[int]) -> None:
        """Take over the wording of an answer that holds the needle."""
        said = tuple(answer[:-1] if answer and answer[-1] in stops else answer)
        start = _find(said, trial.needle_ids)
        if start is None:
            alone = self._alone(trial)
            start = _find(said, alone)
            if start is not None:
                self._take(_Wording(said[:start], said[start + len(alone) :], in_context=False))
            return
        end = start + len(trial.needle_ids)
        first, last = trial.needle_start, trial.needle_end
        while start and first > trial.passage[0] and said[start - 1] == trial.prompt_ids[first - 1]:
            start, first = start - 1, first - 1
        while end < len(said) and last < trial.passage[1] and said[end] == trial.prompt_ids[last]:
            end, last = end + 1, last + 1
        skipped = None if first == trial.needle_start else first - trial.passage[0]
        dropped = None if last == trial.needle_end else trial.passage[1] - last
        self._take(_Wording(said[:start], said[end:], skipped, dropped))

    def _take(self, wording: _Wording) -> None:
        if len(wording.before) + len(wording.after) <= _LONGEST_WRAPPING:
            self._wording = wording

    def _alone(self, trial: "Trial") -> tuple[int, ...]:
        return tuple(self._tokenizer(trial.needle.answer, add_special_tokens=False)["input_ids"])


def _find(text: tuple[int, ...], part: tuple[int, ...]) -> int | None:
    if not part:
        return None
    return next((start for start in range(len(text) - len(part) + 1) if text[start : start + len(part)] == part), None)
