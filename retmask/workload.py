"""What the method plugins' steps have to compute, from their options alone, for ``harness plan``."""

from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from typing import Final

from harness.api import Model, Work
from harness.models.files import tokenizer_files
from harness.models.footprint import ModelShape
from retmask.heads.detectors import COPY, find_detector
from retmask.heads.masks import HEADS, LAYERS
from retmask.options import AUTO, DISAGREEMENT, Options
from retmask.pairs.contexts import CONTEXT
from retmask.pairs.instructions import SELF, first_round
from retmask.pairs.pairing import read_pairs
from retmask.pairs.prompts import GENERATED
from retmask.pairs.prompts import rows as rows_of
from retmask.stages import check_count, check_instructions, prompts_source
from retmask.training.launch import SFT, micro_batch

#: Tokens of an instruction in its chat template: the paper's mean is 63, and a template adds some thirty.
_PROMPT_TOKENS: Final = 96
#: Tokens of a chat template up to the user's first word, default system prompt included.
_OPENING_TOKENS: Final = 32
#: Most tokens of one, for memory.
_LONGEST_PROMPT: Final = 256
#: Characters of a token, about.
_CHARACTERS: Final = 4
#: The sampler's bound on prompt and new tokens of a batch, and detection's.
_BATCH_TOKENS: Final = 16_384
#: Tokens of a needle's answer with the beginning of its sentence, about.
_ANSWER_TOKENS: Final = 16
#: Answers that are put to the model together, at most.
_ANSWERS: Final = 32
#: Passes forward that a gradient costs, the one forward among them.
_GRADIENT: Final = 3
#: Masks whose contrast a search measures, about, the empty one among them.
_MASKS_TRIED: Final = 10
#: What tells two masks that are not drawn apart.
_MASK: Final = ("heads", "top_k", "threshold", "contrast", "strength", "components", "detection", "detector")


def masking(method: str, options: Options, model: Model, *, drawn: bool = True) -> list[Work]:
    """Plan a method that masks heads: detection, both sides of the pairs, the training, and detection again, in this order.

    Without ``drawn``, every training seed has the same mask, and so the same rejected answers.
    """
    if options.pairs_from:
        return [_training(options)]
    check_count(model, options)
    after = (
        [replace(_detection(options, model), title="heads after training", shared=False)]
        if options.heads_after and options.components == HEADS
        else []
    )
    first, *rest = contrasting(method, options, model, drawn=drawn)
    if first.step == "prompts":
        return [*_chosen_heads(options, model), first, *_growing(options), *rest, *after]
    return [*_chosen_heads(options, model), *_growing(options), first, *rest, *after]


def contrasting(method: str, options: Options, model: Model, *, drawn: bool = False) -> list[Work]:
    """Plan a method whose rejected answers are anyone's: both sides of the pairs, and the training. ``drawn`` as above.

    Another model's answers count as if the run's own wrote them: memory and time are bounds where that one is smaller.
    """
    if options.pairs_from:
        return [_training(options)]
    options = replace(options, prompts_from=_source(model, options))
    return [
        *_writing(options),
        _sampling("chosen", options, shared=True),
        _sampling(f"rejected-{method}", options, *_MASK, "rejected", shared=not drawn),
        *_weighing(options, shared=not drawn),
        _training(options),
    ]


def chosen_alone(options: Options, model: Model) -> list[Work]:
    """Plan a method that trains on the chosen answers alone."""
    if options.pairs_from:
        return [_training(options)]
    options = replace(options, prompts_from=_source(model, options))
    return [*_writing(options), _sampling("chosen", options, shared=True), _training(options)]


def _chosen_heads(options: Options, model: Model) -> list[Work]:
    """Detection, and the audit that chooses how many heads are masked, if one does: other trials, read again under every mask."""
    detection = _detection(options, model)
    if options.heads != AUTO:
        return [detection]
    answers = _MASKS_TRIED * 2 * options.detection_trials
    audit = Work(
        "audit",
        prompts=answers,
        prefill_tokens=answers * min(options.detection_lengths),
        new_tokens=answers * _ANSWER_TOKENS,
        in_flight=_BATCH_TOKENS,
        shared=True,
        inputs=detection.inputs,
    )
    return [detection, audit]


def _weighing(options: Options, *, shared: bool) -> list[Work]:
    """Both answers of every pair read by the intact and by the masked model, where tokens are weighted by how far these disagree."""
    if options.token_weights != DISAGREEMENT:
        return []
    rows = 4 * _prompts(options) * options.n
    tokens = rows * (_prompt_tokens(options) + options.max_new_tokens)
    return [Work("weights", prompts=rows, prefill_tokens=tokens, shared=shared, inputs=_told(options, "prompts", "context", *_MASK))]


def _growing(options: Options) -> list[Work]:
    """Answers by which the size of a mask is chosen, if it is: those of the intact model, and of as many masks as a search may try."""
    if not options.contrast:
        return []
    few = replace(options, prompts=min(options.contrast_prompts, _prompts(options) or options.contrast_prompts), n=_MASKS_TRIED)
    inputs = _told(
        options,
        "contrast",
        "strength",
        "components",
        "detection",
        "detector",
        "prompts",
        "context",
        "temperature",
        "top_p",
        "max_new_tokens",
        "dtype",
    )
    return [replace(_sampling("contrast", few, shared=True), inputs=inputs)]


def _source(model: Model, options: Options) -> str:
    """Where instructions come from; of a model without a tokenizer, of which only the configuration is there, from itself.

    HarnessError if they are not there.
    """
    alone = not tokenizer_files(model.path)
    source = options.prompts_from or SELF if alone else prompts_source(model, options)
    check_instructions(options, source)
    return source


