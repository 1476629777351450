"""The method plugins: RetMask and its controls.

All follow one path (RetMask, arXiv 2601.11020, section 3): measure the heads, choose a mask, sample from the intact and from the
masked model, train with DPO to prefer the intact one's answers. They differ in which heads they mask, so the head scores and the
chosen answers are shared steps.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Final

from harness.api import Artifact, HarnessError, Json, Outcome, RunContext, Work
from retmask import masks
from retmask.heads import HeadScores
from retmask.launch import TrainConfig, launch
from retmask.masks import HeadMask
from retmask.model import load_model, load_tokenizer, resolve_dtype
from retmask.options import parse_table
from retmask.pairs import Pairs, Response, Sampling, join, read_responses, sample, write_pairs

HEADS_VERSION: Final = 1
RESPONSES_VERSION: Final = 1
DPO_VERSION: Final = 1


@dataclass(frozen=True)
class Options:
    """The ``[method]`` table of a preset. Training options are those of :class:`retmask.launch.TrainConfig`."""

    threshold: float = 0.1
    """Heads with this retrieval score or more are masked."""
    top_k: int | None = None
    """Mask this many heads instead, whatever their score."""
    detection_lengths: tuple[int, ...] = (512, 1024, 2048, 4096)
    """Prompt lengths of the needle trials, tokens."""
    detection_trials: int = 20
    """Trials for each length."""
    detection_depths: int = 10
    """Depths, evenly from the start to the end, that the trials go round."""
    detection_max_new_tokens: int = 50
    prompts: int = 1000
    """Instructions to sample answers to."""
    temperature: float = 0.6
    top_p: float = 1.0
    max_new_tokens: int = 2048
    dtype: str = "auto"
    """float32 on a CPU, bfloat16 elsewhere."""
    learning_rate: float = TrainConfig.learning_rate
    min_learning_rate_ratio: float = TrainConfig.min_learning_rate_ratio
    warmup_ratio: float = TrainConfig.warmup_ratio
    weight_decay: float = TrainConfig.weight_decay
    adam_beta2: float = TrainConfig.adam_beta2
    beta: float = TrainConfig.beta
    loss: str = TrainConfig.loss
    epochs: float = TrainConfig.epochs
    batch_size: int = TrainConfig.batch_size
    micro_batch_size: int = TrainConfig.micro_batch_size
    max_length: int = TrainConfig.max_length
    gradient_checkpointing: bool = TrainConfig.gradient_checkpointing

    def training(self) -> dict[str, Any]:
        """The options that a :class:`TrainConfig` takes, but for its number format."""
        shared = {field.name for field in fields(TrainConfig)} - {"dtype"}
        return {name: value for name, value in asdict(self).items() if name in shared}


class _HeadMasking:
    """The path that the plugins share."""

    name: ClassVar[str]

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """The heads to ablate, given the retrieval heads ``target``."""
        raise NotImplementedError

    def check(self, options: Mapping[str, Json]) -> None:
        """Raise HarnessError for an option that does not exist or has the wrong type."""
        parse_table(Options, options, "[method]")

    def plan(self, options: Mapping[str, Json]) -> list[Work]:
        """What each step has to compute, for ``harness plan``."""
        from retmask.plan import steps

        return steps(self.name, parse_table(Options, options, "[method]"))

    def run(self, context: RunContext) -> Outcome:
        """Train a model that prefers its own answers to those it gives without the masked heads."""
        options = parse_table(Options, context.options, "[method]")
        scores = HeadScores.load(_heads(context, options).path / "heads.safetensors")
        target = masks.retrieval(scores, top_k=options.top_k, threshold=options.threshold if options.top_k is None else None)
        mask = self.choose(scores, target, derive(context.seed, self.name))
        context.say(f"{self.name}: {len(mask.heads)} of {len(scores.heads())} heads masked")
        prompts = _prompts(options.prompts, derive(context.seed, "prompts"))
        chosen = _responses(context, options, prompts, "chosen", None)
        rejected = _responses(context, options, prompts, f"rejected-{self.name}", mask)
        pairs = join(prompts, _read(chosen), _read(rejected))
        trained = _dpo(context, options, pairs)
        return Outcome(
            checkpoint=trained.path / "model",
            facts=_summary(scores, mask, pairs, trained),
            head_scores=tuple(tuple(float(score) for score in layer) for layer in scores.mean),
            masked_heads=tuple((head.layer, head.head) for head in mask.heads),
        )


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
        threshold = min(float(scores.mean[head]) for head in target.heads)
        return masks.nonretrieval(scores, threshold, len(target.heads), seed)


class RandMask(_HeadMasking):
    """Control: mask as many heads, whichever."""

    name = "randmask"

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Drawn from all heads."""
        return masks.random_mask(scores.shape, len(target.heads), seed)


def derive(seed: int, purpose: str) -> int:
    """A seed for one purpose, 31 bits, unrelated to those for others."""
    return int.from_bytes(blake2b(f"{seed}:{purpose}".encode(), digest_size=4).digest(), "big") >> 1


