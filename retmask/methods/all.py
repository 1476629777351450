"""The method plugins: RetMask, its controls, and two baselines without heads.

RetMask and its controls follow one path (RetMask, arXiv 2601.11020, section 3): measure the heads, choose a mask, sample from the
intact and from the masked model, train with DPO to prefer the intact one's answers. They differ in which heads they mask, so the head
scores and the chosen answers are shared steps. The baselines take their rejected answers from another model, or none at all.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Final

from harness.api import Artifact, EvaluationSuite, HarnessError, Json, Model, Outcome, RunContext, Work
from harness.models.lookup import resolve
from retmask import stages
from retmask.heads import masks
from retmask.heads.masks import HeadMask
from retmask.heads.scores import HeadScores, write_atomically
from retmask.model import load_model, load_tokenizer, resolve_dtype
from retmask.options import parse_table
from retmask.pairs.responses import BACKENDS
from retmask.stages import derive, digest
from retmask.training.launch import SFT, TrainConfig, launcher
from tasks.files import open_bytes, read_lines

AUTO: Final = "auto"
HEADS_VERSION: Final = 3
AUDIT_VERSION: Final = 2
#: Instructions that the report shows.
_SHOWN: Final = 10


@dataclass(frozen=True)
class Options:
    """The ``[method]`` table of a preset. Training options are those of :class:`retmask.training.launch.TrainConfig`."""

    heads: str = "threshold"
    """``auto`` lets an audit choose how many heads to mask, and stops the run if masking them would mean nothing."""
    threshold: float = 0.1
    """Heads with this retrieval score or more are masked."""
    top_k: int | None = None
    """Mask this many heads instead, whatever their score."""
    detection_lengths: tuple[int, ...] = (512, 1024, 2048, 4096)
    """Prompt lengths of the needle trials, tokens."""
    detection_trials: int = 20
    """Trials for each length."""
    detection_counted: int = 0
    """Add trials until so many find their needle, at most ten times ``detection_trials``; 0 adds none."""
    detection_depths: int = 10
    """Depths, evenly from the start to the end, that the trials go round."""
    detection_max_new_tokens: int = 50
    heads_after: bool = True
    """Measure the heads of the trained model too, for the report."""
    prompts: int = 1000
    """Instructions to sample answers to; 0 takes all that the source has."""
    prompts_from: str = ""
    """``self`` (the model writes them, :mod:`retmask.pairs.instructions`), ``generated`` (the shipped model's), a JSONL or Parquet file or a
    folder of them, or a data set on the Hub (:mod:`retmask.pairs.prompts`). Empty is ``generated`` for the shipped model and ``self`` for others.
    """
    prompts_temperature: float = 1.0
    """Of the instructions that the model writes, as are the next two."""
    prompts_top_p: float = 0.95
    prompts_max_tokens: int = 128
    """Instructions that do not end within so many tokens are left out."""
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
    top_p: float = 1.0
    max_new_tokens: int = 2048
    n: int = 1
    """Answers to each instruction; the k-th chosen is paired with the k-th rejected."""
    drop_repetitive: bool = False
    """Leave out pairs with an answer that repeats itself."""
    drop_unfinished: bool = False
    """Leave out pairs with an answer that was cut off at ``max_new_tokens``."""
    dtype: str = "auto"
    """float32 on a CPU, bfloat16 elsewhere."""
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
        if min(self.tensor_parallel, self.pipeline_parallel) < 1:
            raise HarnessError("[method]: tensor_parallel and pipeline_parallel are numbers of devices; give at least 1")
        if self.sampler != "vllm" and (self.tensor_parallel, self.pipeline_parallel) != (1, 1):
            raise HarnessError("[method]: tensor_parallel and pipeline_parallel need sampler = vllm")
        if self.detection_counted < 0:
            raise HarnessError(f"[method]: detection_counted = {self.detection_counted}; give how many trials have to count, or 0")
        if self.n < 1 or self.prompts < 0:
            raise HarnessError(f"[method]: n = {self.n} and prompts = {self.prompts}; give at least 1 answer to a prompt")
        if self.prompts_temperature <= 0 or not 0 < self.prompts_top_p <= 1 or self.prompts_max_tokens < 1:
            raise HarnessError(
                f"[method]: prompts_temperature = {self.prompts_temperature}, prompts_top_p = {self.prompts_top_p}, prompts_max_tokens = "
                f"{self.prompts_max_tokens}; give a temperature above 0, a share above 0 up to 1, and at least 1 token"
            )
        if self.rejected_from != "mask" and not self.rejected_model():
            raise HarnessError(f"[method]: rejected_from = {self.rejected_from!r}; write 'mask', or 'model NAME' with a model's name")
        launcher(self.parallel, self.processes, self.lora_rank)
        TrainConfig("", "", "", **self.training())  # refuses what cannot be trained with, before anything is computed

    def rejected_model(self) -> str:
        """NAME of ``model NAME``; empty for the mask."""
        kind, _, name = self.rejected_from.partition(" ")
        return name.strip() if kind == "model" else ""

    def training(self) -> dict[str, Any]:
        """The options that a :class:`TrainConfig` takes, but for its number format."""
        shared = {field.name for field in fields(TrainConfig)} - {"dtype"}
        return {name: value for name, value in asdict(self).items() if name in shared}


@dataclass(frozen=True)
class _Masked:
    """What a head-masking method knows before it samples."""

    scores: HeadScores
    mask: HeadMask


class _HeadMasking:
    """The path that the plugins share. Implements :class:`harness.api.StagedMethod`."""

    name: ClassVar[str]

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """The heads to ablate, given the retrieval heads ``target``."""
        raise NotImplementedError

    def check(self, options: Mapping[str, Json]) -> None:
        """Raise HarnessError for an option that does not exist or has the wrong type."""
        _parse(options)

    def plan(self, options: Mapping[str, Json], model: Model) -> list[Work]:
        """What each step has to compute, for ``harness plan``."""
        from retmask.workload import masking

        return masking(self.name, _parse(options), model)

    def prepare(self, context: RunContext) -> None:
        """Measure the heads and choose the mask. HarnessError if there is none: too few heads, or none like the retrieval heads.

        Likewise if the model is to write instructions and cannot.
        """
        options = _parse(context.options)
        if not options.pairs_from:
            stages.prompts_source(context.model, options)
            self._masked(context, options)

    def run(self, context: RunContext) -> Outcome:
        """Train a model that prefers its own answers to those it gives without the masked heads."""
        options = _parse(context.options)
        masked = None if options.pairs_from else self._masked(context, options)
        pairs = self._pairs(context, options, masked)
        trained = stages.trained(context, options, pairs)
        if masked is None:
            return Outcome(checkpoint=trained.path / "model", facts=_summary(None, None, pairs, trained), instructions=_shown(pairs))
        after = _heads_after(context, options, trained)
        return Outcome(
            checkpoint=trained.path / "model",
            facts=_summary(masked, after, pairs, trained),
            head_scores=_table(masked.scores),
            head_scores_after=None if after is None else _table(after),
            masked_heads=tuple((head.layer, head.head) for head in masked.mask.heads),
            instructions=_shown(pairs),
        )

    def prompts(self, context: RunContext) -> Artifact:
        """The instructions alone."""
        return _prompts(context)

    def pairs(self, context: RunContext) -> Artifact:
        """The pairs alone."""
        options = _parse(context.options)
        return self._pairs(context, options, None if options.pairs_from else self._masked(context, options))

    def train(self, context: RunContext) -> Artifact:
        """The pairs and the training."""
        return stages.trained(context, _parse(context.options), self.pairs(context))

    def _masked(self, context: RunContext, options: Options) -> _Masked:
        measured = _heads(context, options)
        scores = HeadScores.load(measured.path / "heads.safetensors")
        top_k = _audited(context, options, measured) if options.heads == AUTO else options.top_k
        target = masks.retrieval(scores, top_k=top_k, threshold=options.threshold if top_k is None else None)
        try:
            mask = self.choose(scores, target, derive(context.training_seed, self.name))
        except HarnessError as error:
            raise HarnessError(f"{self.name}: {error}") from None
        return _Masked(scores, mask)

    def _pairs(self, context: RunContext, options: Options, masked: _Masked | None) -> Artifact:
        if masked is None:
            return stages.given(context, options, chosen_only=options.loss == SFT)
        context.say(f"{self.name}: {len(masked.mask.heads)} of {len(masked.scores.heads())} heads masked")
        with stages.sampler(context, options) as engine:
            prompts = stages.instructions(context, options, engine)
            chosen = stages.responses(context, options, prompts, "chosen", engine, None)
            rejected = stages.responses(context, options, prompts, f"rejected-{self.name}", engine, masked.mask)
        return stages.paired(context, options, prompts, chosen, rejected)


class RetMask(_HeadMasking):
    """Mask the retrieval heads."""

    name = "retmask"

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """The retrieval heads themselves."""
        return target


class NonRetMask(_HeadMasking):
    """Control: mask as many heads that do not retrieve."""

    name = "nonretmask"

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Drawn from the heads that score less than every retrieval head."""
        return masks.like("nonretrieval", scores, target, seed)


class RandMask(_HeadMasking):
    """Control: mask as many heads, whichever."""

    name = "randmask"

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Drawn from all heads."""
        return masks.random_mask(scores.shape, len(target.heads), seed)


class LayerMatched(_HeadMasking):
    """Control: mask as many heads in each layer, of those that are not retrieval heads."""

    name = "layermatched"

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Drawn layer by layer, so that the depth of what is lost is the same."""
        return masks.layermatched(scores.shape, target, seed)


def _prompts(context: RunContext) -> Artifact:
    options = _parse(context.options)
    with stages.sampler(context, options) as engine:
        return stages.prompted(context, options, engine)


def _parse(table: Mapping[str, Json]) -> Options:
    options = parse_table(Options, table, "[method]")
    if options.heads not in ("threshold", AUTO):
        raise HarnessError(f"[method]: heads is {options.heads!r}; choose threshold (the default) or {AUTO}")
    if options.heads == AUTO and options.top_k is not None:
        raise HarnessError(f"[method]: heads = {AUTO} chooses the number of heads itself; leave out top_k = {options.top_k}")
    return options


class SmallerModel:
    """Baseline: the rejected answers are a weaker model's (the paper's Smaller-Model). No heads are measured or masked."""

    name = "smaller-model"

    def check(self, options: Mapping[str, Json]) -> None:
        """Raise HarnessError for an option that does not exist or has the wrong type, and if no other model is named."""
        parsed = _parse(options)
        if not parsed.pairs_from and not parsed.rejected_model():
            raise HarnessError(f"{self.name}: name the model that writes the rejected answers, such as rejected_from = 'model NAME'")

    def plan(self, options: Mapping[str, Json], model: Model) -> list[Work]:
        """What each step has to compute, for ``harness plan``."""
        from retmask.workload import contrasting

        return contrasting(self.name, _parse(options), model)

    def run(self, context: RunContext) -> Outcome:
        """Train a model that prefers its own answers to the other model's."""
        options = _parse(context.options)
        pairs = self.pairs(context)
        trained = stages.trained(context, options, pairs)
        return Outcome(checkpoint=trained.path / "model", facts=_summary(None, None, pairs, trained), instructions=_shown(pairs))

    def prompts(self, context: RunContext) -> Artifact:
        """The instructions alone."""
        return _prompts(context)

    def pairs(self, context: RunContext) -> Artifact:
        """The pairs alone."""
        self.check(context.options)
        options = _parse(context.options)
        if options.pairs_from:
            return stages.given(context, options, chosen_only=options.loss == SFT)
        other = resolve(options.rejected_model())
        with stages.sampler(context, options) as engine:
            prompts = stages.instructions(context, options, engine)
            chosen = stages.responses(context, options, prompts, "chosen", engine, None)
        with stages.sampler(context, options, other) as engine:
            rejected = stages.responses(context, options, prompts, f"rejected-{self.name}", engine, None, other)
        return stages.paired(context, options, prompts, chosen, rejected, other)

    def train(self, context: RunContext) -> Artifact:
        """The pairs and the training."""
        return stages.trained(context, _parse(context.options), self.pairs(context))


class Sft:
    """Baseline: maximum likelihood of the model's own answers, with nothing rejected. What does the training itself do?"""

    name = "sft"

    def check(self, options: Mapping[str, Json]) -> None:
        """Raise HarnessError for an option that does not exist or has the wrong type."""
        _parse(options)

    def plan(self, options: Mapping[str, Json], model: Model) -> list[Work]:
        """What each step has to compute, for ``harness plan``."""
        from retmask.workload import chosen_alone

        return chosen_alone(replace(_parse(options), loss=SFT), model)

    def run(self, context: RunContext) -> Outcome:
        """Train on the chosen answers."""
        pairs = self.pairs(context)
        trained = stages.trained(context, self._options(context), pairs)
        return Outcome(checkpoint=trained.path / "model", facts=_summary(None, None, pairs, trained), instructions=_shown(pairs))

    def prompts(self, context: RunContext) -> Artifact:
        """The instructions alone."""
        return _prompts(context)

    def pairs(self, context: RunContext) -> Artifact:
        """The chosen answers alone."""
        options = self._options(context)
        if options.pairs_from:
            return stages.given(context, options, chosen_only=True)
        with stages.sampler(context, options) as engine:
            prompts = stages.instructions(context, options, engine)
            chosen = stages.responses(context, options, prompts, "chosen", engine, None)
        return stages.chosen_alone(context, prompts, chosen)

    def train(self, context: RunContext) -> Artifact:
        """The chosen answers and the training."""
        return stages.trained(context, self._options(context), self.pairs(context))

    def _options(self, context: RunContext) -> Options:
        return replace(_parse(context.options), loss=SFT)


@dataclass(frozen=True)
class _Elsewhere:
    """A run's context with another model in the place of the baseline."""

    context: RunContext
    model: Model

    @property
    def seed(self) -> int:
        return self.context.seed

    @property
    def training_seed(self) -> int:
        return self.context.training_seed

    @property
    def options(self) -> Mapping[str, Json]:
        return self.context.options

    @property
    def device(self) -> str:
        return self.context.device

    def step(self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None]) -> Artifact:
        return self.context.step(name, inputs, build)

    def suite(self) -> EvaluationSuite:
        return self.context.suite()

    def say(self, message: str) -> None:
        self.context.say(message)


