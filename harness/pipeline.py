"""The run: evaluate, method, evaluate, compare; every part a step of one store."""

import copy
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from harness import evaluate as evaluation
from harness import extra as extras
from harness import progress
from harness.api import Artifact, EvaluationSuite, HarnessError, Json, Method, Model, Outcome
from harness.artifacts import Store, write_json
from harness.config import RunConfig
from harness.evaluate import Scoring, evaluate
from harness.extra import ExtraTasks
from harness.models import resolve
from harness.results import Candidate, publish
from harness.sources import find_source
from harness.suite import SuiteConfig, load, prepare

T = TypeVar("T")
_GROUP: Final = "harness.methods"
_RECORDED: Final = ("retmask-harness", "torch", "transformers", "trl", "lm-eval", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class StepRecord:
    """A step as the report lists it."""

    name: str
    key: str
    seconds: float
    reused: bool


class Run:
    """One command's work in one run directory. Implements :class:`harness.api.RunContext`."""

    def __init__(self, root: Path, model: Model, config: RunConfig, *, read_only: bool = False) -> None:
        self.root = root
        self.model = model
        self.config = replace(config, device=_device(config.device))
        self.steps: list[StepRecord] = []
        self.training_seed = config.seed
        self._store = Store(root, read_only=read_only)

    def repeated(self, seed: int) -> "Run":
        """This run with another training seed; steps and evaluation stay the same."""
        again = copy.copy(self)
        again.training_seed = seed
        return again

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def device(self) -> str:
        return self.config.device

    @property
    def options(self) -> Mapping[str, Json]:
        return self.config.options

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        artifact = self._store.step(name, inputs, build, version=version, started=lambda: self.say(f"{name} ..."))
        seconds = artifact.manifest["seconds"]
        assert isinstance(seconds, int | float)
        if all(record.key != artifact.key for record in self.steps):
            self.steps.append(StepRecord(name, artifact.key, float(seconds), artifact.reused))
            self.say(f"{name} {artifact.key[:12]}: {'reused' if artifact.reused else f'done in {seconds:.1f} s'}")
        return artifact

    def is_finished(self, name: str, inputs: Mapping[str, Json], *, version: int) -> bool:
        """Whether an earlier command finished this step."""
        return self._store.find(name, inputs, version=version) is not None

    def suite(self) -> EvaluationSuite:
        built = _suite(self, self.model)
        facts = built.manifest["facts"]
        assert isinstance(facts, dict)
        return EvaluationSuite(str(facts["digest"]), lambda: ((example.task, example.prompt) for example in load(built)))

    def say(self, message: str) -> None:
        progress.say(message)

    def bar(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A progress bar; yields ``advance(n)``."""
        return progress.bar(title, total)

    def track(self, title: str, items: Iterable[T], total: int) -> Iterator[T]:
        """The items, with a progress bar."""
        return progress.track(title, items, total)


def run_methods(root: Path, model_name: str, methods: Sequence[str], config: RunConfig) -> Path:
    """The main job: baseline evaluation once, then each method and its evaluation, then the comparison. Returns the report's path."""
    plugins = {name: find_method(name) for name in methods}
    for plugin in plugins.values():
        getattr(plugin, "check", lambda options: None)(config.options)
    evaluation.check(find_source(config.data), config.tasks, scoring(config))
    if config.backend == "served":
        raise HarnessError("a served engine has one model and a method makes another; run harness eval for each, then harness compare")
    run = Run(root, resolve(model_name), config)
    begun = time.time()
    extra = find_extra(run)
    suite, baseline = _evaluate(run, run.model)
    elsewhere = _elsewhere(run, run.model, extra)
    candidates = []
    for name, plugin in plugins.items():
        repeats = []
        for seed in config.seeds or (config.seed,):
            run.say(f"== {name}" + (f", seed {seed}" if config.seeds else ""))
            repeats.append(_candidate(run, name, plugin.run(run.repeated(seed)), suite, extra))
        extra_runs = tuple(each for repeat in repeats for each in repeat.extra)
        candidates.append(replace(repeats[0], repeats=tuple(repeat.samples for repeat in repeats[1:]), extra=extra_runs))
    page = publish(run, suite, baseline, candidates, elsewhere)
    evaluated = [(candidate.name, samples) for candidate in candidates for samples in candidate.evaluations]
    samples = [baseline, *(samples for _, samples in evaluated)]
    beside = [] if elsewhere is None else [elsewhere, *(each for candidate in candidates for each in candidate.extra)]
    _write_manifest(run, begun, [name for name, _ in evaluated], suite, samples, beside)
    return page


def run_stage(root: Path, model_name: str, method: str, config: RunConfig, stage: Literal["pairs", "train"]) -> Artifact:
    """One stage of a method, and what is missing of those before it; its artifact. ``run_methods`` afterwards finds it finished."""
    plugin: Any = find_method(method)
    getattr(plugin, "check", lambda options: None)(config.options)
    if not hasattr(plugin, stage):
        raise HarnessError(f"method {method} has no separate stages; run it with harness run --method {method}")
    find_source(config.data).tasks(config.tasks)
    run = Run(root, resolve(model_name), config)
    artifact: Artifact = getattr(plugin, stage)(run)
    return artifact


def run_evaluation(root: Path, model_name: str, config: RunConfig) -> Artifact:
    """Evaluate one model, on the extra tasks too; its samples artifact."""
    evaluation.check(find_source(config.data), config.tasks, scoring(config))
    run = Run(root, resolve(model_name), config)
    begun = time.time()
    extra = find_extra(run)
    suite, samples = _evaluate(run, run.model)
    elsewhere = _elsewhere(run, run.model, extra)
    _write_manifest(run, begun, [], suite, [samples], [] if elsewhere is None else [elsewhere])
    return samples


def method_names() -> list[str]:
    """Names of the installed methods."""
    return sorted({point.name for point in entry_points(group=_GROUP)})


def find_method(name: str) -> Method:
    """The installed method called ``name``, instantiated."""
    for point in entry_points(group=_GROUP):
        if point.name == name:
            try:
                method: Method = point.load()()
            except Exception as error:
                raise HarnessError(f"method {name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}") from error
            return method
    raise HarnessError(f"unknown method {name!r}; installed: {', '.join(method_names())}")


def _evaluate(run: Run, model: Model, suite: Artifact | None = None) -> tuple[Artifact, Artifact]:
    if suite is None:
        suite = _suite(run, model)
    return suite, evaluate(run, model, suite, run.config, scoring(run.config))


def find_extra(run: Run) -> ExtraTasks | None:
    """The run's extra tasks. Their data sets are loaded now unless the baseline is done with them: what is missing is said at the start."""
    extra = extras.find(run.config)
    if extra is not None and not run.is_finished(extras.STEP, extras.inputs(run.model, extra, run.config), version=extras.VERSION):
        run.say(f"extra tasks: {', '.join(extra.names)}")
        _ = extra.loaded
    return extra


def _elsewhere(run: Run, model: Model, extra: ExtraTasks | None) -> Artifact | None:
    return None if extra is None else extras.evaluate(run, model, extra, run.config)


def scoring(config: RunConfig) -> Scoring:
    """How the run's answers are scored."""
    return Scoring(config.scoring, config.judge)


def suite_config(config: RunConfig) -> SuiteConfig:
    """The run's suite."""
    return SuiteConfig(
        config.tasks,
        config.lengths,
        config.examples,
        config.seed,
        data=config.data,
        clip=config.clip,
        think_tokens=config.think_tokens,
    )


def _suite(run: Run, model: Model) -> Artifact:
    return prepare(run, suite_config(run.config), model)


def _candidate(run: Run, name: str, outcome: Outcome, suite: Artifact, extra: ExtraTasks | None) -> Candidate:
    resolved = resolve(str(outcome.checkpoint))
    trained = Model(name, resolved.path, resolved.digest)
    _, samples = _evaluate(run, trained, suite)
    elsewhere = _elsewhere(run, trained, extra)
    return Candidate(name, outcome, samples, extra=() if elsewhere is None else (elsewhere,))


def _write_manifest(
    run: Run, begun: float, methods: Sequence[str], suite: Artifact, evaluations: Sequence[Artifact], extra: Sequence[Artifact]
) -> None:
    write_json(
        run.root / "manifest.json",
        {
            "command": " ".join(sys.argv),
            "model": {"name": run.model.name, "path": str(run.model.path), "digest": run.model.digest},
            "methods": list(methods),
            "config": _plain(asdict(run.config)),
            "suite": _plain(suite.manifest["facts"]),
            "evaluations": [artifact.key for artifact in evaluations],
            "extra": [artifact.key for artifact in extra],
            "steps": [_plain(asdict(record)) for record in run.steps],
            "versions": {"python": sys.version.split()[0], **{name: _version(name) for name in _RECORDED}},
            "started": begun,
            "seconds": round(time.time() - begun, 3),
        },
    )


def _plain(value: object) -> Json:
    """Tuples and mappings as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    assert value is None or isinstance(value, bool | int | float | str)
    return value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device(asked: str) -> str:
    """``auto`` is the first CUDA device where the driver is there, found without loading torch."""
    if asked != "auto":
        return asked
    return "cuda" if Path("/dev/nvidiactl").exists() else "cpu"
