"""``harness relate``: over runs, does RetMask gain more where retrieval heads are sparser?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from harness.api import HarnessError, Json
from harness.commands.parameters import Number
from harness.files import DamagedError, digest, file_digest, read_json, read_sealed, write_json
from harness.screen.terminal import data, echo
from harness.store.find import BASELINE, Evaluation, find, split
from harness.store.manifest import RunManifest
from harness.store.steps import MANIFEST, step_folder
from harness.variants import parse, same_label
from retmask.heads.detectors import COPY
from retmask.heads.masks import HEADS
from retmask.heads.scores import HeadScores
from retmask.heads.sparsity import MEASURES, sparsity

if TYPE_CHECKING:
    from reports.relation import Point

#: Input of a step of heads -> the option that decides it.
_MEASURED: Final = {"lengths": "detection_lengths", "trials": "detection_trials", "depths": "detection_depths"}


@dataclass(frozen=True)
class RunPoint:
    """One method of one run: what it gained, and how sparse the heads of the model that it began with are."""

    name: str
    gain: float
    """Overall score minus the other side's, points out of 100."""
    gain_error: float
    sparsity: Mapping[str, float]
    errors: Mapping[str, float]
    """Standard errors over the detection's trials."""
    baseline: str
    """Key of the evaluation that the gain is counted from."""
    samples: str
    """Digest of all that the gain is computed from: a copied run has the same."""
    detector: str = COPY
    """What scored the heads."""


@click.command("relate")
@click.argument("evaluations", nargs=-1, required=True, metavar="RUN[:METHOD]...")
@click.option(
    "--against", default=BASELINE, show_default=True, help="What the gain is counted from: the baseline, or a control of each run."
)
@click.option("--tau", type=Number(min=0), default=0.1, show_default=True, help="Score from which a head counts in `share`.")
@click.option("--resamples", type=click.IntRange(min=100), default=2000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--published/--no-published", default=True, show_default=True, help="Show the paper's four models beside; they are never fitted."
)
@click.option("--format", "form", type=click.Choice(["terminal", "json"]), default="terminal", show_default=True)
@click.option(
    "--output", "--out", "out", type=click.Path(path_type=Path, file_okay=False), help="Directory for relate.json and a plot each."
)
def relate_command(
    evaluations: tuple[str, ...],
    against: str,
    tau: float,
    resamples: int,
    seed: int,
    published: bool,
    form: str,
    out: Path | None,
) -> None:
    """Relate gain to sparsity over finished runs of `harness run`: rank correlation, and a line with its interval.

    Both include how sure each run is of its own gain and sparsity. RUN alone is its first method.

    \b
    Examples:
      harness relate runs/smollm2 runs/gemma runs/qwen runs/olmo --out related
      harness relate runs/*:retmask --against layermatched --format json
    """
    points = [point_of(argument, against, tau, resamples, seed) for argument in evaluations]
    _each_once(points)
    table = relation(points, tau, published, seed)
    if out is not None:
        _make(out)
        write_json(out / "relate.json", table, sort_keys=False)
        _draw(points, tau, published, out)
        echo(f"wrote {out}: relate.json and a plot each", err=True)
    if form == "json":
        data(json.dumps(table, indent=1) + "\n")
    else:
        echo("\n".join(in_words(table)))


def _each_once(points: Sequence[RunPoint]) -> None:
    """Raise HarnessError for a run that is named twice, under whatever path: it would count as two that agree."""
    seen: dict[str, str] = {}
    for point in points:
        if point.samples in seen:
            raise HarnessError(f"a run is named twice: {seen[point.samples]} and {point.name} hold the same answers; name each run once")
        seen[point.samples] = point.name


