"""Weights of a pair's tokens by how much intact and masked model disagree about them.

A token that both models give the same probability says nothing about what the mask took away, and most tokens of an answer are such. The
weight of a token is |log p - log p'| of the intact and of the masked model, given the prompt and the tokens before it, over the mean of
the same answer's tokens: weights have a mean of 1, so that rewards keep their scale. Where the models nowhere disagree, all are 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from retmask.heads.ablate import ablated
from retmask.heads.masks import HeadMask
from retmask.model import encode, render
from retmask.pairs.pairing import PreferencePair

_DIGITS = 4
_TIMES = 10


def weighted(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    mask: HeadMask,
    say: Callable[[str], None] = lambda _: None,
) -> list[PreferencePair]:
    """Give the pairs with a weight for each token of either answer."""
    found = []
    for number, pair in enumerate(pairs, start=1):
        prompt = encode(tokenizer, render(tokenizer, pair.prompt))
        chosen, rejected = (_answer_weights(model, prompt, ids, mask) for ids in (pair.chosen_ids, pair.rejected_ids))
        found.append(replace(pair, chosen_weights=chosen, rejected_weights=rejected))
        if number % max(1, len(pairs) // _TIMES) == 0:
            say(f"{number} of {len(pairs)} pairs")
    return found


def weights(intact: Sequence[float], masked: Sequence[float]) -> tuple[float, ...]:
    """Compute an answer's weights from the log-probabilities of its tokens under the two models.

    >>> weights([-1.0, -1.0, -2.0, -1.0], [-1.0, -3.0, -2.0, -2.0])
    (0.0, 2.6667, 0.0, 1.3333)
    """
    apart = [abs(one - other) for one, other in zip(intact, masked, strict=True)]
    mean = sum(apart) / max(len(apart), 1)
    return tuple(round(each / mean, _DIGITS) if mean > 0 else 1.0 for each in apart)


def _answer_weights(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int], mask: HeadMask) -> tuple[float, ...]:
    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    intact = _log_probabilities(model, ids, len(prompt))
    with ablated(model, mask):
        masked = _log_probabilities(model, ids, len(prompt))
    return weights(intact.tolist(), masked.tolist())


@torch.inference_mode()
def _log_probabilities(model: PreTrainedModel, ids: Tensor, start: int) -> Tensor:
    """Of the tokens from ``start`` on, each given those before it; ``ids`` is [1, tokens]."""
    logits = model(input_ids=ids, use_cache=False).logits[0, start - 1 : -1].float()
    found: Tensor = logits.log_softmax(dim=-1).gather(1, ids[0, start:, None])[:, 0]
    return found