def _heads_after(context: RunContext, options: Options, trained: Artifact) -> HeadScores | None:
    """The trained model's scores on the same trials; None if they are not wanted, or it finds no needle at all."""
    if not options.heads_after:
        return None
    path = trained.path / "model"
    try:
        measured = _heads(_Elsewhere(context, Model(str(path), path, resolve(str(path)).digest)), options)
    except HarnessError as error:
        context.say(f"heads after training: {error}")
        return None
    return HeadScores.load(measured.path / "heads.safetensors")


def _heads(context: RunContext, options: Options) -> Artifact:
    settings: dict[str, Json] = {
        "lengths": list(options.detection_lengths),
        "trials": options.detection_trials,
        "depths": options.detection_depths,
        "max_new_tokens": options.detection_max_new_tokens,
        "seed": derive(context.seed, "heads"),
        "dtype": resolve_dtype(options.dtype, context.device),
        **({"counted": options.detection_counted} if options.detection_counted else {}),
    }

    def build(work: Path) -> Mapping[str, Json]:
        from retmask.heads.counting import Counting
        from retmask.heads.detect import detect
        from retmask.heads.trial_scoring import Rules
        from retmask.heads.trials import Trial, build_trials, evenly

        started = time.monotonic()
        tokenizer = load_tokenizer(context.model.path)
        depths = evenly(options.detection_depths)

        def asked(first: int, number: int) -> list[Trial]:
            return build_trials(tokenizer, options.detection_lengths, number, depths, derive(context.seed, "heads"), first=first)

        counted = options.detection_counted
        counting = Counting(counted, options.detection_trials, asked, work) if counted else None
        trials = asked(0, options.detection_trials)
        model = load_model(context.model.path, str(settings["dtype"]), context.device)
        rules = Rules(max_new_tokens=options.detection_max_new_tokens)
        scores = detect(model, tokenizer, trials, context.model.digest, context.say, rules, protocol="grid", counting=counting)
        scores.save(work / "heads.safetensors")
        return {**scores.summary(), "seconds": round(time.monotonic() - started, 1)}

    inputs: dict[str, Json] = {"version": HEADS_VERSION, "model": context.model.digest, "text": _needle_text(), **settings}
    return context.step("heads", inputs, build)


