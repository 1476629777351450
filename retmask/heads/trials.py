"""Needle-in-a-haystack trials: a sentence at a chosen depth of filler prose, and the tokens that have to be copied from it.

Protocol after Wu et al. (arXiv 2404.15574, section 2) and RetMask (arXiv 2601.11020, section 3.1), with the depth and the needle's
position right: the needle goes to the sentence boundary nearest the asked depth, counted in this tokenizer's tokens, and its span
comes from the offsets of the very text that the model reads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from harness.api import HarnessError
from harness.models.tokens import adds_special
from retmask.heads.needle_texts import INVENTED, Texts
from retmask.model import render
from tasks.needles import INSTRUCTION, Needle

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
    """Tokens asked for: of the whole prompt, or, in the published layouts, of its haystack."""
    depth: float
    """Asked: 0 before the first haystack sentence, 1 after the last."""
    realised_depth: float
    """Share of the haystack's tokens that come before the needle."""
    passage: tuple[int, int] = (0, 0)
    """The token range of the whole needle sentence."""
    question: int = 0
    """First token of the question."""
    begun: str = ""
    """The beginning of the answer after the question, for a model without a chat template."""

    @property
    def needle_ids(self) -> tuple[int, ...]:
        """The tokens that a retrieval head copies."""
        return self.prompt_ids[self.needle_start : self.needle_end]


def evenly(count: int) -> tuple[float, ...]:
    """Spread ``count`` depths from 0 to 1; a single one is in the middle."""
    return (0.5,) if count == 1 else tuple(index / (count - 1) for index in range(count))


def build_trials(
    tokenizer: "PreTrainedTokenizerBase",
    lengths: Sequence[int],
    trials_per_length: int,
    depths: Sequence[float],
    seed: int,
    texts: Texts = INVENTED,
    first: int = 0,
) -> list[Trial]:
    """Build ``trials_per_length`` trials for every length, going round the depths; each has a needle and a haystack of its own.

    They begin at the ``first``, and are the same however many others there are.

    ``lengths`` are tokens of the whole rendered prompt. HarnessError for a tokenizer without character offsets, a length with no
    room for the needle and one sentence, and a chat template that alters the user's text.
    """
    return [
        _fit(tokenizer, length, depths[index % len(depths)], texts, index, Random(f"trial:{seed}:{length}:{index}"))
        for length in lengths
        for index in range(first, first + trials_per_length)
    ]


def _fit(tokenizer: "PreTrainedTokenizerBase", length: int, depth: float, texts: Texts, number: int, rng: Random) -> Trial:
    needle = texts.needle(number, rng)
    empty = _Prompt.compose(tokenizer, needle, [], 0)
    haystack = Haystack.of(tokenizer, texts.prose(rng), length - len(empty.ids))
    while haystack.sentences:
        trial = haystack.trial(tokenizer, needle, length, depth)
        if len(trial.prompt_ids) <= length:
            return trial
        haystack = haystack.without_last()  # tokens that merge across a boundary made the estimate too low
    raise HarnessError(f"{length} tokens leave no room for a haystack: needle, question and template take {len(empty.ids)}")


@dataclass(frozen=True)
class Haystack:
    """Sentences, with the place of every boundary between them."""

    sentences: tuple[str, ...]
    ends: tuple[int, ...]
    """Tokens before each of the ``len(sentences) + 1`` boundaries, each sentence counted by itself."""

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase", prose: Iterator[str], budget: int) -> "Haystack":
        """Take as many sentences as fit ``budget`` tokens."""
        sentences: list[str] = []
        sizes: list[int] = []
        while sum(sizes) <= budget:
            batch = list(islice(prose, 64))
            sizes += [len(ids) for ids in tokenizer([f" {text}" for text in batch], add_special_tokens=False)["input_ids"]]
            sentences += batch
        return cls(tuple(sentences), (0, *accumulate(sizes))).first(budget)

    def first(self, budget: int) -> "Haystack":
        """Keep the sentences that fit ``budget`` tokens."""
        fitting = max(sum(end <= budget for end in self.ends) - 1, 0)
        return Haystack(self.sentences[:fitting], self.ends[: fitting + 1])

    def without_last(self) -> "Haystack":
        """Drop the last sentence."""
        return Haystack(self.sentences[:-1], self.ends[:-1])

    def trial(self, tokenizer: "PreTrainedTokenizerBase", needle: Needle, length: int, depth: float) -> Trial:
        """Put the needle at the boundary nearest ``depth``. ``length`` is what was asked for, and is kept.

        HarnessError if the needle ends up further from its depth than a sentence: the tokenizer then counts a text in its place
        differently than by itself, and depths mean nothing.
        """
        boundary = min(range(len(self.ends)), key=lambda index: abs(self.ends[index] - depth * self.ends[-1]))
        prompt = _Prompt.compose(tokenizer, needle, self.sentences, boundary)
        before, after = prompt.around()
        around = self.ends[max(boundary - 1, 0) : boundary + 2]
        if abs(before - depth * (before + after)) > max((end - start for start, end in pairwise(around)), default=0) + 1:
            raise HarnessError(
                f"the needle was to be at depth {depth:.2f} and is at {before / (before + after):.2f}; use another tokenizer"
            )
        start, end = prompt.tokens(prompt.answer)
        return Trial(
            prompt=prompt.text,
            prompt_ids=tuple(prompt.ids),
            needle=needle,
            needle_start=start,
            needle_end=end,
            length=length,
            depth=depth,
            realised_depth=before / (before + after) if before + after else depth,
            passage=prompt.tokens(prompt.needle),
            question=prompt.tokens(prompt.question)[0],
            begun=prompt.begun,
        )


def beginning(needle: Needle) -> str:
    """Give the needle's words before its answer, on a line of their own: without them, a base model goes on with questions."""
    before = needle.text.partition(needle.answer)[0].rstrip()
    return f"\n{before}" if before else "\n"


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
    question: Span
    begun: str

    @classmethod
    def compose(cls, tokenizer: "PreTrainedTokenizerBase", needle: Needle, sentences: Sequence[str], boundary: int) -> "_Prompt":
        body = " ".join([*sentences[:boundary], needle.text, *sentences[boundary:]])
        content = f"{INSTRUCTION}{body}\n\n{needle.question}"
        begun = "" if tokenizer.chat_template else beginning(needle)
        text = render(tokenizer, content) + begun
        if not tokenizer.is_fast:
            raise HarnessError(f"{type(tokenizer).__name__} gives no character offsets to locate a needle by; use a fast tokenizer")
        if text.count(content) != 1:
            raise HarnessError("the chat template alters the user's text, so the needle's place in it is unknown")
        coded = tokenizer(text, add_special_tokens=adds_special(tokenizer, text), return_offsets_mapping=True)
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
            Span(body_start + len(body) + 2, body_start + len(body) + 2 + len(needle.question)),
            begun,
        )

    def around(self) -> tuple[int, int]:
        """Tokens of the haystack before and after the needle."""
        before, after = (self.tokens(Span(*span)) for span in ((self.body.start, self.needle.start), (self.needle.end, self.body.end)))
        return before[1] - before[0], after[1] - after[0]

    def tokens(self, span: Span) -> tuple[int, int]:
        """Find the token range that overlaps a span of characters (a token that only holds the blank before it does not)."""
        overlapping = [
            index
            for index, (start, end) in enumerate(self.offsets)
            if max(start, span.start) < min(end, span.end) and self.text[max(start, span.start) : min(end, span.end)].strip()
        ]
        return (overlapping[0], overlapping[-1] + 1) if overlapping else (0, 0)
