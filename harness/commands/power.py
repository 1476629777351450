"""``harness power``: what a run's questions, generations and seeds can find, and what more of them would (entry-point group
``harness.commands``)."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from harness.api import HarnessError
from harness.commands.parameters import Number
from harness.screen.terminal import data, show
from harness.store.find import Evaluation, find, find_all

if TYPE_CHECKING:
    import pandas as pd

    from reports.curve import Curve
    from reports.variance import Components


@click.command()
@click.argument("evaluations", nargs=-1, required=True, metavar="[NAME=]EVALUATION...")
@click.option("--effect", type=Number(0, 100, min_open=True), default=2.0, show_default=True, help="Points to look for.")
@click.option(
    "--precision", type=Number(0, 100, min_open=True), help="Points that an interval may reach to each side: say what that takes."
)
@click.option("--confidence", type=Number(0, 1, min_open=True, max_open=True), default=0.95, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the simulation.")
@click.option("--format", "form", type=click.Choice(["terminal", "json"]), default="terminal", show_default=True)
def power(evaluations: tuple[str, ...], effect: float, precision: float | None, confidence: float, seed: int, form: str) -> None:
    """Say how likely an effect is found, over numbers of questions, generations and training seeds, and what to buy next.

    The chances are those of the verdict, simulated on a run's own data. What blurs the difference is taken apart: its questions, the
    answers that were sampled, the training seeds.

    \b
    Examples:
      harness power runs/demo --effect 2
      harness power runs/demo --precision 1
      harness power runs/demo:baseline runs/demo:retmask --effect 5 --format json

    An EVALUATION is named as for `harness compare`; the first is the baseline. Of one evaluation alone its own score is looked at.
    """
    wanted = None if precision is None else precision / 100
    if len(evaluations) == 1 and len(found := find(evaluations[0])) == 1:
        _alone(found[0], wanted, confidence, form)
        return
    _print(_curves(find_all(evaluations), effect / 100, wanted, confidence, seed), form)


def _curves(found: Sequence[Evaluation], effect: float, wanted: float | None, confidence: float, seed: int) -> "list[Curve]":
    from reports import curve
    from reports.compare import CompareError, compare_methods

    baseline, *others = found
    before, tables = baseline.tables(), {each.name: each.tables() for each in others}
    try:
        result = compare_methods(before, tables, resamples=1000, seed=seed, confidence=confidence)
    except CompareError as error:
        raise HarnessError(str(error)) from None
    curves = []
    for name, column in result.methods.items():
        overall = next(each for each in column if each.scope == "overall" and each.length is None)
        shape = result.shapes.get(name)
        if shape is None:
            raise HarnessError(f"{name} stopped early; a simulation needs an evaluation in full")
        curves.append(curve.curve(name, overall, shape, effect, _components(name, tables[name], before), wanted=wanted))
    return curves


def _components(name: str, tables: "list[pd.DataFrame]", baseline: "Sequence[pd.DataFrame]" = ()) -> "Components":
    from reports.comparable import distinct
    from reports.variance import decompose

    found = decompose(distinct(tables), distinct(baseline))
    if found is None:
        raise HarnessError(f"{name}: every task has a single question, which shows no spread; ask more --examples")
    return found


def _alone(evaluation: Evaluation, wanted: float | None, confidence: float, form: str) -> None:
    """What blurs one evaluation's own score."""
    from reports import curve

    tables = evaluation.tables()
    examples = len(tables[0].drop_duplicates(["task", "length", "example_id"]))
    parts = _components(evaluation.name, tables)
    found = curve.doubt(evaluation.name, parts, examples, wanted=wanted, confidence=confidence, against=0)
    if form == "json":
        data(json.dumps([asdict(found)], indent=1) + "\n")
    else:
        show(curve.doubt_terminal(found))


def _print(curves: "Sequence[Curve]", form: str) -> None:
    from reports import curve

    if form == "json":
        data(json.dumps([{**asdict(each), "sentence": curve.sentence(each)} for each in curves], indent=1) + "\n")
        return
    for each in curves:
        show(curve.terminal(each))