def point_of(argument: str, against: str, tau: float, resamples: int, seed: int) -> RunPoint:
    """Read one run's gain and its heads' scores. HarnessError if it measured no heads, or lacks the method or the other side."""
    from reports.compare import CompareError, compare_methods

    path, method = split(argument) or (argument, "")
    found = find(str(path))
    if found[0].run is None or len(found) < 2:
        raise HarnessError(f"{argument} is no run of a method; name run directories of `harness run --method ...`")
    by_name = {each.name: each for each in found}
    method, against = same_label(method, by_name) or found[1].name, same_label(against, by_name)
    for name in (method, against):
        if name not in by_name:
            raise HarnessError(f"{path} has no evaluation {name!r}; it has {', '.join(by_name)}")
    if method == against:
        raise HarnessError(f"{argument} would be held against itself; name another --against")
    try:
        compared = compare_methods(by_name[against].tables(), {method: by_name[method].tables()}, resamples=resamples, seed=seed)
    except CompareError as error:
        raise HarnessError(f"{argument}: {error}") from None
    overall = next(each for each in compared.methods[method] if each.scope == "overall" and each.length is None)
    if not np.isfinite(overall.high - overall.low):
        raise HarnessError(f"{argument} has too few questions to say how sure its gain is; ask more --examples")
    scores, depth = _heads(found[0].run, method)
    values, errors = sparsity(scores, tau, seed, depth)
    return RunPoint(
        f"{path}:{method}",
        100 * overall.delta,
        100 * (overall.high - overall.low) / (2 * 1.96),
        values,
        errors,
        _key(by_name[against]),
        digest([file_digest(table) for each in (by_name[against], by_name[method]) for table in (each.path, *each.repeats)]),
        scores.detector,
    )


def _key(evaluation: Evaluation) -> str:
    return evaluation.path.parent.name


def _heads(root: Path, method: str) -> tuple[HeadScores, int | None]:
    """Read the untrained model's heads by which a method of a run chose its mask, and how many an audit of them chose."""
    manifest = RunManifest.read(root)
    asked = _options(manifest, method)
    if asked.get("components", HEADS) != HEADS:
        raise HarnessError(f"{root}:{method} masks {asked['components']}, and sparsity is that of heads; name methods that mask heads")
    wanted = {"detector": asked.get("detector", COPY), **{key: asked[name] for key, name in _MEASURED.items() if name in asked}}
    folders = [step_folder(root, "heads", each.key) for each in manifest.steps if each.name == "heads"]
    try:
        own = [each for each in folders if (inputs := _inputs(each)).get("model") == manifest.model.digest and _fits(inputs, wanted)]
    except DamagedError as error:
        raise DamagedError(f"{error}; start the run's own command again, which builds what is damaged") from None
    if not own:
        raise HarnessError(f"{root} measured no heads of its model for {method}; only methods that mask heads do, such as retmask")
    audits = [step_folder(root, "audit", each.key) for each in manifest.steps if each.name == "audit"]
    key = read_sealed(own[0] / MANIFEST).get("key")
    k = next((read_json(each / "audit.json").get("k") for each in audits if _inputs(each).get("heads", key) == key), None)
    return HeadScores.load(own[0] / "heads.safetensors"), k if isinstance(k, int) else None


def _options(manifest: RunManifest, method: str) -> dict[str, Json]:
    """The options that a method of a run was asked for: all methods', and a variant's own."""
    shared, named = manifest.config.get("options"), manifest.config.get("methods")
    variants = [parse(each) for each in named if isinstance(each, str)] if isinstance(named, list) else []
    own = next((each.options for each in variants if each.label == method), {})
    return {**(shared if isinstance(shared, dict) else {}), **own}


def _inputs(step: Path) -> Mapping[str, Json]:
    inputs = read_sealed(step / MANIFEST).get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _fits(inputs: Mapping[str, Json], wanted: Mapping[str, Json]) -> bool:
    """Whether a step's inputs are those wanted; what a step does not name, it has as every run does."""
    return all(inputs.get(name, COPY if name == "detector" else value) == value for name, value in wanted.items())


