"""The options of every method: the ``[method]`` table of a preset, and ``--set``."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from harness.api import HarnessError, Json
from harness.options import Within, check_ranges, near, parse_table
from retmask.heads.detectors import COPY, detector_names
from retmask.heads.masks import COMPONENTS, HEADS
from retmask.pairs.contexts import CONTEXT, FEWEST_TOKENS, MOST_TOKENS
from retmask.pairs.samplers import BACKENDS
from retmask.training.launch import SFT, TrainConfig, check_report, launcher, micro_batch

AUTO: Final = "auto"
EVEN, DISAGREEMENT = "even", "disagreement"
#: What the numbers of detecting, masking and sampling can be, where nothing else is said of them below.
_RANGES: Final = {
    "top_k": Within(1),
    "detection_trials": Within(1),
    "detection_depths": Within(1),
    "detection_max_new_tokens": Within(1),
    "contamination_words": Within(0),
    "temperature": Within(0),
    "top_p": Within(0, 1, above=True),
    "max_new_tokens": Within(1),
    "processes": Within(0),
}
#: A factor beyond which outputs are no numbers any more sooner than they say anything.
_STRONGEST: Final = 1000


@dataclass(frozen=True)
class Options:
    """The ``[method]`` table of a preset. Training options are those of :class:`retmask.training.launch.TrainConfig`."""

    heads: str = "threshold"
    """``auto`` lets an audit choose how many heads to mask, and stops the run if masking them would mean nothing."""
    threshold: float = 0.1
    """Heads with this retrieval score or more are masked."""
    top_k: int | None = None
    """Mask this many heads instead, whatever their score."""
    components: str = HEADS
    """What is scored and masked: ``heads``, ``mlp`` (neurons) or ``layers``; ``top_k`` and ``contrast`` count these, and a ``threshold`` is
    in nats of the needle's answer (:mod:`retmask.heads.components`).
    """
    contrast: float = 0.0
    """Mask so many heads that this share of pairs differs, within the audit's bound on fluency, whatever their score; 0 does not ask."""
    contrast_prompts: int = 32
    """The first so many instructions, by which that share is measured."""
    strength: float = 0.0
    """Masked heads' outputs are multiplied by this; 0 silences them, more than 1 strengthens them."""
    detector: str = COPY
    """How heads are scored: the name of an installed detector (:mod:`retmask.heads.detectors`)."""
    detection_lengths: tuple[int, ...] = (512, 1024, 2048, 4096)
    """Prompt lengths of the needle trials, tokens."""
    detection_trials: int = 20
    """Trials for each length."""
    detection_counted: int = 0
    """Add trials until so many find their needle, at most ten times ``detection_trials``; 0 adds none."""
    detection_depths: int = 10
    """Depths, evenly from the start to the end, that the trials go round."""
    detection_max_new_tokens: int = 50
    """Most tokens of a trial's answer."""
    heads_after: bool = True
    """Measure the heads of the trained model too, for the report."""
    prompts: int = 1000
    """Instructions to sample answers to; 0 takes all that the source has."""
    prompts_from: str = ""
    """``self`` (the model writes them, :mod:`retmask.pairs.instructions`), ``self-context`` (it asks about a passage that it is given,
    :mod:`retmask.pairs.contexts`), ``generated`` (the shipped model's), a JSONL or Parquet file or
    a folder of them, or a data set on the Hub (:mod:`retmask.pairs.prompts`). Empty is ``generated`` for the shipped model and ``self`` for
    others.
    """
    prompts_temperature: float = 1.0
    """Of the instructions that the model writes."""
    prompts_top_p: float = 0.95
    """Share of the probability that they are sampled from."""
    prompts_max_tokens: int = 128
    """Instructions that do not end within so many tokens are left out."""
    context_from: str = ""
    """Of ``self-context``: a text file, or a folder of them (.txt, .md), whose passages are asked about; empty invents them."""
    context_tokens: int = 512
    """Most tokens of a passage."""
    prompts_split: str = "train"
    """Of a data set on the Hub."""
    prompts_revision: str = ""
    """Commit of a data set on the Hub; empty for the newest, which the manifest then names."""
    prompts_language: str = "English"
    """Rows that name another language are left out; empty keeps all."""
    contamination_words: int = 13
    """Prompts that share so many successive words with the evaluation are left out; 0 keeps them."""
    pairs_from: str = ""
    """A file of pairs (JSONL with prompt, chosen and rejected) to train on, instead of sampling any."""
    rejected_from: str = "mask"
    """Whose answers are rejected: ``mask`` for the masked model's; ``model NAME`` for another's, which ``smaller-model`` needs."""
    sampler: str = "hf"
    """Engine that writes the answers."""
    tensor_parallel: int = 1
    """Of ``sampler = "vllm"``: devices that share every layer. Does not change which answers are drawn."""
    pipeline_parallel: int = 1
    """Of ``sampler = "vllm"``: groups of devices that share the layers out."""
    temperature: float = 0.6
    """Of the answers, both sides of a pair."""
    top_p: float = 1.0
    """Share of the probability that answers are sampled from."""
    max_new_tokens: int = 2048
    """Most tokens of an answer."""
    n: int = 1
    """Answers to each instruction; the k-th chosen is paired with the k-th rejected."""
    drop_repetitive: bool = False
    """Leave out pairs with an answer that repeats itself."""
    drop_unfinished: bool = False
    """Leave out pairs with an answer that was cut off at ``max_new_tokens``."""
    token_weights: str = EVEN
    """``even``: all tokens of an answer count alike in the loss; ``disagreement``: as much as intact and masked model disagree about them
    (:mod:`retmask.pairs.disagreement`).
    """
    dtype: str = "auto"
    """``auto`` is float32 on a CPU, and the checkpoint's own format elsewhere."""
    parallel: str = "none"
    """``ddp``, ``fsdp``, ``zero1``, ``zero2``, ``zero3``, or a .yaml file of ``accelerate config``, for a training on several devices."""
    processes: int = 1
    """Devices that train."""
    learning_rate: float = TrainConfig.learning_rate
    min_learning_rate_ratio: float = TrainConfig.min_learning_rate_ratio
    warmup_ratio: float = TrainConfig.warmup_ratio
    weight_decay: float = TrainConfig.weight_decay
    adam_beta2: float = TrainConfig.adam_beta2
    beta: float = TrainConfig.beta
    loss: str = TrainConfig.loss
    label_smoothing: float = TrainConfig.label_smoothing
    lora_rank: int = TrainConfig.lora_rank
    lora_alpha: int = TrainConfig.lora_alpha
    lora_dropout: float = TrainConfig.lora_dropout
    epochs: float = TrainConfig.epochs
    batch_size: int = TrainConfig.batch_size
    micro_batch_size: int = TrainConfig.micro_batch_size
    max_length: int = TrainConfig.max_length
    max_overlong_share: float = TrainConfig.max_overlong_share
    gradient_checkpointing: bool = TrainConfig.gradient_checkpointing
    checkpoint_share: float = TrainConfig.checkpoint_share
    report_to: str = TrainConfig.report_to

    def __post_init__(self) -> None:
        if self.sampler not in BACKENDS:
            raise HarnessError(f"[method]: unknown sampler {self.sampler!r}; choose from {', '.join(BACKENDS)}")
        for name in ("tensor_parallel", "pipeline_parallel"):
            if getattr(self, name) < 1:
                raise HarnessError(f"[method]: {name} = {getattr(self, name)}; it is a number of devices: give at least 1")
        if self.sampler != "vllm" and (self.tensor_parallel, self.pipeline_parallel) != (1, 1):
            raise HarnessError("[method]: tensor_parallel and pipeline_parallel need sampler = vllm")
        if not self.detection_lengths:
            raise HarnessError("[method]: detection_lengths is empty; give at least one prompt length, such as [512]")
        if min(self.detection_lengths) < 1 or len(set(self.detection_lengths)) < len(self.detection_lengths):
            raise HarnessError(
                f"[method]: detection_lengths = {list(self.detection_lengths)}; give prompt lengths of 1 token or more, each once"
            )
        check_ranges(self, _RANGES, "[method]: ")
        if self.components not in COMPONENTS:
            raise HarnessError(f"[method]: components = {self.components!r}; choose from {', '.join(COMPONENTS)}")
        if self.components != HEADS and (self.heads == AUTO or self.detector != COPY or self.sampler != "hf"):
            raise HarnessError(
                f"[method]: components = {self.components} are scored by what silencing them costs, and masked with transformers; leave "
                f"out heads = {AUTO}, detector and sampler"
            )
        if not 0 <= self.strength <= _STRONGEST or self.strength == 1:
            raise HarnessError(
                f"[method]: strength = {self.strength:g}; give a factor from 0, but not 1, which changes nothing, up to {_STRONGEST}"
            )
        if not 0 <= self.contrast <= 1 or self.contrast_prompts < 1:
            raise HarnessError(
                f"[method]: contrast = {self.contrast:g} and contrast_prompts = {self.contrast_prompts}; give a share of pairs from 0 to "
                "1, and at least 1 prompt"
            )
        if self.contrast and (self.heads == AUTO or self.top_k is not None):
            raise HarnessError("[method]: contrast chooses the number of heads itself; leave out heads and top_k")
        if self.detector not in detector_names():
            raise HarnessError(f"[method]: unknown detector {self.detector!r}; {near(self.detector, detector_names(), 'installed: ')}")
        if self.detection_counted < 0:
            raise HarnessError(f"[method]: detection_counted = {self.detection_counted}; give how many trials have to count, or 0")
        if self.n < 1:
            raise HarnessError(f"[method]: n = {self.n}; give at least 1 answer to each instruction")
        if self.prompts < 0:
            raise HarnessError(f"[method]: prompts = {self.prompts}; give a number of instructions, or 0 for all that the source has")
        if self.prompts_temperature <= 0:
            raise HarnessError(f"[method]: prompts_temperature = {self.prompts_temperature}; give a temperature above 0, such as 1.0")
        if not 0 < self.prompts_top_p <= 1:
            raise HarnessError(f"[method]: prompts_top_p = {self.prompts_top_p}; give a share above 0 up to 1, such as 0.95")
        if self.prompts_max_tokens < 1:
            raise HarnessError(f"[method]: prompts_max_tokens = {self.prompts_max_tokens}; give at least 1 token, such as 128")
        if not FEWEST_TOKENS <= self.context_tokens <= MOST_TOKENS:
            raise HarnessError(f"[method]: context_tokens = {self.context_tokens}; give {FEWEST_TOKENS} to {MOST_TOKENS} tokens")
        if self.context_from and self.prompts_from != CONTEXT:
            raise HarnessError(f"[method]: context_from is for prompts_from = {CONTEXT}; set that too, or leave it out")
        if self.token_weights not in (EVEN, DISAGREEMENT):
            raise HarnessError(f"[method]: token_weights = {self.token_weights!r}; choose {EVEN} or {DISAGREEMENT}")
        if self.token_weights == DISAGREEMENT and (self.loss == SFT or self.pairs_from or self.rejected_from != "mask"):
            raise HarnessError(
                f"[method]: token_weights = {DISAGREEMENT} weighs chosen and rejected answers by what a mask changes; leave it out with "
                f"loss = {SFT}, pairs_from and rejected_from"
            )
        if self.rejected_from != "mask" and not self.rejected_model():
            raise HarnessError(f"[method]: rejected_from = {self.rejected_from!r}; write 'mask', or 'model NAME' with a model's name")
        check_report(self.report_to)
        launcher(self.parallel, self.processes, self.lora_rank)
        TrainConfig("", "", "", **self.training())  # refuses what cannot be trained with, before anything is computed
        micro_batch(self.batch_size, self.micro_batch_size, max(1, self.processes))

    def rejected_model(self) -> str:
        """Read NAME of ``model NAME``; empty for the mask."""
        kind, _, name = self.rejected_from.partition(" ")
        return name.strip() if kind == "model" else ""

    def training(self) -> dict[str, Any]:
        """Give the options that a :class:`TrainConfig` takes, but for its number format."""
        shared = {field.name for field in fields(TrainConfig)} - {"dtype"}
        return {name: value for name, value in asdict(self).items() if name in shared}


def parse_options(table: Mapping[str, Json]) -> Options:
    options = parse_table(Options, table, "[method]")
    if options.heads not in ("threshold", AUTO):
        raise HarnessError(f"[method]: heads is {options.heads!r}; choose threshold (the default) or {AUTO}")
    if options.heads == AUTO and options.top_k is not None:
        raise HarnessError(f"[method]: heads = {AUTO} chooses the number of heads itself; leave out top_k = {options.top_k}")
    return options
