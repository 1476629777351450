"""QRHead detection: how much of the question's attention goes to the passage that answers it.

After Zhang et al., "Query-Focused Retrieval Heads Improve Long-Context Reasoning and Re-ranking", arXiv 2506.09944, section 2: a head's
score is the attention from the query's tokens to the gold passage's, averaged over the query's tokens and summed over the passage's,
minus the same for a query that asks nothing ("N/A"), which takes out what a head attends to anyway (calibration after Chen et al.,
arXiv 2410.02642). Passage tokens whose calibrated attention lies two standard deviations below the passage's mean are left out. No
answer is generated, so every trial counts. A head that attends less than for the null query scores 0.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.api import HarnessError
from harness.screen.progress import Clock
from retmask.heads.detectors import TrialResult
from retmask.heads.prefix_reader import Reader, reading, reading_order
from retmask.heads.trial_scoring import TrialScoring
from retmask.heads.trials import Trial
from retmask.model import encode

NULL_QUERY: Final = "N/A"


class QueryDetector:
    """Heads that look from the question to its passage."""

    name = "query"

    def forced(self, heads: int) -> int:
        """Count the two questions that are put to each haystack, of an answer's length about."""
        return 2

    def measure(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        trials: Sequence[Trial],
        rules: TrialScoring,
        say: Callable[[str], None],
    ) -> list[TrialResult]:
        """Read each prompt in one pass; the null query goes over the same haystack, which is read once."""
        if any(trial.question <= 0 for trial in trials):
            raise HarnessError("these trials do not say where their question starts, which the query detector needs; use the grid protocol")
        found: dict[int, TrialResult] = {}
        clock, every = Clock(len(trials)), max(10, len(trials) // 10)
        with reading(model, mass=True) as reader:
            for index in reading_order([trial.prompt_ids for trial in trials]):
                trial = trials[index]
                scores = calibrated(_to_passage(reader, trial.prompt_ids, trial), _to_passage(reader, _null(tokenizer, trial), trial))
                found[index] = TrialResult(trial, (), "", None, scores.cpu().numpy())
                if len(found) % every == 0 and len(found) < len(trials):
                    say(f"heads: {len(found)} of {len(trials)} trials{clock.left(len(found))}")
        say(f"heads: {len(found)} of {len(trials)} trials")
        return [found[index] for index in range(len(trials))]


def calibrated(asked: Tensor, null: Tensor) -> Tensor:
    """Compute scores [layers, heads] from attention to each passage token, [layers, heads, tokens], under the query and the null query."""
    difference = asked - null
    spread = difference.std(dim=-1, keepdim=True, correction=0)
    usual = difference >= difference.mean(dim=-1, keepdim=True) - 2 * spread
    return torch.where(usual, difference, 0).sum(dim=-1).clamp(0, 1)


def _to_passage(reader: Reader, ids: tuple[int, ...], trial: Trial) -> Tensor:
    """Mean attention from the question on to each token of the passage: [layers, heads, tokens]."""
    weights = reader.read(ids, len(ids) - trial.question)[1]
    return weights[..., slice(*trial.passage)]


def _null(tokenizer: PreTrainedTokenizerBase, trial: Trial) -> tuple[int, ...]:
    """The prompt with a question that asks nothing."""
    before, asked, after = trial.prompt.removesuffix(trial.begun).rpartition(trial.needle.question)
    assert asked
    ids = tuple(encode(tokenizer, before + NULL_QUERY + after))
    same = ids[: trial.question] == trial.prompt_ids[: trial.question]
    return ids if same else trial.prompt_ids[: trial.question] + tuple(tokenizer(NULL_QUERY + after, add_special_tokens=False)["input_ids"])
