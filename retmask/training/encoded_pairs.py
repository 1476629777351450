"""Preference pairs as tokens: encoded, checked for length, and put in the order of training."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase

from harness.api import HarnessError
from retmask.model import encode, load_tokenizer, render
from retmask.pairs.pairing import PreferencePair, read_pairs
from retmask.pairs.turns import assistant_turn
from retmask.training.launch import SFT, TrainConfig
from tasks.files import read_text, sha256

Row: TypeAlias = Mapping[str, NDArray[Any]]
"""``prompt_ids``, ``chosen_ids``, ``rejected_ids``: the columns that trl's trainer takes; and ``chosen_weights`` and ``rejected_weights``
where tokens count differently. Four bytes each.
"""
_FACTS = "overlong.json"


@dataclass(frozen=True)
class Stored:
    """Rows on disk, which every process maps into its memory."""

    path: Path
    """A data set of ``datasets``, shortest pairs first, with each one's ``size``."""
    count: int
    overlong: int
    """Pairs that were left out."""


def store(config: TrainConfig) -> Stored:
    """Encode the pairs of ``config`` and write them below its output; the next start finds them, and their reference log-probabilities.

    HarnessError for pairs that cannot be read, and for too many that are too long.
    """
    folder = Path(config.output) / f"rows-{_identity(config)}"
    if not (folder / _FACTS).exists():
        tokenizer = load_tokenizer(Path(config.model))
        chosen_only = config.loss == SFT
        encoded = encode_pairs(tokenizer, read_pairs(Path(config.pairs), chosen_only=chosen_only))
        kept, overlong = fit(encoded, config.max_length, config.max_overlong_share, config.pairs)
        _write(kept, folder, {"pairs": len(kept), "overlong": overlong}, chosen_only)
    return stored(config)


def stored(config: TrainConfig) -> Stored:
    """Read what :func:`store` wrote, for the processes that did not."""
    folder = Path(config.output) / f"rows-{_identity(config)}"
    facts = json.loads(read_text(folder / _FACTS))
    return Stored(folder, facts["pairs"], facts["overlong"])


def _identity(config: TrainConfig) -> str:
    """Of what the rows depend on. Another file under the same name, or another limit, gives other rows."""
    try:
        content = sha256(config.pairs)
    except OSError as error:
        raise HarnessError(f"cannot read preference pairs: {error}") from error
    text = json.dumps([content, config.model, config.max_length, config.max_overlong_share, config.loss == SFT])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _write(rows: Sequence[Row], folder: Path, facts: Mapping[str, int], chosen_only: bool) -> None:
    from datasets import Dataset

    columns: dict[str, Any] = {"size": [size(row) for row in rows]}
    if chosen_only:
        columns["input_ids"] = [np.concatenate([row["prompt_ids"], row["chosen_ids"]]) for row in rows]
        columns["labels"] = [np.concatenate([np.full_like(row["prompt_ids"], -100), row["chosen_ids"]]) for row in rows]
    else:
        columns |= {name: [row[name] for row in rows] for name in rows[0]}
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    Dataset.from_dict(columns).save_to_disk(str(partial))
    (partial / _FACTS).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]) -> list[Row]:
    """Encode prompt and answers as the model saw and wrote them.

    An answer that comes as text is put as the chat template puts one, and ends as it ends a turn, if and only if it was finished. Where a
    file does not say so of a text beside tokens, it ends as they do: an end of its own would tell the two apart.
    """
    turn = assistant_turn(tokenizer)
    ends = {tokenizer.eos_token_id, *tokenizer(turn.end.strip(), add_special_tokens=False)["input_ids"][-1:]}
    weighted = any(pair.chosen_weights for pair in pairs)

    def answer(prompt: str, before: list[int], ids: Sequence[int], text: str, *, finished: bool) -> NDArray[np.int32]:
        if ids or not text:
            return np.array(ids, np.int32)
        if re.match(r" \S", text):  # as sampled tokens read; the template says whether there is a blank
            text = text[1:]
        written = f"{turn.lead}{text}{turn.end if finished else ''}"
        whole = encode(tokenizer, prompt + written)
        if whole[: len(before)] == before:  # otherwise the prompt's last letters and the answer's first make one token
            return np.array(whole[len(before) :], np.int32)
        return np.array(tokenizer(written, add_special_tokens=False)["input_ids"], np.int32)

    def finished(said: bool | None, others: Sequence[int]) -> bool:
        return said if said is not None else not others or others[-1] in ends

    def row(pair: PreferencePair) -> Row:
        chosen, rejected = finished(pair.chosen_finished, pair.rejected_ids), finished(pair.rejected_finished, pair.chosen_ids)
        prompt = render(tokenizer, pair.prompt)
        before = encode(tokenizer, prompt)
        encoded: dict[str, NDArray[Any]] = {
            "prompt_ids": np.array(before, np.int32),
            "chosen_ids": answer(prompt, before, pair.chosen_ids, pair.chosen, finished=chosen),
            "rejected_ids": answer(prompt, before, pair.rejected_ids, pair.rejected, finished=rejected),
        }
        if weighted:
            for side, counts in (("chosen", pair.chosen_weights), ("rejected", pair.rejected_weights)):
                encoded[f"{side}_weights"] = np.array(counts or np.ones(len(encoded[f"{side}_ids"])), np.float32)
        return encoded

    return [row(pair) for pair in pairs]


def fit(rows: list[Row], max_length: int, max_overlong_share: float, source: str) -> tuple[list[Row], int]:
    """Choose the pairs within ``max_length``, shortest first, and how many are not."""
    if not rows:
        raise HarnessError(f"{source} holds no preference pairs")
    ordered = sorted(rows, key=size)  # the reference pass takes them as they come: neighbours of one length need no padding
    kept = [row for row in ordered if size(row) <= max_length]
    overlong = len(rows) - len(kept)
    if not kept or overlong > max_overlong_share * len(rows):
        raise HarnessError(
            f"{overlong} of {len(rows)} pairs have more than max_length = {max_length} tokens "
            f"(the longest has {size(ordered[-1])}); raise max_length, lower max_new_tokens, or leave more out with max_overlong_share"
        )
    return kept, overlong


def size(row: Row) -> int:
    """Count the tokens of the longer of a pair's two sequences."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


class Blocks(Sampler[int]):
    """A random order whose blocks of one optimizer step are sorted by length.

    Micro-batches then hold pairs of similar length and little padding, while each step sees the same pairs as without sorting, so nothing
    but speed changes. The last block of an epoch is filled up from its beginning: every step has as many pairs, however many processes
    share them. The order of an epoch depends on the seed and the epoch alone, as resuming needs it to.
    """

    def __init__(self, sizes: Sequence[int], block: int, seed: int) -> None:
        self.sizes, self.block, self.seed, self.epoch = sizes, block, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Note the epoch; called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.sizes) // self.block) * self.block

    def __iter__(self) -> Iterator[int]:
        order = list(range(len(self.sizes)))
        Random(f"{self.seed}:{self.epoch}").shuffle(order)
        order = [order[index % len(order)] for index in range(len(self))]
        for start in range(0, len(order), self.block):
            yield from sorted(order[start : start + self.block], key=lambda index: self.sizes[index])
