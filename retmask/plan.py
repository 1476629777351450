"""What the method plugins' steps have to compute, from their options alone; upper bounds, for ``harness plan``."""

from typing import TYPE_CHECKING, Final

from harness.api import Work

if TYPE_CHECKING:
    from retmask.methods import Options

#: Tokens of an instruction; the generated ones and those of chat logs are mostly shorter.
_PROMPT_TOKENS: Final = 256
#: The sampler's bound on prompt and new tokens of a batch.
_BATCH_TOKENS: Final = 16_384


def steps(method: str, options: "Options") -> list[Work]:
    """Detection, both sides of the pairs, and the training, in this order."""
    trials = options.detection_trials * len(options.detection_lengths)
    detection = Work(
        "heads",
        prompts=trials,
        prefill_tokens=options.detection_trials * sum(options.detection_lengths),
        new_tokens=trials * options.detection_max_new_tokens,
        in_flight=max(options.detection_lengths) + options.detection_max_new_tokens,
        shared=True,
    )
    if options.pairs_from:
        return [_training(options)]
    return [detection, _sampling("chosen", options, shared=True), _sampling(f"rejected-{method}", options), _training(options)]


def _sampling(step: str, options: "Options", *, shared: bool = False) -> Work:
    return Work(
        step,
        prompts=options.prompts * options.n,
        prefill_tokens=options.prompts * options.n * _PROMPT_TOKENS,
        new_tokens=options.prompts * options.n * options.max_new_tokens,
        in_flight=max(_BATCH_TOKENS, _PROMPT_TOKENS + options.max_new_tokens),
        shared=shared,
    )


def _training(options: "Options") -> Work:
    pair = 2 * min(options.max_length, _PROMPT_TOKENS + options.max_new_tokens)
    micro = min(options.micro_batch_size, options.batch_size)
    return Work(
        "sft" if options.loss == "sft" else "dpo",
        train_tokens=int(options.prompts * options.n * pair * options.epochs),
        train_batch_tokens=micro * pair,
        full_training=options.lora_rank == 0,
    )
