"""Preference pairs as tokens: encoded, checked for length, and put in the order of training."""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TypeAlias

from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase

from harness.api import HarnessError
from retmask.model import encode, render
from retmask.pairs import PreferencePair

Row: TypeAlias = Mapping[str, list[int]]
"""``prompt_ids``, ``chosen_ids``, ``rejected_ids``: the columns that trl's trainer takes."""


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]) -> list[Row]:
    """Prompt and answers as the model saw and wrote them. An answer that comes as text is ended with the end-of-text token."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]

    def answer(ids: Sequence[int], text: str) -> list[int]:
        return list(ids) or [*tokenizer(text, add_special_tokens=False)["input_ids"], *end]

    return [
        {
            "prompt_ids": encode(tokenizer, render(tokenizer, pair.prompt)),
            "chosen_ids": answer(pair.chosen_ids, pair.chosen),
            "rejected_ids": answer(pair.rejected_ids, pair.rejected),
        }
        for pair in pairs
    ]


def fit(rows: list[Row], max_length: int, max_overlong_share: float, source: str) -> tuple[list[Row], int]:
    """The pairs within ``max_length``, and how many are not."""
    if not rows:
        raise HarnessError(f"{source} holds no preference pairs")
    ordered = sorted(rows, key=size)  # the reference pass takes them as they come: neighbours of one length need no padding
    kept = [row for row in ordered if size(row) <= max_length]
    overlong = len(rows) - len(kept)
    if not kept or overlong > max_overlong_share * len(rows):
        raise HarnessError(
            f"{overlong} of {len(rows)} pairs have more than max_length = {max_length} tokens "
            f"(the longest has {size(ordered[-1])}); raise max_length or lower max_new_tokens"
        )
    return kept, overlong


def size(row: Row) -> int:
    """Tokens of the longer of a pair's two sequences."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


class Blocks(Sampler[int]):
    """A random order whose blocks of one optimizer step are sorted by length.

    Micro-batches then hold pairs of similar length and little padding, while each step sees the same pairs as without sorting, so nothing
    but speed changes. The order of an epoch depends on the seed and the epoch alone, as resuming needs it to.
    """

    def __init__(self, sizes: Sequence[int], block: int, seed: int) -> None:
        self.sizes, self.block, self.seed, self.epoch = sizes, block, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[int]:
        order = list(range(len(self.sizes)))
        Random(f"{self.seed}:{self.epoch}").shuffle(order)
        for start in range(0, len(order), self.block):
            yield from sorted(order[start : start + self.block], key=lambda index: self.sizes[index])
