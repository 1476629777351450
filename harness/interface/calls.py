"""Evaluate, run, load, compare: what ``from harness import ...`` gives (docs/api.md)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.api import HarnessError, Json
from harness.config import RunConfig
from harness.interface.comparing import Comparison, compared
from harness.interface.results import Results, Samples, as_samples, one_each
from harness.interface.settings import from_python, method_names, run_config, run_root
from harness.options import check_types
from harness.screen.quiet import quietly
from harness.store.find import Evaluation, find, find_one

if TYPE_CHECKING:
    import pandas as pd


def evaluate(
    model: str | Path,
    *,
    tasks: str | Sequence[str] = (),
    lengths: str | int | Sequence[str | int] = (),
    examples: int | None = None,
    output: str | Path | None = None,
    preset: str | Path | None = None,
    against: str | Path | None = None,
    verbose: bool = False,
    **settings: Any,
) -> Samples:
    """Evaluate one model, as ``harness eval`` does, and give its samples. What is on disk already is not computed again.

    - ``model``: a directory, a Hub id, or a name that ``harness models`` lists.
    - ``tasks``: tasks or categories, such as ``["recall", "rag"]``; all by default.
    - ``lengths``: context lengths in tokens, such as ``[512, "8k"]``; the preset's by default.
    - ``examples``: of each task at each length.
    - ``output``: run directory; ``runs/MODEL`` by default.
    - ``preset``: settings to start from; by the model's size by default.
    - ``against``: with ``stop_early=True``, the baseline.
    - ``verbose``: say what is being done, on standard error.
    - ``settings``: any other setting of :class:`harness.config.RunConfig`, such as ``device="cuda"`` or ``reference_points=True``.

    HarnessError for what cannot be done.
    """
    check_types("evaluate()", **_plain(model, examples, output, preset, verbose), against=(against, str | Path | None))
    with quietly(verbose=verbose):
        given = from_python(settings, tasks=tasks, lengths=lengths, where="evaluate()")
        config = run_config(str(model), None if preset is None else str(preset), {**given, "examples": examples}, {})
        return evaluated(_root(output, model), str(model), config, None if against is None else find_one(str(against)))


def evaluated(root: Path, model_name: str, config: RunConfig, against: Evaluation | None = None) -> Samples:
    """Evaluate one model into a run directory: what :func:`evaluate` and ``harness eval`` share."""
    from harness.evaluation.evaluate import read_samples
    from harness.pipeline import run_evaluation

    artifact = run_evaluation(root, model_name, config, against)
    return Samples(root.name, (read_samples(artifact, root.name),), root, artifact.path / "samples.parquet")


def run(
    model: str | Path,
    methods: str | Sequence[str] = ("retmask",),
    *,
    tasks: str | Sequence[str] = (),
    lengths: str | int | Sequence[str | int] = (),
    examples: int | None = None,
    output: str | Path | None = None,
    preset: str | Path | None = None,
    options: Mapping[str, Json] | None = None,
    verbose: bool = False,
    **settings: Any,
) -> Results:
    """Evaluate, apply each method, evaluate again and compare, as ``harness run`` does.

    ``options`` are the methods' own, such as ``{"top_k": 8}`` (``--set`` on the command line); the rest as in :func:`evaluate`.
    """
    check_types("run()", **_plain(model, examples, output, preset, verbose))
    _check_options(options)
    with quietly(verbose=verbose):
        names = method_names(methods)
        given = from_python(settings, tasks=tasks, lengths=lengths, where="run()")
        config = run_config(str(model), None if preset is None else str(preset), {**given, "examples": examples}, dict(options or {}))
        return ran(_root(output, model), str(model), names, config)


def ran(root: Path, model_name: str, methods: Sequence[str], config: RunConfig) -> Results:
    """Do the main job in a run directory: what :func:`run` and ``harness run`` share."""
    from harness.pipeline import run_methods

    run_methods(root, model_name, methods, config)
    return Results.of(root)


def load(where: str | Path) -> Samples | Results:
    """Read what is on disk: a samples file, ``RUN:METHOD``, or a run directory. One evaluation is :class:`Samples`, several are
    :class:`Results`.

    HarnessError if nothing is there, or the run has not finished.
    """
    found = find(str(where))
    return Samples.of(found[0]) if len(found) == 1 else Results.of(Path(where))


def compare(
    baseline: "str | Path | Samples | pd.DataFrame",
    *candidates: "str | Path | Samples | pd.DataFrame",
    margin: float | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    interval: Literal["percentile", "bca"] = "percentile",
    seed: int = 0,
    allow: Sequence[str] = (),
    common: bool = False,
) -> Comparison:
    """Compare evaluations of the same examples, as ``harness compare`` does; the first is the baseline.

    Each is :class:`Samples`, a samples table, or named as on the command line: ``"runs/demo:retmask"``, ``"ours=runs/new"``.
    ``margin``: points of difference that do not matter. HarnessError for what cannot be compared.
    """
    if not candidates:
        raise HarnessError("compare() takes a baseline and at least one evaluation to compare with it")
    check_types(
        "compare()",
        margin=(margin, float | None),
        resamples=(resamples, int),
        confidence=(confidence, float),
        interval=(interval, Literal["percentile", "bca"]),
        seed=(seed, int),
        common=(common, bool),
    )
    if margin is not None and not 0 < margin <= 100:
        raise HarnessError(f"compare(): margin is {margin:g}; it is points, above 0 and at most 100")
    named = one_each([as_samples(each, number) for number, each in enumerate((baseline, *candidates))])
    first, *others = named.values()
    return compared(
        list(first.tables),
        {each.name: list(each.tables) for each in others},
        name=first.name,
        margin=math.nan if margin is None else margin,
        resamples=resamples,
        confidence=confidence,
        interval=interval,
        seed=seed,
        allow=allow,
        common=common,
    )


def _check_options(options: object) -> None:
    if options is not None and not (isinstance(options, Mapping) and all(isinstance(key, str) for key in options)):
        raise HarnessError(f"run(): options are {options!r:.60}; write a table of the methods' options, such as {{'top_k': 8}}")


def _plain(model: object, examples: object, output: object, preset: object, verbose: object) -> dict[str, tuple[object, Any]]:
    return {
        "model": (model, str | Path),
        "examples": (examples, int | None),
        "output": (output, str | Path | None),
        "preset": (preset, str | Path | None),
        "verbose": (verbose, bool),
    }


def _root(output: str | Path | None, model: str | Path) -> Path:
    return run_root(None if output is None else Path(output), str(model))
