"""``harness plan``: what a run would do, without doing it.

The steps' own code is asked, over a store that only looks: what is finished is found by its key as a run would find it, and the first step
that is missing ends the asking. What comes after it is known from the settings and from what a method says of itself (``plan``).
Token counts are upper bounds; the time is that of a short probe, and right to a factor of two or so.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from harness import evaluate as evaluation
from harness import extra as extras
from harness import references
from harness.api import Artifact, HarnessError, Json, Model, Work
from harness.config import RunConfig
from harness.footprint import DeviceMemory, ModelShape, devices, gib, width
from harness.models import resolve
from harness.pipeline import Run, find_method, resolve_model, scoring, suite_config
from harness.probe import Speed, measure
from harness.sources import find_source
from harness.suite import clipped, prepare

State = Literal["finished", "started", "to do"]
#: Copies of the logits, in float32, that a training step holds: forward, log-softmax, gradient.
_LOGIT_COPIES: Final = 3
#: A training checkpoint: weights and both of AdamW's moments in float32.
_CHECKPOINT_BYTES: Final = 12
#: A prompt of a reference point, which has a few passages and at most two worked examples.
_REFERENCE_TOKENS: Final = 1_024


@dataclass(frozen=True)
class PlannedStep:
    """One step of the run."""

    name: str
    state: State
    work: Work
    seconds: float | None = None
    """Estimate of what is left to do; None where nothing was timed."""


@dataclass(frozen=True)
class Need:
    """Memory of one kind of step on each device that it uses, bytes."""

    name: str
    weights: int
    kv_cache: int
    optimizer: int
    """Gradients, moments and float32 weights of a training."""
    logits: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.optimizer + self.logits


@dataclass(frozen=True)
class Plan:
    """What a run would do and need."""

    model: str
    parameters: int
    steps: tuple[PlannedStep, ...]
    needs: tuple[Need, ...]
    devices: tuple[DeviceMemory, ...]
    warnings: tuple[str, ...]
    seconds: float | None

    @property
    def prefill_tokens(self) -> int:
        """Left to read."""
        return sum(step.work.prefill_tokens for step in self.steps if step.state != "finished")

    @property
    def new_tokens(self) -> int:
        """Left to write."""
        return sum(step.work.new_tokens for step in self.steps if step.state != "finished")

    def as_json(self) -> dict[str, object]:
        """Everything, with the sums."""
        needs = [{**asdict(need), "total": need.total} for need in self.needs]
        return {**asdict(self), "needs": needs, "prefill_tokens": self.prefill_tokens, "new_tokens": self.new_tokens}


class _MissingError(Exception):
    """A step that a run would have to compute."""


class _Look(Run):
    """A run that finds what is finished and stops at what is not."""

    def __init__(self, root: Path, model: Model, config: RunConfig) -> None:
        super().__init__(root, model, config, read_only=True)
        self.states: dict[str, State] = {}

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        artifact = self._store.find(name, inputs, version=version)
        if artifact is None:
            self.states[name] = "started" if self._store.is_started(name, inputs, version=version) else "to do"
            raise _MissingError(name)
        self.states[name] = "finished"
        return artifact

    def say(self, message: str) -> None:
        """A plan has no progress to tell of."""


def make_plan(root: Path, model_name: str, methods: Sequence[str], config: RunConfig, *, probe: bool = True) -> Plan:
    """The plan of :func:`harness.pipeline.run_methods`, or of an evaluation where there are no methods.

    HarnessError for what would stop the run at its beginning: no such model, method or task, a length that the model cannot take.
    """
    plugins = {name: find_method(name) for name in methods}
    for plugin in plugins.values():
        getattr(plugin, "check", lambda options: None)(config.options)
    evaluation.check(find_source(config.data), config.tasks, scoring(config))
    run = _Look(root, resolve_model(model_name, config), config)
    config = run.config
    if methods and config.backend == "served":
        raise HarnessError("a served engine has one model and a method makes another; plan an evaluation of each instead")
    shape = ModelShape.read(run.model)
    extra = extras.find(config)
    steps = list(_steps(run, plugins, extra))
    found = () if config.backend == "served" else devices(run.device)
    needs = tuple(_needs(steps, shape, config))
    warnings = _warnings(needs, steps, shape, found, config, root)
    if any(step.work.step == extras.STEP and step.state != "finished" for step in steps):
        warnings.append("the extra tasks' tokens, memory and time are not counted: their documents are read when they are asked")
    speed = None
    if probe and found and any(step.state != "finished" for step in steps) and shape.weight_bytes(config.dtype) < found[0].free:
        speed = measure(run.model, shape, config.dtype, run.device)
        steps = [_timed(step, speed) for step in steps]
    seconds = sum(step.seconds or 0.0 for step in steps) if speed else None
    return Plan(model_name, shape.parameters, tuple(steps), needs, found, tuple(warnings), seconds)


def _steps(run: _Look, plugins: Mapping[str, object], extra: extras.ExtraTasks | None) -> Iterator[PlannedStep]:
    generation = _generation(run)
    suite: Artifact | None = None
    try:
        suite = prepare(run, suite_config(run.config), run.model)
        evaluation.evaluate(run, run.model, suite, run.config, scoring(run.config))
    except _MissingError:
        pass
    yield PlannedStep("suite", run.states.get("suite", "to do"), Work("suite"))
    yield PlannedStep("generate: baseline", run.states.get("generate", "to do"), generation)
    yield PlannedStep("eval: baseline", run.states.get("eval", "to do"), Work("eval"))
    yield from _references(run)
    yield from _extra(run, run.model, "baseline", extra)
    told: set[str] = set()
    for name, plugin in plugins.items():
        for seed in run.config.seeds or (run.config.seed,):
            label = f"{name}, seed {seed}" if run.config.seeds else name
            yield from _method(run, seed, label, plugin, suite, generation, extra, told)
    if plugins:
        yield PlannedStep("report", "to do", Work("report"))


def _method(
    run: _Look,
    seed: int,
    name: str,
    plugin: object,
    suite: Artifact | None,
    generation: Work,
    extra: extras.ExtraTasks | None,
    told: set[str],
) -> Iterator[PlannedStep]:
    run.states.clear()
    trained: Model | None = None
    try:
        outcome = plugin.run(run.repeated(seed))  # type: ignore[attr-defined]  # find_method checked it
        trained = resolve(str(outcome.checkpoint))
        if suite is not None:
            evaluation.evaluate(run, trained, suite, run.config, scoring(run.config))
    except _MissingError:
        pass
    own = {step: state for step, state in run.states.items() if step not in ("suite", "generate", "eval")}
    works: Sequence[Work] = getattr(plugin, "plan", lambda options: ())(run.config.options)
    planned = {work.step: work for work in works}
    for step in own:
        planned.setdefault(step, Work(step))
    for step, work in planned.items():
        if work.shared and step in told:
            continue
        told.add(step)
        yield PlannedStep(step if work.shared else f"{step} ({name})", own.get(step, "to do"), work)
    yield PlannedStep(f"generate: {name}", run.states.get("generate", "to do"), generation)
    yield PlannedStep(f"eval: {name}", run.states.get("eval", "to do"), Work("eval"))
    yield from _extra(run, trained, name, extra)


def _references(run: _Look) -> Iterator[PlannedStep]:
    """The reference points, if they are asked for: short prompts with whole answer budgets."""
    if not run.config.reference_points:
        return
    kept = dict(run.states)
    run.states.clear()
    with suppress(_MissingError):
        references.ask(run, run.model, suite_config(run.config), scoring(run.config))
    yield PlannedStep("generate: reference points", run.states.get("generate", "to do"), _reference_work(run))
    run.states.clear()
    run.states.update(kept)


def _reference_work(run: _Look) -> Work:
    config = clipped(run, suite_config(run.config), run.model)
    source = find_source(config.data)
    prompts = prefill = new = 0
    for task in source.tasks(config.tasks):
        for length in config.lengths:
            count = source.expected_references((task.name,), (length,), config.examples)
            prompts, prefill = prompts + count, prefill + count * min(length, _REFERENCE_TOKENS)
            new += count * (task.max_new_tokens + config.think_tokens)
    return Work("generate", prompts, prefill, new, in_flight=min(max(config.lengths), _REFERENCE_TOKENS) + config.think_tokens)


def _extra(run: _Look, model: Model | None, name: str, extra: extras.ExtraTasks | None) -> Iterator[PlannedStep]:
    """The extra tasks of a model, which may not be there yet. How much there is to read, only their documents say."""
    if extra is None:
        return
    run.states.pop(extras.STEP, None)
    if model is not None:
        with suppress(_MissingError):
            extras.evaluate(run, model, extra, run.config)
    yield PlannedStep(f"{extras.STEP}: {name}", run.states.get(extras.STEP, "to do"), Work(extras.STEP))


def _generation(run: _Look) -> Work:
    """Every example of every task and length, full to its length and with its whole answer budget."""
    config = clipped(run, suite_config(run.config), run.model)
    source = find_source(config.data)
    prompts = prefill = new = budget = 0
    for task in source.tasks(config.tasks):
        for length in config.lengths:
            count = source.expected((task.name,), (length,), config.examples)
            budget = max(budget, task.max_new_tokens + config.think_tokens)
            prompts, prefill, new = prompts + count, prefill + count * length, new + count * (task.max_new_tokens + config.think_tokens)
    longest = max(config.lengths) + config.think_tokens
    batch = max(run.config.batch_tokens, longest) + budget * max(1, run.config.batch_tokens // longest)
    return Work("generate", prompts, prefill, new, in_flight=longest if run.config.backend == "vllm" else batch)


def _needs(steps: Sequence[PlannedStep], shape: ModelShape, config: RunConfig) -> Iterator[Need]:
    """One row for each kind of step that is left."""
    if config.backend == "served":
        return
    seen: set[str] = set()
    for step in steps:
        kind = step.work.step.partition("-")[0]
        if step.state == "finished" or kind in seen or not (step.work.in_flight or step.work.train_tokens):
            continue
        seen.add(kind)
        if step.work.train_tokens:
            logits = _LOGIT_COPIES * step.work.train_batch_tokens * shape.vocabulary * width("float32")
            trained = shape.training_bytes() if step.work.full_training else 0
            yield Need(kind, 0 if trained else shape.weight_bytes(config.dtype), 0, trained, logits)
        else:
            parts = config.workers if kind == "generate" else 1
            weights, cache = shape.weight_bytes(config.dtype), shape.kv_bytes(step.work.in_flight, config.dtype)
            yield Need(kind, weights // parts, cache // parts, 0, 0)


def _warnings(
    needs: Sequence[Need],
    steps: Sequence[PlannedStep],
    shape: ModelShape,
    found: Sequence[DeviceMemory],
    config: RunConfig,
    root: Path,
) -> list[str]:
    warnings = []
    wanted = config.workers
    if config.device.startswith("cuda") and wanted > len(found):
        warnings.append(f"{wanted} devices are asked for and {len(found)} are there; lower --tensor-parallel or --pipeline-parallel")
    for need in needs:
        device = max(found, key=lambda device: device.free)
        if need.total > device.free:
            warnings.append(
                f"{need.name} does not fit: it needs {gib(need.total)} on a device, and {device.name} has {gib(device.free)} free "
                f"of {gib(device.total)}; {_advice(need)}"
            )
    trainings = sum(step.state != "finished" and step.work.full_training and step.work.train_tokens > 0 for step in steps)
    disk = trainings * shape.parameters * (_CHECKPOINT_BYTES + width(shape.dtype))
    place = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if disk > shutil.disk_usage(place).free:
        warnings.append(f"checkpoints take {gib(disk)} and {place} has {gib(shutil.disk_usage(place).free)} free; name another --output")
    return warnings


def _advice(need: Need) -> str:
    if need.optimizer:
        return "train with LoRA, or divide the optimizer among devices (FSDP, ZeRO)"
    if need.kv_cache > need.weights:
        return "ask for shorter --lengths or a smaller --batch-tokens"
    return "use --dtype bfloat16, --backend vllm with --tensor-parallel, or a smaller model"


def _timed(step: PlannedStep, speed: Speed) -> PlannedStep:
    if step.state == "finished":
        return step
    work = step.work
    reading = work.prompts * speed.prefill_seconds(work.prefill_tokens / work.prompts) if work.prompts else 0.0
    writing = work.new_tokens / speed.new_tokens_per_second
    training = work.train_tokens * speed.train_seconds_per_token
    return PlannedStep(step.name, step.state, work, reading + writing + training)


# ---- for a person -------------------------------------------------------------------------------------------------------------------


def as_text(plan: Plan) -> str:
    """The plan as a person reads it."""
    lines = [f"{plan.model}: {plan.parameters:,} parameters", "", *_step_lines(plan)]
    if plan.needs:
        lines += ["", "memory on each device, without activations", *(f"  {line}" for line in _need_lines(plan.needs))]
    lines += ["", *(f"{device.name}: {gib(device.free)} free of {gib(device.total)}" for device in plan.devices)]
    if plan.seconds is not None:
        lines.append(f"about {duration(plan.seconds)} by a short probe with transformers; token counts are upper bounds")
    lines += [f"WARNING: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def _step_lines(plan: Plan) -> Iterator[str]:
    size = max(len(step.name) for step in plan.steps)
    yield f"{'step':{size}}  {'state':8}  {'prefill':>13}  {'generate':>11}  {'train':>13}  time"
    for step in plan.steps:
        counts = [step.work.prefill_tokens, step.work.new_tokens, step.work.train_tokens]
        numbers = [f"{count:,}" if count and step.state != "finished" else "" for count in counts]
        time = "" if step.seconds is None else duration(step.seconds) if step.seconds else ""
        yield f"{step.name:{size}}  {step.state:8}  {numbers[0]:>13}  {numbers[1]:>11}  {numbers[2]:>13}  {time}".rstrip()
    yield f"{'left, in tokens':{size}}  {'':8}  {plan.prefill_tokens:>13,}  {plan.new_tokens:>11,}"


def _need_lines(needs: Sequence[Need]) -> Iterator[str]:
    for need in needs:
        parts = {"weights": need.weights, "KV cache": need.kv_cache, "optimizer state": need.optimizer, "logits": need.logits}
        yield f"{need.name:10} {gib(need.total):>10}  " + " + ".join(f"{name} {gib(size)}" for name, size in parts.items() if size)


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``, ``2.1 days``."""
    for size, unit in ((86_400, "days"), (3_600, "h")):
        if seconds >= 2 * size or (unit == "h" and seconds >= size):
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 1):.0f} s"
