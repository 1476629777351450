"""The published layouts of needle trials: 3 needles x 20 haystack lengths from 0 to 5000 tokens x 10 depths.

``paper`` is what the papers describe (Wu et al., arXiv 2404.15574; RetMask, arXiv 2601.11020, section 3.1). ``parity`` does what the
published program does, for comparison with its score files:

- it looks for a sentence's end by two token ids of Llama 2; with any other tokenizer it finds none and puts the needle at the very start,
  whatever the depth, but for depth 100%;
- it cuts haystacks in the middle of a sentence, 200 tokens short of the length;
- it finds the needle by overlap of token sets, at the first place where more than nine tenths of its distinct tokens occur; where there is
  none, every head scores 0 and the trial still counts;
- it counts a needle token again each time it is copied, so that a score can exceed 1;
- it writes on after the end-of-text token, up to 50 tokens, and stops at token 144 or one that is spelt ``<0x0A>``;
- it compares word stems for success.
"""

from collections.abc import Sequence
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError
from retmask.heads.needle_texts import INVENTED, Texts
from retmask.heads.trial_scoring import PUBLISHED, RIGHT, TrialScoring
from retmask.heads.trials import Haystack, Trial, evenly
from retmask.model import encode, render
from tasks.needles import Needle

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GRID, PAPER, PARITY = "grid", "paper", "parity"
PROTOCOLS: Final = (GRID, PAPER, PARITY)
NEEDLES: Final = 3
LENGTHS: Final = tuple(round(5000 * step / 19) for step in range(20))
"""Tokens of the haystack."""
DEPTHS: Final = 10
_SENTENCE_ENDS: Final = (29889, 869)
_MARGIN: Final = 200
_OVERLAP: Final = 0.9


def rules(protocol: str) -> TrialScoring:
    """Say how the protocol ends answers and counts hits."""
    return PUBLISHED if protocol == PARITY else RIGHT


def paper_trials(
    tokenizer: "PreTrainedTokenizerBase",
    seed: int,
    texts: Texts = INVENTED,
    *,
    needles: int = NEEDLES,
    lengths: Sequence[int] = LENGTHS,
    depths: int = DEPTHS,
) -> list[Trial]:
    """Build the papers' trials, with the depth right. Each needle has one haystack, of which each length takes the beginning."""
    trials = []
    for number in range(needles):
        rng = Random(f"paper:{seed}:{number}")
        needle = texts.needle(number, rng)
        whole = Haystack.of(tokenizer, texts.prose(rng), max(lengths))
        trials += [whole.first(length).trial(tokenizer, needle, length, depth) for length in lengths for depth in evenly(depths)]
    return trials


def parity_trials(
    tokenizer: "PreTrainedTokenizerBase",
    seed: int,
    texts: Texts = INVENTED,
    *,
    needles: int = NEEDLES,
    lengths: Sequence[int] = LENGTHS,
    depths: int = DEPTHS,
) -> list[Trial]:
    """Build the published program's trials, defects included."""
    trials = []
    for number in range(needles):
        rng = Random(f"parity:{seed}:{number}")
        needle = texts.needle(number, rng)
        text = " ".join(islice(texts.prose(rng), max(lengths) // 4 + 64))
        while len(text.split()) < max(lengths):
            text += " " + text
        for length in lengths:
            haystack = _cut(tokenizer, text, length)
            trials += [_published(tokenizer, haystack, needle, length, round(100 * depth)) for depth in evenly(depths)]
    return trials


def _cut(tokenizer: "PreTrainedTokenizerBase", text: str, length: int) -> str:
    ids = tokenizer(text)["input_ids"]
    return str(tokenizer.decode(ids[:length])) if len(ids) > length else text


def _published(tokenizer: "PreTrainedTokenizerBase", haystack: str, needle: Needle, length: int, percent: int) -> Trial:
    """One trial as the published program lays it out (its token lists keep the special tokens that its tokenizer adds)."""
    inserted, body = list(tokenizer(needle.text)["input_ids"]), list(tokenizer(haystack)["input_ids"])
    room = length - _MARGIN
    if len(body) + len(inserted) > room:
        body = body[: room - len(inserted)]
    place = len(body)
    if percent < 100:
        place = int(len(body) * (percent / 100))
        while place and body[place - 1] not in _SENTENCE_ENDS:
            place -= 1
    context = tokenizer.decode([*body[:place], *inserted, *body[place:]])
    text = render(tokenizer, f"<book>{context}</book>\nBased on the content of the book, Question: {needle.question}\nAnswer:")
    ids = tuple(encode(tokenizer, text))
    start, end = _find(ids, tuple(tokenizer(needle.answer, add_special_tokens=False)["input_ids"]))
    return Trial(
        prompt=text,
        prompt_ids=ids,
        needle=needle,
        needle_start=start,
        needle_end=end,
        length=length,
        depth=percent / 100,
        realised_depth=place / len(body) if body else 0.0,
    )


def _find(ids: tuple[int, ...], needle: tuple[int, ...]) -> tuple[int, int]:
    """The first span that shares more than nine tenths of the needle's distinct tokens; (-1, -1) if there is none."""
    wanted = set(needle)
    if not wanted:
        raise HarnessError("a needle's answer has no tokens in this tokenizer")
    for start in range(len(ids)):
        if len(wanted.intersection(ids[start : start + len(needle)])) / len(wanted) > _OVERLAP:
            return start, start + len(needle)
    return -1, -1
