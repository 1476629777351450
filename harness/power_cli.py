"""``harness power``: what a run's questions and seeds can find, and what more of them would (entry-point group ``harness.commands``)."""

import json
from dataclasses import asdict

import click

from harness.api import HarnessError
from harness.evaluations import find_all
from harness.terminal import data, show


@click.command()
@click.argument("evaluations", nargs=-1, required=True, metavar="[NAME=]EVALUATION...")
@click.option("--effect", type=click.FloatRange(0, 100, min_open=True), default=2.0, show_default=True, help="Points to look for.")
@click.option("--confidence", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the simulation.")
@click.option("--format", "form", type=click.Choice(["terminal", "json"]), default="terminal", show_default=True)
def power(evaluations: tuple[str, ...], effect: float, confidence: float, seed: int, form: str) -> None:
    """Say how likely an effect is found, over numbers of questions and training seeds: the verdict, simulated on a run's own data.

    \b
    Examples:
      harness power runs/demo --effect 2
      harness power runs/demo:baseline runs/demo:retmask --effect 5 --format json

    An EVALUATION is named as for `harness compare`; the first is the baseline.
    """
    from reports import curve
    from reports.compare import CompareError, compare_methods

    baseline, *others = find_all(evaluations)
    tables = {each.name: each.tables() for each in others}
    try:
        found = compare_methods(baseline.tables(), tables, resamples=1000, seed=seed, confidence=confidence)
        curves = []
        for name, column in found.methods.items():
            overall = next(each for each in column if each.scope == "overall" and each.length is None)
            shape = found.shapes.get(name)
            if shape is None:
                raise HarnessError(f"{name} stopped early; a simulation needs an evaluation in full")
            curves.append(curve.curve(name, overall, shape, effect / 100, curve.variance_of_seeds(tables[name])))
    except CompareError as error:
        raise HarnessError(str(error)) from None
    if form == "json":
        data(json.dumps([{**asdict(each), "sentence": curve.sentence(each)} for each in curves], indent=1) + "\n")
        return
    for each in curves:
        show(curve.terminal(each))
