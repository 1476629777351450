"""When an answer ends, when it is right, and how copied tokens are counted."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from retmask.heads.scores import Scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from retmask.heads.trials import Trial

SUCCESS: Final = 0.5
"""A trial counts when its answer's ROUGE-1 recall exceeds this."""
_NEWLINE_BYTE: Final = "<0x0A>"


@dataclass(frozen=True)
class TrialScoring:
    """The scoring of trials. The defaults are the definition; :data:`PUBLISHED` is what the published program does instead."""

    max_new_tokens: int = 50
    end_of_text: bool = True
    """Answers end at the end-of-text token."""
    stop_ids: tuple[int, ...] = ()
    """Further token ids at which answers end."""
    newline_byte: bool = False
    """Answers end at the token spelt ``<0x0A>``, which vocabularies of byte-level BPE do not have."""
    every_step: bool = False
    """Count a needle token each time it is copied, rather than once."""
    stems: bool = False
    """Compare Porter stems of words, rather than words."""

    def stops(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
        """Give the token ids that end an answer."""
        from retmask.model import stop_ids

        newline = tokenizer.get_vocab().get(_NEWLINE_BYTE) if self.newline_byte else None
        found = [*(stop_ids(model, tokenizer) if self.end_of_text else ()), *self.stop_ids]
        return found if newline is None else [*found, newline]

    def recall(self, reference: str, text: str) -> float:
        """Compute the ROUGE-1 recall of the needle's answer in what was said."""
        return _stemmed_recall(reference, text) if self.stems else rouge1_recall(reference, text)

    def scores(self, trial: "Trial", generated: Sequence[int], looked_at: NDArray[np.int64]) -> Scores:
        """Compute the share of the needle's tokens that each head copied: float32 [layers, heads].

        ``looked_at`` is [layers, heads, steps]: the position that each head attends to most when ``generated[step]`` is produced.
        """
        tokens = trial.needle_end - trial.needle_start
        if tokens <= 0:
            return np.zeros(looked_at.shape[:2], np.float32)
        inside = (looked_at >= trial.needle_start) & (looked_at < trial.needle_end)
        token_there = np.asarray(trial.prompt_ids)[np.where(inside, looked_at, 0)]
        hit = inside & (token_there == np.asarray(generated, dtype=np.int64))
        if self.every_step:
            counts: Scores = hit.sum(axis=-1, dtype=np.float32)
            return counts / np.float32(tokens)
        positions = np.arange(trial.needle_start, trial.needle_end)
        copied = (hit[..., None] & (looked_at[..., None] == positions)).any(axis=2)
        scores: Scores = copied.mean(axis=-1, dtype=np.float32)
        return scores


RIGHT: Final = TrialScoring()
PUBLISHED: Final = TrialScoring(end_of_text=False, stop_ids=(144,), newline_byte=True, every_step=True, stems=True)
"""What the published program does (see :mod:`retmask.heads.protocols`)."""


def rouge1_recall(reference: str, text: str) -> float:
    """Compute the share of the reference's words that occur in the text, with multiplicity, in [0, 1] (Lin 2004, ROUGE-N with N = 1)."""
    wanted, found = (Counter(re.findall(r"[a-z0-9]+", part.lower())) for part in (reference, text))
    return (wanted & found).total() / max(1, wanted.total())


def _stemmed_recall(reference: str, text: str) -> float:
    return float(_stemmer().score(reference, text)["rouge1"].recall)


@cache
def _stemmer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1"], use_stemmer=True)
