"""Steps that measure a model: its heads' scores, before and after a training, and the audit of how many to mask."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from harness.api import Artifact, EvaluationSuite, HarnessError, Json, Model, RunContext
from harness.models.footprint import number_format
from harness.models.lookup import resolve
from retmask.heads.detectors import COPY, version_of
from retmask.heads.masks import HeadMask
from retmask.heads.scores import HeadScores, write_atomically
from retmask.model import load_model, load_tokenizer
from retmask.options import Options
from retmask.stages import derive, digest

HEADS_VERSION: Final = 3
AUDIT_VERSION: Final = 2
UNITS_VERSION: Final = 1


@dataclass(frozen=True)
class Masked:
    """What a head-masking method knows before it samples."""

    scores: HeadScores
    mask: HeadMask
    facts: Mapping[str, Json] = field(default_factory=dict)
    """How the mask came about, for the report."""


@dataclass(frozen=True)
class _OnModel:
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

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        return self.context.step(name, inputs, build, version=version)

    def suite(self) -> EvaluationSuite:
        return self.context.suite()

    def say(self, message: str) -> None:
        self.context.say(message)


def heads_after(context: RunContext, options: Options, trained: Artifact) -> HeadScores | None:
    """Score the trained model's heads on the same trials; None if they are not wanted, or it finds no needle at all."""
    if not options.heads_after:
        return None
    path = trained.path / "model"
    try:
        measured = measured_heads(_OnModel(context, Model(str(path), path, resolve(str(path)).digest)), options)
    except HarnessError as error:
        context.say(f"heads after training: {error}")
        return None
    return HeadScores.load(measured.path / "heads.safetensors")


def measured_heads(context: RunContext, options: Options) -> Artifact:
    settings: dict[str, Json] = {
        "lengths": list(options.detection_lengths),
        "trials": options.detection_trials,
        "depths": options.detection_depths,
        "max_new_tokens": options.detection_max_new_tokens,
        "seed": derive(context.seed, "heads"),
        "dtype": number_format(options.dtype, context.device, context.model.path),
        **({"counted": options.detection_counted} if options.detection_counted else {}),
        **({"detector": options.detector} if options.detector != COPY else {}),
        **({"detector_version": version} if (version := version_of(options.detector)) > 1 else {}),
    }

    def build(work: Path) -> Mapping[str, Json]:
        from retmask.heads.counting import Counting
        from retmask.heads.detect import detect
        from retmask.heads.detectors import find_detector
        from retmask.heads.trial_scoring import TrialScoring
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
        rules = TrialScoring(max_new_tokens=options.detection_max_new_tokens)
        scores = detect(
            model,
            tokenizer,
            trials,
            context.model.digest,
            context.say,
            rules,
            detector=find_detector(options.detector),
            protocol="grid",
            counting=counting,
        )
        scores.save(work / "heads.safetensors")
        return {**scores.summary(), "seconds": round(time.monotonic() - started, 1)}

    inputs: dict[str, Json] = {"version": HEADS_VERSION, "model": context.model.digest, "text": _needle_text(), **settings}
    return context.step("heads", inputs, build)


def measured_units(context: RunContext, options: Options) -> Artifact:
    """Build the step ``units``: the scores of MLP neurons or layers."""
    settings: dict[str, Json] = {
        "component": options.components,
        "lengths": list(options.detection_lengths),
        "trials": options.detection_trials,
        "depths": options.detection_depths,
        "seed": derive(context.seed, "heads"),
        "dtype": number_format(options.dtype, context.device, context.model.path),
    }

    def build(work: Path) -> Mapping[str, Json]:
        from retmask.heads.components import score_units
        from retmask.heads.trials import build_trials, evenly

        tokenizer, seed = load_tokenizer(context.model.path), derive(context.seed, "heads")
        trials = build_trials(tokenizer, options.detection_lengths, options.detection_trials, evenly(options.detection_depths), seed)
        model = load_model(context.model.path, str(settings["dtype"]), context.device)
        scores = score_units(model, tokenizer, trials, context.model.digest, options.components, context.say)
        scores.save(work / "heads.safetensors")
        return {"units": len(scores.heads()), "max": scores.max, "gini": scores.gini, "hoyer": scores.hoyer}

    inputs: dict[str, Json] = {"version": UNITS_VERSION, "model": context.model.digest, "text": _needle_text(), **settings}
    return context.step("units", inputs, build)


def audited_count(context: RunContext, options: Options, measured: Artifact) -> int:
    """Choose the number of heads by an audit of these scores. HarnessError with its reasons if there is none."""
    settings: dict[str, Json] = {
        "length": min(options.detection_lengths),
        "trials": 2 * options.detection_trials,
        "seed": derive(context.seed, "audit"),
        "dtype": number_format(options.dtype, context.device, context.model.path),
    }

    def build(work: Path) -> Mapping[str, Json]:
        from retmask.heads.audit import AuditSettings, audit_model

        lengths, trials = (min(options.detection_lengths),), 2 * options.detection_trials
        asked = AuditSettings(lengths=lengths, trials=trials, seed=derive(context.seed, "audit"))
        scores = HeadScores.load(measured.path / "heads.safetensors")
        model = load_model(context.model.path, str(settings["dtype"]), context.device)
        found = audit_model(model, load_tokenizer(context.model.path), context.model.digest, asked, context.say, scores)
        write_atomically(work / "audit.json", (json.dumps(found.to_json(), indent=1) + "\n").encode())
        return {"verdict": found.verdict, "k": found.k, "reason": found.in_words()}

    inputs: dict[str, Json] = {"version": AUDIT_VERSION, "heads": measured.key, "text": _needle_text(), **settings}
    facts = context.step("audit", inputs, build).facts
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
