"""Preference pairs by self-synthesis: the intact model's answer is chosen, the ablated model's rejected.

Method: RetMask (arXiv 2601.11020), section 3.3. Every response is drawn with noise of its own (seeded by the run's seed and the
prompt's number), so that neither the batch size nor an interruption changes what is sampled.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH_TOKENS: Final = 16_384


@dataclass(frozen=True)
class Response:
    """One sampled answer."""

    prompt: int
    """Index of its prompt."""
    text: str
    """Decoded without special tokens."""
    ids: tuple[int, ...]
    """As sampled, the end-of-text token included where the model wrote one."""
    finished: bool
    """False when the answer was cut off at ``max_new_tokens``."""


@dataclass(frozen=True)
class PreferencePair:
    """One row of DPO training."""

    prompt: str
    """The user's instruction, without the chat template."""
    chosen: str
    rejected: str
    chosen_ids: tuple[int, ...] = ()
    """The sampled tokens, so that training sees exactly what was generated; empty for pairs that come as text."""
    rejected_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn."""

    temperature: float = 0.6
    """0 takes the most likely token."""
    top_p: float = 1.0
    max_new_tokens: int = 2048
    seed: int = 0


@dataclass(frozen=True)
class Pairs:
    """The pairs that can be trained on, and what was left out."""

    kept: tuple[PreferencePair, ...]
    dropped: Mapping[str, int]
    """Reason -> count: ``empty`` (one of the answers says nothing), ``identical``."""
    mean_chosen_tokens: float
    mean_rejected_tokens: float
    """Both over all prompts, before anything was dropped."""
    unfinished: int
    """Answers of either kind that were cut off at ``max_new_tokens``."""

    @property
    def identical_share(self) -> float:
        """Share of prompts whose two answers were the same."""
        return self.dropped["identical"] / (len(self.kept) + sum(self.dropped.values()))


def join(prompts: Sequence[str], chosen: Sequence[Response], rejected: Sequence[Response]) -> Pairs:
    """Pair the answers by prompt. HarnessError if nothing is left to train on."""
    kept: list[PreferencePair] = []
    dropped = {"empty": 0, "identical": 0}
    for prompt, good, bad in zip(prompts, chosen, rejected, strict=True):
        texts = good.text.strip(), bad.text.strip()
        if not all(texts):
            dropped["empty"] += 1
        elif texts[0] == texts[1]:
            dropped["identical"] += 1
        else:
            kept.append(PreferencePair(prompt, good.text, bad.text, good.ids, bad.ids))
    if not kept:
        raise HarnessError(
            f"none of {len(prompts)} prompts gave a usable pair ({dropped['identical']} identical, {dropped['empty']} empty); "
            "mask more heads, raise temperature, or give other prompts"
        )
    lengths = [fmean(len(response.ids) for response in responses) for responses in (chosen, rejected)]
    unfinished = sum(not response.finished for response in (*chosen, *rejected))
    return Pairs(tuple(kept), dropped, lengths[0], lengths[1], unfinished)


def write_pairs(pairs: Sequence[PreferencePair], path: Path) -> None:
    """One JSON object a line, as :mod:`retmask.train` reads them."""
    path.write_text("".join(json.dumps(asdict(pair), ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8")


def read_pairs(path: Path) -> list[PreferencePair]:
    """HarnessError names the line that is no pair."""
    pairs = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise HarnessError(f"cannot read preference pairs: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            pairs.append(_read_pair(line, f"{path}, line {number}"))
    return pairs


def _read_pair(line: str, where: str) -> PreferencePair:
    try:
        row = json.loads(line)
        texts = [row[key] for key in ("prompt", "chosen", "rejected")]
        ids = [tuple(int(token) for token in row.get(key, ())) for key in ("chosen_ids", "rejected_ids")]
    except (ValueError, TypeError, KeyError) as error:
        raise HarnessError(f"{where}: not a preference pair ({error}); expected prompt, chosen and rejected") from error
    if not all(isinstance(text, str) and text for text in texts):
        raise HarnessError(f"{where}: prompt, chosen and rejected must be texts that are not empty")
    return PreferencePair(*texts, *ids)


def sample(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    settings: Sampling,
    journal: Path,
    say: Callable[[str], None] = lambda _: None,
    batch_tokens: int = _BATCH_TOKENS,
) -> list[Response]:
    """One response to each prompt, in their order. Every finished batch goes to ``journal``; what it holds is not sampled again.

    ``batch_tokens`` bounds prompt and new tokens of a batch together; it has no part in what is drawn.
    """
    from retmask.model import encode, render

    done = read_responses(journal)
    coded = {index: encode(tokenizer, render(tokenizer, prompts[index])) for index in range(len(prompts)) if index not in done}
    if done:
        say(f"{len(done)} of {len(prompts)} responses were already there")
    with journal.open("a", encoding="utf-8") as file:
        for batch in _batches(coded, settings.max_new_tokens, batch_tokens):
            fresh = _sample_batch(model, tokenizer, {index: coded[index] for index in batch}, settings)
            file.write("".join(json.dumps(asdict(response), ensure_ascii=False) + "\n" for response in fresh))
            file.flush()
            os.fsync(file.fileno())
            done |= {response.prompt: response for response in fresh}
            say(f"{len(done)} of {len(prompts)} responses")
    return [done[index] for index in range(len(prompts))]


def read_responses(journal: Path) -> dict[int, Response]:
    """Prompt index -> response. A last line that a crash cut short is removed from the file."""
    if not journal.exists():
        return {}
    data = journal.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(journal, len(whole))
    rows = (json.loads(line) for line in whole.splitlines())
    return {row["prompt"]: Response(row["prompt"], row["text"], tuple(row["ids"]), row["finished"]) for row in rows}


def _batches(coded: Mapping[int, Sequence[int]], new_tokens: int, batch_tokens: int) -> Iterator[list[int]]:
    """Prompts of similar length together, longest first: a batch that does not fit in memory fails at once, not after hours."""
    batch: list[int] = []
    for index in sorted(coded, key=lambda index: -len(coded[index])):
        if batch and (len(batch) + 1) * (len(coded[batch[0]]) + new_tokens) > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _sample_batch(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", coded: Mapping[int, Sequence[int]], settings: Sampling
) -> list[Response]:
    import torch

    from retmask.model import generate, pad_id, plain_generation, stop_ids
    from retmask.sampler import warpers

    pad, stops = pad_id(tokenizer), stop_ids(model, tokenizer)
    width = max(map(len, coded.values()))
    rows = [[pad] * (width - len(ids)) + list(ids) for ids in coded.values()]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in coded.values()]
    with torch.inference_mode():
        output = generate(model)(
            input_ids=torch.tensor(rows, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=plain_generation(model, tokenizer, settings.max_new_tokens),
            logits_processor=warpers(settings, list(coded), model.device),
        )
    responses = []
    for index, row in zip(coded, output[:, width:].tolist(), strict=True):
        end = next((position + 1 for position, token in enumerate(row) if token in stops), None)
        ids = row[:end]
        responses.append(Response(index, str(tokenizer.decode(ids, skip_special_tokens=True)), tuple(ids), end is not None))
    return responses