def _audited(context: RunContext, options: Options, measured: Artifact) -> int:
    """The number of heads that an audit of these scores chooses. HarnessError with its reasons if there is none."""
    settings: dict[str, Json] = {
        "length": min(options.detection_lengths),
        "trials": 2 * options.detection_trials,
        "seed": derive(context.seed, "audit"),
        "dtype": resolve_dtype(options.dtype, context.device),
    }

    def build(work: Path) -> Mapping[str, Json]:
        from retmask.heads.audit import Plan, audit_model

        plan = Plan(lengths=(min(options.detection_lengths),), trials=2 * options.detection_trials, seed=derive(context.seed, "audit"))
        scores = HeadScores.load(measured.path / "heads.safetensors")
        model = load_model(context.model.path, str(settings["dtype"]), context.device)
        found = audit_model(model, load_tokenizer(context.model.path), context.model.digest, plan, context.say, scores)
        write_atomically(work / "audit.json", (json.dumps(found.to_json(), indent=1) + "\n").encode())
        return {"verdict": found.verdict, "k": found.k, "reason": found.in_words()}

    inputs: dict[str, Json] = {"version": AUDIT_VERSION, "heads": measured.key, "text": _needle_text(), **settings}
    facts = context.step("audit", inputs, build).manifest["facts"]
    assert isinstance(facts, dict)
    context.say(f"audit: {facts['reason']}")
    if not isinstance(facts["k"], int):
        raise HarnessError(f"the audit found no number of heads to mask ({facts['reason']}); set threshold or top_k to mask some anyway")
    return facts["k"]


