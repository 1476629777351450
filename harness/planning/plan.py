"""``harness plan``: what a run would do, without doing it.

The steps' own code is asked, over a store that only looks: what is finished is found by its key as a run would find it, and the first step
that is missing ends the asking. What comes after it is known from the settings and from what a method says of itself (``plan``). What is
written counts with its whole budget. The time comes from a short probe (:mod:`harness.planning.estimate`); ``benchmarks/plan.py`` compares
it with what the steps then take.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

from harness.api import Artifact, HarnessError, Json, Model, Work
from harness.config import RunConfig
from harness.context import Run
from harness.engines.options import EngineConfig
from harness.engines.servers.identity import identity
from harness.evaluation import evaluate as evaluation
from harness.evaluation import extra_tasks as extras
from harness.evaluation import references
from harness.evaluation.evaluate import scoring
from harness.evaluation.judging import judge_calls
from harness.evaluation.sources import find_source
from harness.evaluation.suite import asked_suite, fitting, is_suiteless, prepare, suite_config
from harness.methods import Chosen, choose
from harness.models.footprint import DeviceMemory, ModelShape, device_of, devices, gib, width
from harness.models.lookup import resolve
from harness.pipeline import resolve_model
from harness.planning import tokens
from harness.planning.estimate import seconds
from harness.planning.speed import Speed, probe

State = Literal["finished", "started", "to do"]
Stage = Literal["pairs", "train"]
REPORT: Final = "report"
#: What no step is begun for: without a probe, at so many operations and passes in a second, it is done in so many seconds.
_OPERATIONS, _PASSES, _LITTLE = 1e10, 100, 300
#: Seconds for a server to name its model, where only a plan is made.
_PATIENCE: Final = 10.0
#: Copies of the logits, in float32, that a training step holds: forward, log-softmax, gradient.
_LOGIT_COPIES: Final = 3
#: A training checkpoint: weights and both of AdamW's moments in float32.
_CHECKPOINT_BYTES: Final = 12


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
    disk: int
    """Bytes that trainings write, checkpoints and all."""
    seconds: float | None
    """Estimate of what is left, with nothing else on the machine; None where nothing was timed."""
    by_arithmetic: bool = False
    """Whether the times follow from the model's size and the machine's speed alone."""
    slowed: float = 1.0
    """How many times as long it takes beside what else runs now."""
    untimed: str = ""
    """Why there is no time."""

    @property
    def left(self) -> tuple[PlannedStep, ...]:
        """What a model has to work for. The report is drawn anew each time."""
        return tuple(step for step in self.steps if step.state != "finished" and step.work.step != REPORT)

    @property
    def is_little(self) -> bool:
        """Whether so little is left that timing it would not pay."""
        works = [step.work for step in self.left]
        tokens = sum(work.prefill_tokens + work.new_tokens + work.train_passes * work.train_tokens for work in works)
        operations = 2 * self.parameters * tokens
        return operations / _OPERATIONS + sum(work.passes for work in works) / _PASSES < _LITTLE

    @property
    def prefill_tokens(self) -> int:
        """Left to read."""
        return sum(step.work.prefill_tokens for step in self.steps if step.state != "finished")

    @property
    def new_tokens(self) -> int:
        """Left to write."""
        return sum(step.work.new_tokens for step in self.steps if step.state != "finished")

    @property
    def train_tokens(self) -> int:
        """Left to train on, over all epochs."""
        return sum(step.work.train_tokens for step in self.steps if step.state != "finished")

    def as_json(self) -> dict[str, object]:
        """Give everything, with the sums."""
        needs = [{**asdict(need), "total": need.total} for need in self.needs]
        sums = {"prefill_tokens": self.prefill_tokens, "new_tokens": self.new_tokens, "train_tokens": self.train_tokens}
        return {**asdict(self), "needs": needs, **sums}


class UnplannedError(HarnessError):
    """Nothing can be planned, and the command itself may well run: a model whose files do not say how large it is."""


class _MissingError(Exception):
    """A step that a run would have to compute."""


class _Look(Run):
    """A run that finds what is finished and stops at what is not."""

    def __init__(self, root: Path, model: Model, config: RunConfig) -> None:
        super().__init__(root, model, config, asked_suite, read_only=True)
        self.states: dict[tuple[str, str], State] = {}
        """By name and key, in the order in which the steps were asked for."""

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        artifact = self._store.find(name, inputs, version=version)
        if artifact is None:
            self.states[name, ""] = "started" if self._store.is_started(name, inputs, version=version) else "to do"
            raise _MissingError(name)
        self.states[name, artifact.key] = "finished"
        return artifact

    def server(self, engine: EngineConfig) -> dict[str, Json]:
        """Ask once, and give nothing where no server answers yet."""
        try:
            return identity(replace(engine, timeout=min(engine.timeout, _PATIENCE)), attempts=1)
        except HarnessError:
            return {}

    def taken(self, *names: str) -> State:
        """Take a step's state out of those that were asked for; ``to do`` if none of these was."""
        found = next((key for key in self.states if key[0] in names), None)
        return "to do" if found is None else self.states.pop(found)

    def say(self, message: str) -> None:
        """Say nothing: a plan has no progress to tell of."""