def relation(points: Sequence[RunPoint], tau: float, published: bool, seed: int) -> dict[str, Json]:
    """Fit every measure that all runs have. RelationError's reason stands where one cannot be fitted."""
    from reports.relation import RelationError, line, published_gains, spearman

    fits: dict[str, Json] = {}
    for measure in MEASURES:
        chosen = _points(points, measure)
        if len(chosen) < len(points):
            continue
        try:
            fitted = line(chosen)
            fits[measure] = {
                "spearman": list(spearman(chosen, seed=seed)),
                "slope": list(fitted.slope),
                "intercept": fitted.intercept,
                "between_runs": fitted.between,
                "claim": fitted.slope.sign,
            }
        except RelationError as error:
            fits[measure] = {"problem": str(error)}
    shared = len(points) - len({point.baseline for point in points})
    gains: list[Json] = [dict(asdict(each)) for each in published_gains()] if published else []
    rows: list[Json] = [dict(asdict(point)) for point in points]
    return {"tau": tau, "runs": rows, "fits": fits, "share_a_baseline": shared, "published_not_run_again": gains}


def _points(points: Sequence[RunPoint], measure: str) -> list["Point"]:
    from reports.relation import Point

    return [
        Point(each.name, each.sparsity[measure], each.gain, each.errors[measure], each.gain_error)
        for each in points
        if measure in each.sparsity
    ]


def in_words(table: Mapping[str, Json]) -> list[str]:
    """Give the table for a terminal."""
    lines = [f"{'run':<47} {'gain':>14} {'gini':>7} {'hoyer':>7} {'share':>7} {'depth':>7}"]
    for run in _tables(table["runs"]):
        sparsity = run["sparsity"]
        assert isinstance(sparsity, dict)
        cells = " ".join(f"{_number(sparsity.get(measure)):>7}" for measure in MEASURES)
        reach = _number(1.96 * float(str(run["gain_error"])), ".1f")
        lines.append(f"{str(run['name'])[-47:]:<47} {_number(run['gain'], '+.1f'):>6} ±{reach:>6} {cells}")
    for each in _tables(table["published_not_run_again"]):
        sparsity = each["sparsity"]
        assert isinstance(sparsity, dict)
        cells = " ".join(f"{_number(sparsity.get(measure)):>7}" for measure in MEASURES)
        lines.append(f"{'published, not run again: ' + str(each['model']):<47.47} {_number(each['gain'], '+.2f'):>6} {'':>7} {cells}")
    fits = table["fits"]
    assert isinstance(fits, dict)
    for measure, fit in fits.items():
        assert isinstance(fit, dict)
        if "problem" in fit:
            lines.append(f"{measure}: {fit['problem']}")
            continue
        verdict = {0: "no relation can be claimed", 1: "gain grows with it", -1: "gain falls with it"}[int(str(fit["claim"]))]
        lines.append(
            f"{measure}: rank correlation {_interval(fit['spearman'])}; {_interval(fit['slope'], 0.1)} points a tenth of it; {verdict}"
        )
    if table["share_a_baseline"]:
        lines.append(
            "some runs share the evaluation that their gains are counted from: they are less independent than the intervals assume"
        )
    detectors = sorted({str(run["detector"]) for run in _tables(table["runs"])})
    if len(detectors) > 1:
        lines.append(f"heads were scored by {', '.join(detectors)}: their sparsities are of different kinds")
    return lines


def _tables(value: Json) -> list[dict[str, Json]]:
    assert isinstance(value, list)
    return [each for each in value if isinstance(each, dict)]


def _number(value: Json, form: str = ".3f") -> str:
    return format(value, form) if isinstance(value, int | float) else "-"


def _interval(value: Json, scale: float = 1.0) -> str:
    assert isinstance(value, list)
    middle, low, high = (scale * float(str(each)) for each in value)
    return f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"cannot write {folder}: {error.strerror}; choose another place") from None


def _draw(points: Sequence[RunPoint], tau: float, published: bool, out: Path) -> None:
    from reports import canvas
    from reports.relation import Point, RelationError, line, published_gains
    from reports.relationfigure import gain_figure

    for measure, label in MEASURES.items():
        chosen = _points(points, measure)
        if len(chosen) < len(points):
            continue
        try:
            fitted = line(chosen)
        except RelationError:
            fitted = None
        comparable = published and (measure != "share" or tau == 0.1)
        others = [Point(each.model, each.sparsity[measure], each.gain) for each in published_gains() if measure in each.sparsity]
        figure = gain_figure(chosen, fitted, label.replace("--tau", f"{tau:g}"), others if comparable else ())
        canvas.save(figure, out / f"gain_{measure}", f"Gain of each run against its {label}.")