def _needle_text() -> str:
    """A digest of what the needle and prose generators write: their words are part of what is measured."""
    from tasks.needles import INSTRUCTION, draw_needle
    from tasks.prose import sentence

    rng = Random(0)
    return digest([INSTRUCTION, *(repr(draw_needle(rng)) for _ in range(20)), *(sentence(rng) for _ in range(200))])


def _table(scores: HeadScores) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(score) for score in layer) for layer in scores.mean)


def _summary(masked: _Masked | None, after: HeadScores | None, pairs: Artifact, trained: Artifact) -> dict[str, Json]:
    """Short figures for the report."""
    facts: dict[str, Json] = {}
    if masked is not None:
        scores = masked.scores
        facts = {
            "masked heads": len(masked.mask.heads),
            "heads": len(scores.heads()),
            "trials": len(scores.counted),
            "max head score": round(scores.max, 3),
            "gini": round(scores.gini, 3),
            "hoyer": round(scores.hoyer, 3),
        }
        if after is not None:
            facts |= _change(scores, after, masked.mask)
    for name, value in [*_facts(pairs).items(), *_facts(trained).items()]:
        if name == "warnings":
            if isinstance(value, list) and value:
                facts[name] = "; ".join([*([str(facts[name])] if name in facts else []), *map(str, value)])
        elif name != "pairs" or name not in facts:
            facts[name.replace("_", " ")] = value
    return facts


def _shown(pairs: Artifact) -> tuple[str, ...]:
    """The first few instructions, each once."""
    found: dict[str, None] = {}
    with open_bytes(pairs.path / stages.PAIRS) as file:
        for line in read_lines(file, pairs.path / stages.PAIRS):
            found[json.loads(line)["prompt"]] = None
            if len(found) == _SHOWN:
                break
    return tuple(found)


def _facts(artifact: Artifact) -> dict[str, Json]:
    facts = artifact.manifest.get("facts")
    return facts if isinstance(facts, dict) else {}


def _change(before: HeadScores, after: HeadScores, mask: HeadMask) -> dict[str, Json]:
    """Mean change of the masked and of the other heads' scores (RetMask, arXiv 2601.11020, section 5)."""
    change = after.mean - before.mean
    chosen = [head for head in before.heads() if head in set(mask.heads)]
    others = [head for head in before.heads() if head not in set(mask.heads)]
    return {
        "masked heads' mean score change": round(sum(float(change[head]) for head in chosen) / len(chosen), 4),
        "other heads' mean score change": round(sum(float(change[head]) for head in others) / max(len(others), 1), 4),
    }