def _heads(context: RunContext, options: Options) -> Artifact:
    settings: dict[str, Json] = {
        "lengths": list(options.detection_lengths),
        "trials": options.detection_trials,
        "depths": options.detection_depths,
        "max_new_tokens": options.detection_max_new_tokens,
        "seed": derive(context.seed, "heads"),
        "dtype": resolve_dtype(options.dtype, context.device),
    }

    def build(work: Path) -> Mapping[str, Json]:
        from retmask.detect import detect
        from retmask.trials import build_trials, evenly

        started = time.monotonic()
        tokenizer = load_tokenizer(context.model.path)
        depths = evenly(options.detection_depths)
        trials = build_trials(tokenizer, options.detection_lengths, options.detection_trials, depths, derive(context.seed, "heads"))
        model = load_model(context.model.path, str(settings["dtype"]), context.device)
        scores = detect(model, tokenizer, trials, context.model.digest, context.say, options.detection_max_new_tokens)
        scores.save(work / "heads.safetensors")
        return {**scores.summary(), "seconds": round(time.monotonic() - started, 1)}

    inputs: dict[str, Json] = {"version": HEADS_VERSION, "model": context.model.digest, "text": _needle_text(), **settings}
    return context.step("heads", inputs, build)


def _needle_text() -> str:
    """A digest of what the needle and prose generators write: their words are part of what is measured."""
    from tasks.needles import INSTRUCTION, draw_needle
    from tasks.prose import sentence

    rng = Random(0)
    return _digest([INSTRUCTION, *(repr(draw_needle(rng)) for _ in range(20)), *(sentence(rng) for _ in range(200))])


def _digest(texts: list[str]) -> str:
    return blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()


def _prompts(count: int, seed: int) -> list[str]:
    """Distinct instructions."""
    from tasks.chat import instructions

    prompts = list(dict.fromkeys(text for text in instructions(count, seed) if text.strip()))
    if not prompts:
        raise HarnessError(f"[method]: prompts = {count} gives no instruction to answer")
    return prompts


def _responses(context: RunContext, options: Options, prompts: list[str], name: str, mask: HeadMask | None) -> Artifact:
    settings = Sampling(options.temperature, options.top_p, options.max_new_tokens, derive(context.seed, name.partition("-")[0]))
    dtype = resolve_dtype(options.dtype, context.device)

    def build(work: Path) -> Mapping[str, Json]:
        from contextlib import nullcontext

        from retmask.ablate import ablated

        started = time.monotonic()
        tokenizer = load_tokenizer(context.model.path)
        model = load_model(context.model.path, dtype, context.device)
        journal = work / "responses.jsonl"
        with ablated(model, mask) if mask else nullcontext():
            responses = sample(model, tokenizer, prompts, settings, journal, lambda line: context.say(f"{name}: {line}"))
        tokens = sum(len(response.ids) for response in responses)
        return {"responses": len(responses), "tokens": tokens, "seconds": round(time.monotonic() - started, 1)}

    inputs: dict[str, Json] = {
        "version": RESPONSES_VERSION,
        "model": context.model.digest,
        "prompts": _digest(prompts),
        "masked": None if mask is None else [list(head) for head in mask.heads],
        "dtype": dtype,
        **asdict(settings),
    }
    return context.step(name, inputs, build)


def _read(responses: Artifact) -> list[Response]:
    return [response for _, response in sorted(read_responses(responses.path / "responses.jsonl").items())]


def _dpo(context: RunContext, options: Options, pairs: Pairs) -> Artifact:
    training = options.training()
    seed, dtype = derive(context.seed, "dpo"), resolve_dtype(options.dtype, context.device)

    def build(work: Path) -> Mapping[str, Json]:
        write_pairs(pairs.kept, work / "pairs.jsonl")
        paths: dict[str, Any] = {"model": str(context.model.path), "pairs": str(work / "pairs.jsonl"), "output": str(work)}
        return launch(TrainConfig(**paths, seed=seed, device=context.device, dtype=dtype, **training), context.say)

    inputs: dict[str, Json] = {
        "version": DPO_VERSION,
        "model": context.model.digest,
        "pairs": _digest([repr(pair) for pair in pairs.kept]),
        "seed": seed,
        "dtype": dtype,
        **{name: value for name, value in training.items() if name not in ("micro_batch_size", "gradient_checkpointing")},
    }
    return context.step("dpo", inputs, build)


def _summary(scores: HeadScores, mask: HeadMask, pairs: Pairs, trained: Artifact) -> dict[str, Json]:
    facts = trained.manifest.get("facts")
    training = facts if isinstance(facts, dict) else {}
    return {
        "masked heads": len(mask.heads),
        "heads": len(scores.heads()),
        "trials": len(scores.counted),
        "max head score": round(scores.max, 3),
        "gini": round(scores.gini, 3),
        "hoyer": round(scores.hoyer, 3),
        "pairs": len(pairs.kept),
        "dropped empty": pairs.dropped["empty"],
        "dropped identical": pairs.dropped["identical"],
        "identical share": round(pairs.identical_share, 3),
        "mean chosen tokens": round(pairs.mean_chosen_tokens, 1),
        "mean rejected tokens": round(pairs.mean_rejected_tokens, 1),
        "unfinished responses": pairs.unfinished,
        **{name.replace("_", " "): value for name, value in training.items() if name != "pairs"},
    }
