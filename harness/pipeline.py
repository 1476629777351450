"""The run: evaluate, method, evaluate, compare; every part a step of one store."""

import copy
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from harness import evaluate as evaluation
from harness import extra as extras
from harness import progress, references
from harness.api import Artifact, EvaluationSuite, HarnessError, Json, Method, Model
from harness.artifacts import MANIFEST, Store, write_sealed
from harness.begun import begin, finish
from harness.config import RunConfig
from harness.environment import environment, versions
from harness.evaluate import Scoring, evaluate
from harness.evaluations import Evaluation
from harness.extra import ExtraTasks
from harness.footprint import device_of
from harness.models import resolve
from harness.redact import plain
from harness.results import Candidate, publish
from harness.sources import find_source
from harness.stopping import Rounds
from harness.suite import SuiteConfig, load, prepare

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
_GROUP: Final = "harness.methods"


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
        self.config = replace(config, device=device_of(config.device))
        self.steps: list[StepRecord] = []
        self.training_seed = config.seed
        self.begun = time.time(), time.monotonic()
        """For the date, and for the seconds that it took: a clock may be set back meanwhile."""
        self._store = Store(root, read_only=read_only, say=self.say)

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

    def relatives(self, name: str, inputs: Mapping[str, Json], *, apart_from: str, version: int = 1) -> list[Path]:
        """As :meth:`harness.artifacts.Store.relatives`."""
        return self._store.relatives(name, inputs, apart_from=apart_from, version=version)

    def distrust(self, path: Path) -> None:
        """As :meth:`harness.artifacts.Store.distrust`."""
        self._store.distrust(path)

    def alone(self) -> AbstractContextManager[None]:
        """As :meth:`harness.artifacts.Store.alone`."""
        return self._store.alone()

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
    if config.trust_remote_code:
        raise HarnessError("--trust-remote-code is for harness eval; methods train architectures that transformers itself has")
    if config.backend == "served":
        raise HarnessError("a served engine has one model and a method makes another; run harness eval for each, then harness compare")
    run = Run(root, resolve_model(model_name, config), config)
    _write_command(run, methods)
    extra = find_extra(run)
    contexts = {seed: run.repeated(seed) for seed in config.seeds or (config.seed,)}
    for plugin in plugins.values():
        for context in contexts.values():
            getattr(plugin, "prepare", lambda context: None)(context)
    suite = _suite(run, run.model)
    evaluations = _InRounds(run, suite) if config.stop_early else _InFull(run, suite)
    elsewhere = _elsewhere(run, run.model, extra)
    anchored = _references(run)
    candidates = []
    for name, plugin in plugins.items():
        repeats = []
        for seed, context in contexts.items():
            run.say(f"== {name}" + (f", seed {seed}" if config.seeds else ""))
            outcome = plugin.run(context)
            run.distrust(outcome.checkpoint)
            resolved = resolve(str(outcome.checkpoint))
            trained = Model(name, resolved.path, resolved.digest)
            samples, beside = evaluations.candidate(trained), _elsewhere(run, trained, extra)
            repeats.append(Candidate(name, outcome, samples, extra=() if beside is None else (beside,)))
        extra_runs = tuple(each for repeat in repeats for each in repeat.extra)
        candidates.append(replace(repeats[0], repeats=tuple(repeat.samples for repeat in repeats[1:]), extra=extra_runs))
    baseline = evaluations.baseline()
    labels = [candidate.name for candidate in candidates for _ in candidate.evaluations]
    evaluated = [baseline, *(samples for candidate in candidates for samples in candidate.evaluations)]
    asked = [] if elsewhere is None else [elsewhere, *(each for candidate in candidates for each in candidate.extra)]
    with run.alone():
        page = publish(run, suite, baseline, candidates, elsewhere, anchored)
        _write_manifest(run, methods, labels, suite, evaluated, asked, anchored)
    return page


def run_stage(root: Path, model_name: str, method: str, config: RunConfig, stage: Literal["prompts", "pairs", "train"]) -> Artifact:
    """One stage of a method, and what is missing of those before it; its artifact. ``run_methods`` afterwards finds it finished."""
    plugin: Any = find_method(method)
    getattr(plugin, "check", lambda options: None)(config.options)
    if not hasattr(plugin, stage):
        raise HarnessError(f"method {method} has no separate stages; run it with harness run --method {method}")
    find_source(config.data).tasks(config.tasks)
    run = Run(root, resolve_model(model_name, config), config)
    _write_command(run, (method,))
    artifact: Artifact = getattr(plugin, stage)(run)
    return artifact


def check_against(config: RunConfig, against: object | None) -> None:
    """Refuse a stop without a baseline to stop against, and a baseline without a stop."""
    if config.stop_early != (against is not None):
        raise HarnessError("--stop-early and --against go together, such as --stop-early --against runs/base")


def run_evaluation(root: Path, model_name: str, config: RunConfig, against: Evaluation | None = None) -> Artifact:
    """Evaluate one model, on the extra tasks too; its samples artifact.

    With ``config.stop_early`` the suite is asked until the difference to ``against`` is known.
    """
    evaluation.check(find_source(config.data), config.tasks, scoring(config))
    check_against(config, against)
    run = Run(root, resolve_model(model_name, config), config)
    _write_command(run, ())
    extra = find_extra(run)
    suite = _suite(run, run.model)
    if against is None:
        samples = evaluate(run, run.model, suite, run.config, scoring(config))
    else:
        baseline = _checked(against, suite, run)
        samples = Rounds(run, suite, scoring(config)).candidate(run.model, lambda blocks: baseline)[0]
    elsewhere = _elsewhere(run, run.model, extra)
    anchored = _references(run)
    with run.alone():
        references.publish(run.root, references.find(samples, anchored))
        _write_manifest(run, (), [], suite, [samples], [] if elsewhere is None else [elsewhere], anchored)
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


