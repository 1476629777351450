"""Greedy detection: sets of heads grown one by one, for models whose heads stand in for each other.

Where eight heads do the same work, silencing any one of them costs next to nothing, and a ranking by single heads hardly sees them. In
each trial a set is grown: the head whose silencing on top of the others' costs the answer the most is added, until the answer has lost
nearly all of its probability. Which heads are tried at each step is proposed by the gradient and by what each costs alone
(:mod:`retmask.heads.causal`), and decided exactly. The gradient by itself is not enough: it is flat where one head does nearly everything.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from retmask.heads.causal import FEW_HEADS, measured
from retmask.heads.detectors import TrialResult
from retmask.heads.forced_answers import FORMS, GRADIENT, ForcedAnswer, forced_answers
from retmask.heads.scores import Scores
from retmask.heads.trial_scoring import TrialScoring
from retmask.heads.trials import Trial

#: Heads that are tried at each step, of each of the two proposals.
_TRIED: Final = 8
#: A set grows no further once a token of the answer has less than this share of its probability left.
_LOST: Final = 0.05
#: Heads of a set, about, for the plan: SmolLM2 loses an answer with 3 to 6, the shipped model with 7 to 20.
_USUAL: Final = 8
#: Largest set, as a share of all heads and in heads.
_SHARE, _MOST = 0.5, 32


class GreedyDetector:
    """Heads of sets that are grown until the answer is lost."""

    name = "greedy"
    version = 2

    def forced(self, heads: int) -> int:
        """Count how many times a trial's answer is put to the model, for a set of the usual size."""
        alone, tried = (1 + heads, 2 * _TRIED) if heads <= FEW_HEADS else (0, _TRIED)
        return alone + _USUAL * (min(tried, heads) + GRADIENT) + FORMS

    def measure(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        trials: Sequence[Trial],
        rules: TrialScoring,
        say: Callable[[str], None],
    ) -> list[TrialResult]:
        """Grow one set for each trial. A head's score is what was left of the answer when it was added; 0 for those never added."""
        found: dict[int, TrialResult] = {}
        sizes = []
        for index, answer in forced_answers(model, trials):
            scores = grow(answer)
            sizes.append(int((scores > 0).sum()))
            found[index] = TrialResult(trials[index], (), "", None, scores)
        say(f"heads: {len(found)} of {len(trials)} trials, sets of {min(sizes)} to {max(sizes)} heads")
        return [found[index] for index in range(len(trials))]


def grow(answer: ForcedAnswer) -> Scores:
    """Grow the set of one trial: scores [layers, heads].

    The score is the share of a needle token's probability (geometric mean) that the intact model had and that was left before the head was
    added: 1 for the first, and for all that stand in for each other until the last of them goes.
    """
    silent = torch.zeros(answer.shape, dtype=torch.bool)
    scores = torch.zeros(answer.shape)
    intact = float(answer.log_probabilities(silent[None]))
    alone = measured(answer) if silent.numel() <= FEW_HEADS else None
    left = 1.0
    for _ in range(min(_MOST, max(1, int(silent.numel() * _SHARE)))):
        tried = _without_each(silent, [answer.gradient(silent)] + ([] if alone is None else [alone]))
        costs = answer.log_probabilities(tried)
        best = int(costs.argmin())
        scores[tried[best] & ~silent] = left
        silent = tried[best]
        left = min(1.0, float((costs[best] - intact).exp()))
        if left < _LOST:
            break
    found: Scores = scores.numpy()
    return found


def _without_each(silent: torch.Tensor, proposals: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sets that have one head more, [sets, layers, heads]: those whose added head costs the most by any of the proposals."""
    count = min(_TRIED, int((~silent).sum()))
    best = [costs.masked_fill(silent, -torch.inf).ravel().topk(count).indices.tolist() for costs in proposals]
    added = sorted({head for heads in best for head in heads})
    sets = silent.repeat(len(added), 1, 1)
    sets.view(len(added), -1)[list(range(len(added))), added] = True
    return sets
