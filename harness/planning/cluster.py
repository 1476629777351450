"""``harness plan --hardware``: what a run would need on hardware that is not here, of a model of which only the configuration is.

Counted as in :mod:`harness.planning.plan`: every answer with its whole budget. What a layout holds and how long it takes is arithmetic
(:mod:`harness.planning.layouts`) with the rates that were stated.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final

from harness.api import HarnessError, Json, Model, Work
from harness.config import RunConfig
from harness.evaluation import evaluate as evaluation
from harness.evaluation.evaluate import scoring
from harness.evaluation.sources import find_source
from harness.evaluation.suite import suite_config
from harness.methods import choose
from harness.models.footprint import gib
from harness.planning import tokens
from harness.planning.blueprint import Blueprint
from harness.planning.hardware import Hardware
from harness.planning.layouts import TRAININGS, Layout, Placed, layouts, nearest, place
from harness.planning.table import duration

_BFLOAT: Final = "bfloat16"
#: What vLLM holds at a time, at most: rows, and tokens of all of them. Its batches change as answers end; transformers' are a run's own.
_ROWS, _TOKENS = 256, 262_144


@dataclass(frozen=True)
class Step:
    """One step in every layout that there is for it."""

    name: str
    work: Work
    asked: Layout
    """The layout that the settings ask for."""
    placed: tuple[Placed, ...]
    nearest: Placed | None
    """Where the asked one does not fit: what does, on the fewest devices; None where nothing does."""

    def chosen(self, hardware: Hardware) -> Placed | None:
        """Give the asked layout if it fits, else the nearest that does."""
        own = next((each for each in self.placed if each.layout == self.asked), None)
        return own if own is not None and own.fits(hardware) else self.nearest


@dataclass(frozen=True)
class ClusterPlan:
    """A run on stated hardware."""

    model: str
    blueprint: Blueprint
    hardware: Hardware
    dtype: str
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float | None:
        """How long it all takes, each step as asked for or in the nearest layout that fits; None if some step fits nowhere."""
        chosen = [step.chosen(self.hardware) for step in self.steps]
        return None if any(each is None for each in chosen) else sum(each.seconds for each in chosen if each is not None)

    def as_json(self) -> dict[str, Json]:
        """Give everything."""
        steps: list[Json] = []
        for step in self.steps:
            rows: list[Json] = [dict(each.as_json(self.hardware)) for each in step.placed]
            other = (
                None if step.nearest is None else dict(step.nearest.as_json(replace(self.hardware, devices=step.nearest.layout.devices)))
            )
            steps.append({"name": step.name, "work": asdict(step.work), "asked": str(step.asked), "layouts": rows, "nearest": other})
        sizes: dict[str, Json] = {**asdict(self.blueprint.shape), "active": self.blueprint.active}
        return {
            "model": self.model, "sizes": sizes, "dtype": self.dtype, "hardware": self.hardware.as_json(), "steps": steps,
            "seconds": self.seconds,
        }  # fmt: skip


def plan_on(hardware: Hardware, name: str, path: Path, config: RunConfig) -> ClusterPlan:
    """Plan an evaluation, or a run of methods, of the model whose configuration is in ``path``.

    HarnessError for what would stop the run at its beginning, and for a length that the model cannot take.
    """
    blueprint = Blueprint.read(path)
    dtype = _BFLOAT if config.dtype == "auto" else config.dtype
    steps = []
    for title, counted in _works(path, config, blueprint):
        work = _in_vllm(counted) if _is_vllm(counted, config) and counted.prompts else counted
        asked, recomputed = _asked(work, config, hardware), config.options.get("gradient_checkpointing") is True
        computed = str(config.options.get("dtype", "auto")) if work.train_tokens else dtype
        computed = dtype if computed == "auto" else computed
        placed = tuple(
            place(work, each, blueprint, hardware, computed, recomputed=recomputed)
            for each in _with(asked, layouts(work, blueprint, hardware.devices))
        )
        own = next(each for each in placed if each.layout == asked)
        other = None if own.fits(hardware) else nearest(work, asked, blueprint, hardware, computed, recomputed=recomputed)
        steps.append(Step(title, work, asked, placed, other))
    return ClusterPlan(name, blueprint, hardware, dtype, tuple(steps))


def _with(asked: Layout, there: Iterator[Layout]) -> list[Layout]:
    return list(dict.fromkeys([*there, asked]))


def _works(path: Path, config: RunConfig, blueprint: Blueprint) -> Iterator[tuple[str, Work]]:
    chosen = choose(config.methods, config.options)
    evaluation.check(find_source(config.data), config.tasks, scoring(config))
    generation = tokens.generation_of(config, suite_config(replace(config, lengths=_lengths(config, blueprint))))
    yield "generate: baseline", generation
    told: set[tuple[str, str]] = set()
    for name, method in chosen.items():
        for seed in config.seeds or (None,):
            label = name if seed is None else f"{name}, seed {seed}"
            for work in method.plugin.plan(method.options, Model(str(path), path, "")):
                title = work.title or work.step
                if not (work.shared and (title, work.inputs) in told):
                    alone = not work.shared or any(title == other for other, _ in told)
                    yield f"{title} ({label})" if alone else title, work
                told.add((title, work.inputs))
            yield f"generate: {label}", generation


def _lengths(config: RunConfig, blueprint: Blueprint) -> tuple[int, ...]:
    limit = blueprint.shape.context
    kept = tuple(length for length in config.lengths if limit is None or length <= limit - config.think_tokens)
    if len(kept) < len(config.lengths) and not (config.clip and kept):
        raise HarnessError(f"the model takes at most {limit} tokens and --lengths asks for {max(config.lengths)}; ask for shorter ones")
    return kept


def _in_vllm(work: Work) -> Work:
    """The same step with as many rows together as vLLM takes."""
    each = (work.prefill_tokens + work.new_tokens) / work.prompts
    rows = int(max(1, min(_ROWS, work.prompts, _TOKENS // each)))
    return replace(work, passes=ceil(work.prompts / rows) * ceil(work.new_tokens / work.prompts), in_flight=ceil(rows * each))


def _is_vllm(work: Work, config: RunConfig) -> bool:
    if work.step == "generate":
        return config.backend == "vllm"
    return config.options.get("sampler") == "vllm" and work.step.startswith(("prompts", "chosen", "rejected"))


def _asked(work: Work, config: RunConfig, hardware: Hardware) -> Layout:
    """What the settings say: ``parallel`` and ``processes`` of a training, ``--tensor-parallel`` and ``--pipeline-parallel`` elsewhere."""
    if work.train_tokens:
        kind, count = str(config.options.get("parallel", "none")), config.options.get("processes", 1)
        kind = kind if kind in TRAININGS else "ddp"
        return Layout(kind, max(1, count if isinstance(count, int) else 1)) if kind != "none" else Layout("none", 1)
    if not _is_vllm(work, config):
        return Layout("pipeline", hardware.devices) if config.device == "all" and hardware.devices > 1 else Layout("none", 1)
    tensor, pipeline = (
        (config.tensor_parallel, config.pipeline_parallel)
        if work.step == "generate"
        else (config.options.get("tensor_parallel", 1), config.options.get("pipeline_parallel", 1))
    )
    if isinstance(tensor, int) and tensor > 1:
        return Layout("tensor", tensor)
    return Layout("pipeline", pipeline) if isinstance(pipeline, int) and pipeline > 1 else Layout("none", 1)


def as_text(plan: ClusterPlan) -> str:
    """Show each step's tokens, and memory and time in each of its layouts."""
    shape, there = plan.blueprint.shape, plan.hardware
    lines = [
        f"{plan.model}: {shape.parameters:,} parameters ({plan.blueprint.active:,} at work for a token), {plan.dtype}",
        f"{there.devices} x {gib(there.memory)} ({gib(there.usable)} usable), {there.flops / 1e12:g} TFLOP/s, memory "
        f"{there.bandwidth / 1e9:g} GB/s, link {there.link / 1e9:g} GB/s, peak rates",
    ]
    shown: dict[Work, str] = {}
    for step in plan.steps:
        work = step.work
        if (same := shown.setdefault(replace(work, step="", title="", shared=False), step.name)) != step.name:
            lines += ["", f"{step.name}: as {same}"]
            continue
        what = (
            f"{work.train_tokens:,} to train on" if work.train_tokens else f"{work.prefill_tokens:,} to read, {work.new_tokens:,} to write"
        )
        lines += [
            "",
            f"{step.name}: tokens {what}",
            f"  {'layout':<14}{'weights':>11}{'cache':>11}{'optimizer':>11}{'activations':>13}{'a device':>11}  time",
        ]
        for each in step.placed:
            sizes = f"{gib(each.weights):>11}{gib(each.cache):>11}{gib(each.optimizer):>11}{gib(each.activations):>13}{gib(each.total):>11}"
            fit = duration(each.seconds) if each.fits(there) else "does not fit"
            lines.append(f"{'* ' if each.layout == step.asked else '  '}{each.layout!s:<14}{sizes}  {fit}")
        if step.chosen(there) is None:
            lines.append("  no layout of up to 1,024 such devices holds it: ask for shorter --lengths, a smaller micro_batch_size, or LoRA")
        elif step.nearest is not None:
            more = f" (of {step.nearest.layout.devices} such devices)" if step.nearest.layout.devices > there.devices else ""
            how = ", which takes vLLM" if step.nearest.layout.kind == "tensor" else ""
            found = f"{step.nearest.layout}{more}, {gib(step.nearest.total)}, {duration(step.nearest.seconds)}{how}"
            lines.append(f"  nearest that fits: {found}")
    total = plan.seconds
    lines += [
        "",
        "no time: a step fits nowhere"
        if total is None
        else f"about {duration(total)} by arithmetic (* as the settings ask, where it fits)",
    ]
    return "\n".join(lines)