def resolve_model(name: str, config: RunConfig) -> Model:
    """The model called ``name``, with the risks that the user takes."""
    return resolve(name, allow_unsafe_weights=config.allow_unsafe_weights, trust_remote_code=config.trust_remote_code)


def find_extra(run: Run) -> ExtraTasks | None:
    """The run's extra tasks. Their data sets are loaded now unless the baseline is done with them: what is missing is said at the start."""
    extra = extras.find(run.config)
    if extra is not None and not run.is_finished(extras.STEP, extras.inputs(run.model, extra, run.config), version=extras.VERSION):
        run.say(f"extra tasks: {', '.join(extra.names)}")
        _ = extra.loaded
    return extra


def _elsewhere(run: Run, model: Model, extra: ExtraTasks | None) -> Artifact | None:
    return None if extra is None else extras.evaluate(run, model, extra, run.config)


def _references(run: Run) -> Artifact | None:
    """The reference points of the run's own model, if they are asked for: its methods' models are held to the same ones."""
    return references.ask(run, run.model, suite_config(run.config), scoring(run.config)) if run.config.reference_points else None


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
        framing=config.suite_framing,
        wording=config.wording,
        edition=config.edition,
    )


def _suite(run: Run, model: Model) -> Artifact:
    return prepare(run, suite_config(run.config), model)


def _checked(against: Evaluation, suite: Artifact, run: Run) -> "pd.DataFrame":
    """The samples of ``against``; HarnessError, before anything is generated, if they cannot be compared with this evaluation."""
    from reports.generations import temperature
    from reports.stopping import stopping_of

    table, config = against.read(), run.config
    facts = suite.manifest["facts"]
    assert isinstance(facts, dict)
    if (table["suite_digest"] != facts["digest"]).any():
        raise HarnessError(
            f"--against {against.path}: evaluated on another suite; give the same --tasks, --lengths, --examples, --data and --seed, and a "
            "model with the same tokenizer"
        )
    if (table["backend"] != config.backend).any():
        raise HarnessError(f"--against {against.path}: evaluated by another backend; give --backend {table['backend'].iloc[0]}")
    if (table["template"] != table["task"].map(evaluation.templates(suite, run.model, config.think_tokens))).any():
        raise HarnessError(
            f"--against {against.path}: its prompts were framed otherwise, or by another chat template; give the same --framing and "
            "--think-tokens"
        )
    if temperature(table) != config.temperature:
        raise HarnessError(f"--against {against.path}: its answers were written at another temperature; give --temperature "
                           f"{temperature(table):g}")  # fmt: skip
    mark = stopping_of(table)
    if mark is not None and not mark.complete:
        raise HarnessError(f"--against {against.path}: stopped early itself; name an evaluation of every example")
    return table


class _InFull:
    """Every model is asked everything, the baseline first."""

    def __init__(self, run: Run, suite: Artifact) -> None:
        self._run, self._suite = run, suite
        self._baseline = evaluate(run, run.model, suite, run.config, scoring(run.config))

    def candidate(self, model: Model) -> Artifact:
        return evaluate(self._run, model, self._suite, self._run.config, scoring(self._run.config))

    def baseline(self) -> Artifact:
        return self._baseline


class _InRounds:
    """Every candidate is asked until its difference to the baseline is known, the baseline as much as its candidates need."""

    def __init__(self, run: Run, suite: Artifact) -> None:
        self._model = run.model
        self._rounds = Rounds(run, suite, scoring(run.config))
        self._blocks = 0

    def candidate(self, model: Model) -> Artifact:
        found, blocks = self._rounds.candidate(model, lambda blocks: self._rounds.asked(self._model, blocks))
        self._blocks = max(self._blocks, blocks)
        return found

    def baseline(self) -> Artifact:
        return self._rounds.baseline(self._model, self._blocks)


def _write_command(run: Run, methods: Sequence[str]) -> None:
    """What was begun here last, for whoever finds the directory before it is finished."""
    begin(run.root, _about(run, methods))


def _write_manifest(
    run: Run,
    methods: Sequence[str],
    labels: Sequence[str],
    suite: Artifact,
    evaluations: Sequence[Artifact],
    extra: Sequence[Artifact],
    anchored: Artifact | None,
) -> None:
    """``labels`` are the methods' names, once for each training seed, as the evaluations after the first."""
    facts = [artifact.manifest["facts"] for artifact in evaluations]
    about = _about(run, methods)
    write_sealed(
        run.root / MANIFEST,
        {
            **about,
            "methods": list(labels),
            "suite": _plain(suite.manifest["facts"]),
            "evaluations": [artifact.key for artifact in evaluations],
            "samples": [fact.get("samples") if isinstance(fact, dict) else None for fact in facts],
            "extra": [artifact.key for artifact in extra],
            "references": references.keys(anchored),
            "steps": [_plain(asdict(record)) for record in run.steps],
            "seconds": round(time.monotonic() - run.begun[1], 3),
        },
    )
    finish(run.root, about)


def _about(run: Run, methods: Sequence[str]) -> dict[str, Json]:
    """What identifies a command, without the keys that may stand in it."""
    about: dict[str, Json] = {
        "command": " ".join(sys.argv),
        "model": {"name": run.model.name, "path": str(run.model.path), "digest": run.model.digest},
        "methods": list(methods),
        "config": _plain(asdict(run.config)),
        "versions": versions(run.config.backend),
        "environment": environment(run.model, run.config),
        "started": run.begun[0],
    }
    return {name: plain(value) for name, value in about.items()}


def _plain(value: object) -> Json:
    """Tuples and mappings as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    assert value is None or isinstance(value, bool | int | float | str)
    return value