def make_plan(root: Path, model_name: str, methods: Sequence[str], config: RunConfig, *, stage: Stage | None = None) -> Plan:
    """Build the plan of :func:`harness.pipeline.run_methods`, of one stage of a method, or of an evaluation where there are no methods.

    It has no times; :func:`timed` adds them. HarnessError for what would stop the run at its beginning: no such model, method or task, a
    length that the model cannot take.
    """
    chosen = choose(methods, config.options)
    evaluation.check(find_source(config.data), config.tasks, scoring(config))
    run = _Look(root, resolve_model(model_name, config), config)
    config = run.config
    if methods and config.backend == "served":
        raise HarnessError("a served engine has one model and a method makes another; run harness eval for each, then harness compare")
    shape = _shape(run.model)
    extra = extras.find(config)
    left_out = () if is_suiteless(config, stage) else tuple(x for x in config.lengths if x not in fitting(suite_config(config), run.model))
    steps = list(_steps(run, chosen, extra, asks=not is_suiteless(config, stage)))
    if stage is not None:
        steps = list(_only(stage, steps))
    found = () if config.backend == "served" else devices(run.device)
    needs = tuple(_needs(steps, shape, config))
    disk = _disk(steps, shape)
    warnings = _warnings(needs, disk, found, config, root)
    if left_out:
        warnings.append(f"--clip leaves out lengths that the model cannot take: {', '.join(map(str, left_out))}")
    if any(step.work.step == extras.STEP and step.state != "finished" for step in steps):
        warnings.append("the extra tasks' tokens, memory and time are not counted: their documents are read when they are asked")
    if any(step.work.step == "judge" and step.state != "finished" for step in steps):
        warnings.append(
            f"{judge_calls(config):,} verdicts of {config.judge_model} on each model's answers are not counted: its speed is not known"
        )
    return Plan(model_name, shape.parameters, tuple(steps), needs, found, tuple(warnings), disk, None)


def _shape(model: Model) -> ModelShape:
    try:
        return ModelShape.read(model)
    except HarnessError as error:
        raise UnplannedError(str(error)) from None


def timed(plan: Plan, config: RunConfig, *, limit: float | None = None) -> Plan:
    """Add to the plan the time that each step takes, by a probe of at most ``limit`` seconds; with a reason where there is none."""
    model = resolve_model(plan.model, config)
    shape = ModelShape.read(model)
    if not plan.left:
        return replace(plan, untimed="all of it is there already")
    if not plan.devices:
        return replace(plan, untimed="how fast a served engine is, only its machine knows")
    if shape.weight_bytes(config.dtype) >= max(device.free for device in plan.devices):
        return replace(plan, untimed="the model does not fit")
    try:
        found = probe(model, shape, config.dtype, device_of(config.device), limit)
    except HarnessError as error:
        return replace(plan, untimed=str(error))
    idle, now = with_speed(plan, found.idle, shape), with_speed(plan, found.now, shape)
    return replace(idle, by_arithmetic=not found.timed, slowed=(now.seconds or 0.0) / (idle.seconds or 1.0))


def with_speed(plan: Plan, speed: Speed, shape: ModelShape) -> Plan:
    """Add to the plan times at this speed."""
    steps: list[PlannedStep] = []
    before: list[str] = []
    for step in plan.steps:
        if step.state != "finished":
            step = replace(step, seconds=seconds(step.work, speed, shape, before))
            before.append(step.work.step)
        steps.append(step)
    return replace(plan, steps=tuple(steps), seconds=sum(step.seconds or 0.0 for step in steps))


def _only(stage: Stage, steps: Sequence[PlannedStep]) -> Iterator[PlannedStep]:
    """The steps of one method's first stages."""
    for step in steps:
        if step.work.step in ("generate", "eval", extras.STEP):
            continue
        if step.work.train_tokens:
            if stage == "train":
                yield step
            return
        yield step