def _writing(options: Options) -> list[Work]:
    """Instructions that the model writes itself, and the spare ones; none from any other source."""
    if options.prompts_from not in (SELF, CONTEXT):
        return []
    turns = first_round(options.prompts)
    opening = _OPENING_TOKENS + (options.context_tokens if options.prompts_from == CONTEXT else 0)
    rows = max(1, _BATCH_TOKENS // (opening + options.prompts_max_tokens))
    return [
        Work(
            "prompts",
            prompts=turns,
            prefill_tokens=turns * opening,
            new_tokens=turns * options.prompts_max_tokens,
            passes=ceil(turns / rows) * options.prompts_max_tokens,
            in_flight=_BATCH_TOKENS,
            shared=True,
            inputs=_told(options, "prompts", "context", "contamination", "sampler", "dtype"),
        )
    ]


def _detection(options: Options, model: Model) -> Work:
    """Reading every trial, and what the measuring of heads or of other components takes beside it."""
    trials, read = options.detection_trials * len(options.detection_lengths), options.detection_trials * sum(options.detection_lengths)
    work = Work(
        "heads" if options.components == HEADS else "units",
        prompts=trials,
        prefill_tokens=read,
        in_flight=max(options.detection_lengths) + options.detection_max_new_tokens,
        shared=True,
        inputs=_told(options, "detection", "detector", "components", "dtype"),
    )
    if options.components != HEADS:
        times = 1 + ModelShape.read(model).layers if options.components == LAYERS else _GRADIENT
        return replace(work, prompts=times * trials, prefill_tokens=times * read)
    forced = _forced(options.detector, model)
    if forced is None:
        return _answering(work, options)
    rows = min(forced, _ANSWERS)
    batches = ceil(forced / rows)
    return replace(work, prompts=(1 + batches) * trials, prefill_tokens=read + batches * rows * trials * _ANSWER_TOKENS)


def _forced(detector: str, model: Model) -> int | None:
    """How many times a detector puts a trial's answer to the model; None for one that has it written, or does not say."""
    if detector == COPY:  # known without loading torch
        return None
    count = getattr(find_detector(detector), "forced", None)
    shape = ModelShape.read(model)
    return None if count is None else int(count(shape.layers * shape.heads))


def _answering(work: Work, options: Options) -> Work:
    """As if no answer were guessed and all had to be written, in batches."""
    rows = max(1, _BATCH_TOKENS // max(options.detection_lengths))
    return replace(
        work,
        new_tokens=work.prompts * options.detection_max_new_tokens,
        passes=options.detection_max_new_tokens * ceil(work.prompts / rows),
    )


def _sampling(step: str, options: Options, *more: str, shared: bool) -> Work:
    """Answers to every instruction; ``more`` are options that they depend on beside the sampler's own."""
    answers = _prompts(options) * options.n
    prompt = _prompt_tokens(options)
    rows = max(1, _BATCH_TOKENS // (prompt + options.max_new_tokens))
    return Work(
        step,
        prompts=answers,
        prefill_tokens=answers * prompt,
        new_tokens=answers * options.max_new_tokens,
        passes=ceil(answers / rows) * options.max_new_tokens,
        in_flight=max(_BATCH_TOKENS, max(prompt, _LONGEST_PROMPT) + options.max_new_tokens),
        shared=shared,
        inputs=_told(
            options, "prompts", "context", "contamination", "sampler", "temperature", "top_p", "max_new_tokens", "n", "dtype", *more
        ),
    )


def _training(options: Options) -> Work:
    alone = options.loss == SFT
    prompt = _prompt_tokens(options)
    sequence = min(options.max_length, prompt + options.max_new_tokens)
    row = sequence if alone else 2 * sequence
    rows = len(read_pairs(Path(options.pairs_from), chosen_only=alone)) if options.pairs_from else _prompts(options) * options.n
    micro = micro_batch(options.batch_size, options.micro_batch_size, max(1, options.processes))
    updates = ceil(ceil(rows / options.batch_size) * options.epochs)
    every = max(1, round(options.checkpoint_share * updates))
    longest = min(options.max_length, max(prompt, _LONGEST_PROMPT) + options.max_new_tokens)
    return Work(
        "sft" if alone else "dpo",
        train_tokens=int(rows * row * options.epochs),
        train_batch_tokens=micro * (longest if alone else 2 * longest),
        train_passes=(3 if alone else 4) + options.gradient_checkpointing,
        updates=updates,
        checkpoints=updates // every,
        full_training=options.lora_rank == 0,
    )


def _told(options: Options, *names: str) -> str:
    """The options of these names, or that begin with one and a line, by which two variants' shared steps are told apart."""
    chosen = {key: value for key, value in asdict(options).items() if key in names or key.partition("_")[0] in names}
    return repr(sorted(chosen.items()))


def _prompt_tokens(options: Options) -> int:
    """Tokens of an instruction, about. The generated ones can be looked at."""
    if options.prompts_from != GENERATED or options.pairs_from:
        return _PROMPT_TOKENS + (options.context_tokens if options.prompts_from == CONTEXT else 0)
    from tasks.chat import instructions

    sample = instructions(min(options.prompts, 64) or 64, 0)
    return sum(map(len, sample)) // (len(sample) * _CHARACTERS) + 8


def _prompts(options: Options) -> int:
    """At most so many instructions. All of a file are counted; how many a data set on the Hub has is not known here."""
    if options.prompts or not Path(options.prompts_from).exists():
        return options.prompts
    return sum(1 for _ in rows_of(options.prompts_from, options.prompts_split, options.prompts_revision))
