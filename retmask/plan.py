"""What the method plugins' steps have to compute, from their options alone; upper bounds, for ``harness plan``."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import Work
from retmask.launch import SFT
from retmask.pairs import read_pairs
from retmask.prompts import rows as rows_of

if TYPE_CHECKING:
    from retmask.methods import Options

#: Tokens of an instruction; the generated ones and those of chat logs are mostly shorter.
_PROMPT_TOKENS: Final = 256
#: The sampler's bound on prompt and new tokens of a batch.
_BATCH_TOKENS: Final = 16_384


def masking(method: str, options: "Options") -> list[Work]:
    """A method that masks heads: detection, both sides of the pairs, and the training, in this order."""
    if options.pairs_from:
        return [_training(options)]
    trials = options.detection_trials * len(options.detection_lengths)
    detection = Work(
        "heads",
        prompts=trials,
        prefill_tokens=options.detection_trials * sum(options.detection_lengths),
        new_tokens=trials * options.detection_max_new_tokens,
        in_flight=max(options.detection_lengths) + options.detection_max_new_tokens,
        shared=True,
    )
    return [detection, *contrasting(method, options)]


def contrasting(method: str, options: "Options") -> list[Work]:
    """A method whose rejected answers are anyone's: both sides of the pairs, and the training.

    Another model's answers count as if the run's own wrote them: memory and time are bounds where that one is smaller.
    """
    if options.pairs_from:
        return [_training(options)]
    return [_sampling("chosen", options, shared=True), _sampling(f"rejected-{method}", options), _training(options)]


def chosen_alone(options: "Options") -> list[Work]:
    """A method that trains on the chosen answers alone."""
    if options.pairs_from:
        return [_training(options)]
    return [_sampling("chosen", options, shared=True), _training(options)]


def _sampling(step: str, options: "Options", *, shared: bool = False) -> Work:
    answers = _prompts(options) * options.n
    return Work(
        step,
        prompts=answers,
        prefill_tokens=answers * _PROMPT_TOKENS,
        new_tokens=answers * options.max_new_tokens,
        in_flight=max(_BATCH_TOKENS, _PROMPT_TOKENS + options.max_new_tokens),
        shared=shared,
    )


def _training(options: "Options") -> Work:
    sequence = min(options.max_length, _PROMPT_TOKENS + options.max_new_tokens)
    row = sequence if options.loss == SFT else 2 * sequence
    rows = (
        len(read_pairs(Path(options.pairs_from), chosen_only=options.loss == SFT)) if options.pairs_from else _prompts(options) * options.n
    )
    micro = min(options.micro_batch_size, options.batch_size)
    return Work(
        "sft" if options.loss == SFT else "dpo",
        train_tokens=int(rows * row * options.epochs),
        train_batch_tokens=micro * row,
        full_training=options.lora_rank == 0,
    )


def _prompts(options: "Options") -> int:
    """At most so many instructions. All of a file are counted; how many a data set on the Hub has is not known here."""
    if options.prompts or not Path(options.prompts_from).exists():
        return options.prompts
    return sum(1 for _ in rows_of(options.prompts_from, options.prompts_split, options.prompts_revision))