def _steps(run: _Look, chosen: Mapping[str, Chosen], extra: extras.ExtraTasks | None, *, asks: bool = True) -> Iterator[PlannedStep]:
    """Plan every step; without ``asks`` there is no suite, since nothing needs one."""
    generation = tokens.generation(run) if asks else Work("generate")
    suite: Artifact | None = None
    with suppress(_MissingError):
        if asks:
            suite = prepare(run, suite_config(run.config), run.model)
            evaluation.evaluate(run, run.model, suite, run.config, scoring(run.config))
    if asks:
        yield PlannedStep("suite", run.taken("suite"), Work("suite"))
    yield PlannedStep("generate: baseline", run.taken("generate"), generation)
    yield PlannedStep("eval: baseline", run.taken("eval"), Work("eval"))
    if judge_calls(run.config):
        yield PlannedStep("judge: baseline", run.taken("judge"), Work("judge"))
    yield from _references(run)
    yield from _extra(run, run.model, "baseline", extra)
    told: set[tuple[str, str]] = set()
    for name, method in chosen.items():
        for seed in run.config.seeds or (run.config.seed,):
            label = f"{name}, seed {seed}" if run.config.seeds else name
            yield from _method(run, seed, label, method, suite, generation, extra, told)
    if chosen:
        yield PlannedStep("report", "to do", Work(REPORT))


def _method(
    run: _Look,
    seed: int,
    name: str,
    method: Chosen,
    suite: Artifact | None,
    generation: Work,
    extra: extras.ExtraTasks | None,
    told: set[tuple[str, str]],
) -> Iterator[PlannedStep]:
    run.states.clear()
    trained: Model | None = None
    with suppress(_MissingError):
        outcome = method.plugin.run(run.repeated(seed).varied(method.options))
        trained = resolve(str(outcome.checkpoint))
        if suite is not None:
            evaluation.evaluate(run, trained, suite, run.config, scoring(run.config))
    run.states = {key: state for key, state in run.states.items() if key[0] != "suite"}
    evaluated, verdicts = (run.taken("generate"), run.taken("eval")), run.taken("judge")
    works: Sequence[Work] = method.plugin.plan(method.options, run.model)
    planned = [(work, run.taken(work.step)) for work in works]
    planned += [(Work(step), state) for (step, _), state in run.states.items()]
    for work, state in planned:
        title = work.title or work.step
        if work.shared and (title, work.inputs) in told:
            continue
        alone = not work.shared or any(title == other for other, _ in told)
        told.add((title, work.inputs))
        yield PlannedStep(f"{title} ({name})" if alone else title, state, work)
    yield PlannedStep(f"generate: {name}", evaluated[0], generation)
    yield PlannedStep(f"eval: {name}", evaluated[1], Work("eval"))
    if judge_calls(run.config):
        yield PlannedStep(f"judge: {name}", verdicts, Work("judge"))
    yield from _extra(run, trained, name, extra)


def _references(run: _Look) -> Iterator[PlannedStep]:
    """The reference points, if they are asked for: short prompts with whole answer budgets."""
    if not run.config.reference_points:
        return
    run.states.clear()
    with suppress(_MissingError):
        references.ask(run, run.model, suite_config(run.config), scoring(run.config))
    yield PlannedStep("generate: reference points", run.taken("generate"), tokens.reference_points(run))
    run.states.clear()


def _extra(run: _Look, model: Model | None, name: str, extra: extras.ExtraTasks | None) -> Iterator[PlannedStep]:
    """The extra tasks of a model, which may not be there yet. How much there is to read, only their documents say."""
    if extra is None:
        return
    run.states.clear()
    if model is not None:
        with suppress(_MissingError):
            extras.evaluate(run, model, extra, run.config)
    yield PlannedStep(f"{extras.STEP}: {name}", run.taken(extras.STEP), Work(extras.STEP))


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
    disk: int,
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
    place = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if disk > shutil.disk_usage(place).free:
        warnings.append(f"checkpoints take {gib(disk)} and {place} has {gib(shutil.disk_usage(place).free)} free; name another --output")
    return warnings


def _disk(steps: Sequence[PlannedStep], shape: ModelShape) -> int:
    """What the full trainings that are left write; adapters and answers are little beside it."""
    trainings = sum(step.state != "finished" and step.work.full_training and step.work.train_tokens > 0 for step in steps)
    return trainings * shape.parameters * (_CHECKPOINT_BYTES + width(shape.dtype))


def _advice(need: Need) -> str:
    if need.optimizer:
        return "train with LoRA, or divide the optimizer among devices (FSDP, ZeRO)"
    if need.kv_cache > need.weights:
        return "ask for shorter --lengths or a smaller --batch-tokens"
    return "use --dtype bfloat16, --backend vllm with --tensor-parallel, or a smaller model"
