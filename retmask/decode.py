"""Writing the rest of several texts together, token by token; rows leave the batch soon after they are done."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.engines.cache import RoomyCache

Choose: TypeAlias = Callable[[Tensor, Sequence[int]], Tensor]
"""The next token of each row, [rows], given the logits [rows, vocabulary] and which of the batch's first rows they belong to."""
IsDone: TypeAlias = Callable[[int, Sequence[int]], bool]
"""Whether a row is done, given which one it is and the tokens that it has written, at least one."""


def decode(
    model: PreTrainedModel, cache: RoomyCache, logits: Tensor, lengths: Tensor, choose: Choose, is_done: IsDone, limit: int
) -> list[list[int]]:
    """Write each row on, ``limit`` tokens at most.

    ``cache`` holds what is before, aligned at the ends; ``lengths`` [rows] says how much of it is a row's own, and ``logits``
    [rows, vocabulary] are those of its last token. A row that is done costs as much as any other, and leaving costs a copy of all others'
    keys and values: so rows leave once they are an eighth of the batch.
    """
    width = cache.get_seq_length()
    rows = list(range(len(logits)))
    written: list[list[int]] = [[] for _ in rows]
    done: set[int] = set()
    for step in range(limit):
        token = choose(logits, rows)
        for row, new in zip(rows, token.tolist(), strict=True):
            if row not in done:
                written[row].append(new)
                if is_done(row, written[row]):
                    done.add(row)
        running = [place for place, row in enumerate(rows) if row not in done]
        if not running or step + 1 == limit:
            break
        if len(running) <= len(rows) * 7 // 8:
            kept = torch.tensor(running, device=token.device)
            cache.keep(kept)
            rows, lengths, token = [rows[place] for place in running], lengths[kept], token[kept]
        logits = forward(model, cache, token[:, None], *places(lengths, width, step, step + 1))
    return written


def forward(model: PreTrainedModel, cache: RoomyCache, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """Compute logits [rows, vocabulary] of the last of ``ids`` [rows, tokens], which are appended to the cache."""
    output = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    logits: Tensor = output.logits
    return logits[:, -1]


def places(lengths: Tensor, width: int, first: int, last: int) -> tuple[Tensor, Tensor]:
    """Make attention mask [rows, width + last] of states aligned at their ends, and positions [rows, last - first] of new tokens."""
    columns = torch.arange(width + last, device=lengths.device)
    mask = (columns >= width - lengths[:, None]).long()
    return mask, lengths[:, None] + torch.arange(first, last, device=lengths.device)
