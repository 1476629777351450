"""Needle-in-a-haystack trials: a sentence at a chosen depth of filler prose, and the tokens that have to be copied from it.

Protocol after Wu et al. (arXiv 2404.15574, section 2) and RetMask (arXiv 2601.11020, section 3.1), with the depth and the needle's
position right: the needle goes to the sentence boundary nearest the asked depth, counted in this tokenizer's tokens, and its span
comes from the offsets of the very text that the model reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from harness.api import HarnessError
from retmask.model import render
from tasks.needles import INSTRUCTION, Needle, draw_needle
from tasks.prose import sentence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Trial:
    """One prompt with its needle."""

    prompt: str
    """The rendered text, chat template included."""
    prompt_ids: tuple[int, ...]
    needle: Needle
    needle_start: int
    """First token of the needle's answer; an index into ``prompt_ids``."""
    needle_end: int
    """One past its last token."""
    length: int
    """Tokens asked for; the prompt has at most as many."""
    depth: float
    """Asked: 0 before the first haystack sentence, 1 after the last."""
    realised_depth: float
    """Share of the haystack's tokens that come before the needle."""

    @property
    def needle_ids(self) -> tuple[int, ...]:
        """The tokens that a retrieval head copies."""
        return self.prompt_ids[self.needle_start : self.needle_end]


def evenly(count: int) -> tuple[float, ...]:
    """``count`` depths from 0 to 1; a single one is in the middle."""
    return (0.5,) if count == 1 else tuple(index / (count - 1) for index in range(count))


def build_trials(
    tokenizer: "PreTrainedTokenizerBase", lengths: Sequence[int], trials_per_length: int, depths: Sequence[float], seed: int
) -> list[Trial]:
    """``trials_per_length`` trials for every length, going round the depths; each has a needle and a haystack of its own.

    ``lengths`` are tokens of the whole rendered prompt. HarnessError for a tokenizer without character offsets, a length with no
    room for the needle and one sentence, and a chat template that alters the user's text.
    """
    if not tokenizer.is_fast:
        raise HarnessError(f"{type(tokenizer).__name__} gives no character offsets to locate a needle by; use a fast tokenizer")
    return [
        _build(tokenizer, length, depths[index % len(depths)], Random(f"trial:{seed}:{length}:{index}"))
        for length in lengths
        for index in range(trials_per_length)
    ]


def _build(tokenizer: "PreTrainedTokenizerBase", length: int, depth: float, rng: Random) -> Trial:
    needle = draw_needle(rng)
    empty = _Prompt.compose(tokenizer, needle, [], 0)
    sentences, ends = _haystack(tokenizer, length - len(empty.ids), rng)
    while sentences:
        boundary = min(range(len(ends)), key=lambda index: abs(ends[index] - depth * ends[-1]))
        prompt = _Prompt.compose(tokenizer, needle, sentences, boundary)
        if len(prompt.ids) <= length:
            start, end = prompt.tokens(prompt.answer)
            return Trial(prompt.text, tuple(prompt.ids), needle, start, end, length, depth, prompt.depth())
        sentences.pop()  # tokens that merge across a boundary made the estimate too low
        ends.pop()
    raise HarnessError(f"{length} tokens leave no room for a haystack: needle, question and template take {len(empty.ids)}")


def _haystack(tokenizer: "PreTrainedTokenizerBase", budget: int, rng: Random) -> tuple[list[str], list[int]]:
    """As many sentences as fit, and the token position of each of the ``len(sentences) + 1`` boundaries."""
    sentences: list[str] = []
    sizes: list[int] = []
    while sum(sizes) <= budget:
        batch = [sentence(rng) for _ in range(64)]
        sizes += [len(ids) for ids in tokenizer([f" {text}" for text in batch], add_special_tokens=False)["input_ids"]]
        sentences += batch
    ends = [0, *accumulate(sizes)]
    fitting = sum(end <= budget for end in ends) - 1
    return sentences[: max(fitting, 0)], ends[: max(fitting, 0) + 1]


class Span(NamedTuple):
    """A range of characters, end exclusive."""

    start: int
    end: int


@dataclass(frozen=True)
class _Prompt:
    """A rendered prompt with the character spans of its parts."""

    text: str
    ids: list[int]
    offsets: list[tuple[int, int]]
    body: Span
    """Haystack and needle."""
    needle: Span
    answer: Span

    @classmethod
    def compose(cls, tokenizer: "PreTrainedTokenizerBase", needle: Needle, sentences: Sequence[str], boundary: int) -> "_Prompt":
        body = " ".join([*sentences[:boundary], needle.text, *sentences[boundary:]])
        content = f"{INSTRUCTION}{body}\n\n{needle.question}"
        text = render(tokenizer, content)
        if text.count(content) != 1:
            raise HarnessError("the chat template alters the user's text, so the needle's place in it is unknown")
        coded = tokenizer(text, add_special_tokens=not tokenizer.chat_template, return_offsets_mapping=True)
        body_start = text.index(content) + len(INSTRUCTION)
        needle_start = body_start + sum(len(item) + 1 for item in sentences[:boundary])
        answer_start = needle_start + needle.text.index(needle.answer)
        return cls(
            text,
            list(coded["input_ids"]),
            list(coded["offset_mapping"]),
            Span(body_start, body_start + len(body)),
            Span(needle_start, needle_start + len(needle.text)),
            Span(answer_start, answer_start + len(needle.answer)),
        )

    def depth(self) -> float:
        """Share of the haystack's tokens that come before the needle."""
        around = Span(self.body.start, self.needle.start), Span(self.needle.end, self.body.end)
        before, after = (end - start for start, end in map(self.tokens, around))
        return before / (before + after)

    def tokens(self, span: Span) -> tuple[int, int]:
        """The token range that overlaps a span of characters (a token that only holds the blank before it does not)."""
        overlapping = [
            index
            for index, (start, end) in enumerate(self.offsets)
            if max(start, span.start) < min(end, span.end) and self.text[max(start, span.start) : min(end, span.end)].strip()
        ]
        return (overlapping[0], overlapping[-1] + 1) if overlapping else (0, 0)
