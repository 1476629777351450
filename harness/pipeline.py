"""The run: evaluate, method, evaluate, compare; every part a step of one store."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from harness import record
from harness.api import Artifact, HarnessError, Model, Outcome, StagedMethod
from harness.config import RunConfig
from harness.context import Run
from harness.evaluation import extra_tasks, references
from harness.evaluation.candidates import InFull, InRounds, baseline_samples
from harness.evaluation.context_probe import probe_context
from harness.evaluation.evaluate import check, evaluate, scoring
from harness.evaluation.extra_tasks import ExtraTasks
from harness.evaluation.rounds import Rounds
from harness.evaluation.sources import find_source
from harness.evaluation.suite import asked_suite, fitting, is_suiteless, prepare, suite_config
from harness.methods import Chosen, choose
from harness.models.lookup import resolve
from harness.publishing import checkpoints
from harness.publishing.candidates import Candidate
from harness.publishing.pages import rebuild
from harness.publishing.results import publish
from harness.store.find import Evaluation


def run_methods(root: Path, model_name: str, methods: Sequence[str], config: RunConfig) -> Path:
    """Do the main job: baseline evaluation once, then each method and its evaluation, then the comparison. Returns the report's path.

    HarnessError for what cannot be done, before anything is computed where that can be known.
    """
    chosen = choose(methods, config.options)
    labels, config = tuple(chosen), replace(config, methods=tuple(str(each.variant) for each in chosen.values()))
    check(find_source(config.data), config.tasks, scoring(config))
    if config.trust_remote_code:
        raise HarnessError("--trust-remote-code is for harness eval; methods train architectures that transformers itself has")
    if config.backend == "served":
        raise HarnessError("a served engine has one model and a method makes another; run harness eval for each, then harness compare")
    run = open_run(root, model_name, config)
    fitting(suite_config(run.config), run.model)
    record.begin(run, labels)
    extra = extra_tasks.announced(run)
    repeated = {seed: run.repeated(seed) for seed in config.seeds or (config.seed,)}
    for each in chosen.values():
        for context in repeated.values():
            each.plugin.prepare(context.varied(each.options))
    suite = prepare(run, suite_config(run.config), run.model)
    evaluations = InRounds(run, suite, labels) if config.stop_early else InFull(run, suite)
    baseline_extra = _on_extra_tasks(run, run.model, extra)
    anchored = _reference_points(run)
    candidates: list[Candidate] = []
    trained: list[tuple[str, int | None, Outcome, Model]] = []
    for name, method in chosen.items():
        repeats = []
        for seed, context in repeated.items():
            run.say(f"== {name}" + (f", seed {seed}" if config.seeds else ""))
            repeats.append(_candidate(context.varied(method.options), name, method, evaluations, extra))
            trained.append((name, seed if config.seeds else None, repeats[-1].outcome, repeats[-1].trained))
        of_seeds = tuple(each for repeat in repeats for each in repeat.extra)
        candidates.append(replace(repeats[0], repeats=tuple(repeat.samples for repeat in repeats[1:]), extra=of_seeds))
    baseline = evaluations.baseline()
    columns = [candidate.name for candidate in candidates for _ in candidate.evaluations]
    evaluated = [baseline, *(samples for candidate in candidates for samples in candidate.evaluations)]
    asked = [] if baseline_extra is None else [baseline_extra, *(each for candidate in candidates for each in candidate.extra)]
    with run.alone():
        page = publish(run, suite, baseline, candidates, baseline_extra, anchored)
        checkpoints.publish(run, trained, suite=str(suite.facts["digest"]), finished=True)
        record.finish(run, labels, columns, suite, evaluated, asked, anchored)
    return page


def run_stage(root: Path, model_name: str, method: str, config: RunConfig, stage: Literal["prompts", "pairs", "train"]) -> Artifact:
    """Do one stage of a method, and what is missing of those before it; its artifact. ``run_methods`` afterwards finds it finished."""
    ((label, chosen),) = choose((method,), config.options).items()
    plugin = chosen.plugin
    if not isinstance(plugin, StagedMethod):
        raise HarnessError(f"method {method} has no separate stages; run it with harness run --method {method}")
    find_source(config.data).tasks(config.tasks)
    run = open_run(root, model_name, replace(config, methods=(str(chosen.variant),)))
    if not is_suiteless(config, stage):
        fitting(suite_config(run.config), run.model)
    record.begin(run, (label,), stage=True)
    artifact = {"prompts": plugin.prompts, "pairs": plugin.pairs, "train": plugin.train}[stage](run.varied(chosen.options))
    if stage == "train":
        with run.alone():
            checkpoints.of_stage(run, label, artifact)
    return artifact


def run_evaluation(root: Path, model_name: str, config: RunConfig, against: Evaluation | None = None) -> Artifact:
    """Evaluate one model, on the extra tasks too, and write its page; its samples artifact.

    With ``config.stop_early`` the suite is asked until the difference to ``against`` is known.
    """
    check(find_source(config.data), config.tasks, scoring(config))
    check_against(config, against)
    run = open_run(root, model_name, config)
    record.begin(run, ())
    extra = extra_tasks.announced(run)
    suite = prepare(run, suite_config(run.config), run.model)
    if config.probe_context:
        probe_context(run, suite)
    if against is None:
        samples = evaluate(run, run.model, suite, run.config, scoring(run.config))
    else:
        baseline = baseline_samples(against, suite, run)
        samples = Rounds(run, suite, scoring(config)).candidate(run.model, lambda blocks: baseline)[0]
    asked = _on_extra_tasks(run, run.model, extra)
    anchored = _reference_points(run)
    with run.alone():
        references.publish(run.root, references.find(samples, anchored))
        record.finish(run, (), [], suite, [samples], [] if asked is None else [asked], anchored)
        rebuild(run.root, None, None)
    return samples


def check_against(config: RunConfig, against: object | None) -> None:
    """Refuse a stop without a baseline to stop against, and a baseline without a stop."""
    if config.stop_early != (against is not None):
        raise HarnessError("--stop-early and --against go together, such as --stop-early --against runs/base")


def open_run(root: Path, model_name: str, config: RunConfig) -> Run:
    """Open the run directory ``root`` for a command on the model called ``model_name``."""
    return Run(root, resolve_model(model_name, config), config, asked_suite)


def resolve_model(name: str, config: RunConfig) -> Model:
    """Find the model called ``name``, with the risks that the user takes."""
    return resolve(name, allow_unsafe_weights=config.allow_unsafe_weights, trust_remote_code=config.trust_remote_code)


def _candidate(context: Run, name: str, method: Chosen, evaluations: InFull | InRounds, extra: ExtraTasks | None) -> Candidate:
    """Apply a method with one training seed, and evaluate what it made."""
    outcome = method.plugin.run(context)
    context.distrust(outcome.checkpoint)
    resolved = resolve(str(outcome.checkpoint))
    trained = Model(name, resolved.path, resolved.digest)
    samples, asked = evaluations.candidate(trained), _on_extra_tasks(context, trained, extra)
    return Candidate(name, outcome, samples, trained, extra=() if asked is None else (asked,), method=method)


def _on_extra_tasks(run: Run, model: Model, extra: ExtraTasks | None) -> Artifact | None:
    return None if extra is None else extra_tasks.evaluate(run, model, extra, run.config)


def _reference_points(run: Run) -> Artifact | None:
    """Ask for the reference points of the run's own model, if they are wanted: its methods' models are held to the same ones."""
    return references.ask(run, run.model, suite_config(run.config), scoring(run.config)) if run.config.reference_points else None
