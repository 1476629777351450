"""``harness compare``: evaluations that are on disk already, compared again (entry-point group ``harness.commands``)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.api import HarnessError
from harness.commands.parameters import Number
from harness.screen.terminal import data, echo, show
from harness.store.find import Evaluation, find_all, find_one

if TYPE_CHECKING:
    import pandas as pd

MISMATCHES = ("suite", "backend", "template", "scorer", "temperature")
FORMATS = ("terminal", "txt", "md", "json", "csv", "tex")


@click.command()
@click.argument("evaluations", nargs=-1, required=True, metavar="[NAME=]EVALUATION...")
@click.option("--output", "outputs", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
              help="File to write: .txt, .md, .json, .csv, .tex (booktabs) or .parquet. Repeat for several.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(FORMATS), default="terminal", show_default=True, help="What to print.")
@click.option("--tasks/--no-tasks", "with_tasks", default=False, help="Show every dataset-metric too.")
@click.option("--effect", type=Number(min=0, min_open=True), help="Also say how many examples would find this many points.")
@click.option("--margin", type=Number(0, 100, min_open=True),
              help="Points of difference that do not matter: also say where two are equal within them.")  # fmt: skip
@click.option("--history", multiple=True, metavar="EVALUATION",
              help="Evaluation of these questions and more: their difficulty sharpens intervals where it can. Repeatable.")  # fmt: skip
@click.option("--interval", type=click.Choice(["percentile", "bca"]), default="percentile", show_default=True)
@click.option("--confidence", type=Number(0, 1, min_open=True, max_open=True), default=0.95, show_default=True)
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--allow-mismatch", "allow", multiple=True, type=click.Choice(MISMATCHES),
              help="Compare although these differ; the result says so. Repeat for several.")  # fmt: skip
@click.option("--common", is_flag=True,
              help="Compare evaluations that stopped early, on the examples that both have, with always-valid intervals.")  # fmt: skip
@click.option("--pass-at", "k", type=click.IntRange(min=1), metavar="K",
              help="Compare the chance that one of K sampled answers is right, on metrics that are 0 or 1.")  # fmt: skip
@click.option("--examples", type=click.IntRange(min=1), metavar="N",
              help="Also show the N examples whose scores changed most: gold, outputs, and what was read of them.")  # fmt: skip
@click.option("--aa", is_flag=True, help="Two evaluations of the same model: show the engine's noise floor.")
def compare(
    evaluations: tuple[str, ...],
    outputs: tuple[Path, ...],
    form: str,
    with_tasks: bool,
    effect: float | None,
    margin: float | None,
    history: tuple[str, ...],
    interval: str,
    confidence: float,
    resamples: int,
    seed: int,
    allow: tuple[str, ...],
    common: bool,
    k: int | None,
    examples: int | None,
    aa: bool,
) -> None:
    """Compare evaluations of the same examples; the first is the baseline, the second method is set against each later one.

    \b
    Examples:
      harness compare runs/demo
      harness compare runs/demo:baseline runs/demo:retmask --interval bca --output table.tex --output table.csv
      harness compare runs/base ours=runs/seed1:retmask ours=runs/seed2:retmask control=runs/seed1:randmask
      harness compare runs/demo:baseline runs/demo:retmask@2 --margin 1
      harness compare runs/few:baseline runs/few:retmask --history runs/many:baseline
      harness compare runs/demo:baseline runs/demo:retmask --examples 5
      harness compare runs/stopped --common
      harness compare runs/sampled --pass-at 4
      harness compare --aa runs/monday runs/tuesday

    An EVALUATION is a run directory, RUN:METHOD (all its training seeds), RUN:METHOD@SEED, or a .parquet file of samples. The same
    NAME again is another training seed.
    """
    found = find_all(evaluations)
    if aa:
        _noise(found, allow, form, outputs)
        return
    from harness.interface.comparing import compared, passed
    from reports import export

    if history and common:
        raise HarnessError("--history sharpens intervals of whole evaluations; leave it out with --common")
    _check_outputs(outputs, export.SUFFIXES)
    baseline, methods = _by_name(found, evaluations)
    said: list[str] = []
    if k is not None:
        baseline, methods, said = passed(baseline, methods, k)
    exported = compared(
        baseline, methods, name=found[0].name, resamples=resamples, seed=seed, confidence=confidence,
        interval="bca" if interval == "bca" else "percentile", allow=allow, common=common, margin=math.nan if margin is None else margin,
        effect=effect, history=[table for name in history for table in find_one(name).tables()], tasks=with_tasks, notes=said,
    ).exported  # fmt: skip
    for path in outputs:
        _write(path, exported)
        echo(f"written: {path}", err=True)
    if form == "terminal":
        show(export.terminal(exported))
        if examples is not None:
            _show_examples(baseline, methods, found[0].name, examples)
    else:
        data(export.TEXTS[form](exported))


def _show_examples(baseline: "list[pd.DataFrame]", methods: "dict[str, list[pd.DataFrame]]", name: str, most: int) -> None:
    from reports.differing import differing, terminal

    for method, tables in methods.items():
        changed = differing(baseline[0], tables[0], most)
        echo(f"\n{method}: {len(changed)} examples whose scores changed most" if changed else f"\n{method}: no score changed")
        show(terminal(changed, (name, method)))


def _by_name(found: list[Evaluation], arguments: tuple[str, ...]) -> "tuple[list[pd.DataFrame], dict[str, list[pd.DataFrame]]]":
    """The baseline's tables, and the others' by method; evaluations under one given name are training seeds."""
    groups: dict[str, list[pd.DataFrame]] = {}
    for each in found:
        if each.name in groups and not any(argument.startswith(f"{each.name}=") for argument in arguments):
            raise HarnessError(f"two evaluations are called {each.name}; give names, such as first={each.path.parent}")
        groups.setdefault(each.name, []).extend(each.tables())
    baseline = groups.pop(found[0].name)
    if not groups:
        raise HarnessError(f"all evaluations are called {found[0].name}, so they are its training seeds; name another to compare them with")
    return baseline, groups


def _check_outputs(outputs: tuple[Path, ...], suffixes: tuple[str, ...]) -> None:
    for path in outputs:
        if path.suffix.removeprefix(".").lower() not in suffixes:
            raise HarnessError(f"--output {path}: end the name in one of {', '.join('.' + each for each in suffixes)}")


def _write(path: Path, exported: object) -> None:
    from reports import export

    assert isinstance(exported, export.Exported)
    try:
        export.write(path, exported)
    except OSError as error:
        raise HarnessError(f"cannot write {path} ({error.strerror}); choose another file with --output") from None


def _noise(found: list[Evaluation], allow: tuple[str, ...], form: str, outputs: tuple[Path, ...]) -> None:
    import json
    from dataclasses import asdict

    from reports.compare import CompareError
    from reports.noise import noise, sentence, terminal
    from tasks.files import write_text

    if len(found) != 2:
        raise HarnessError(f"--aa takes two evaluations of the same model, not {len(found)}")
    _check_outputs(outputs, ("json",))
    if form not in ("terminal", "json"):
        raise HarnessError(f"--aa prints terminal or json, not {form}")
    try:
        result = noise(found[0].read(), found[1].read(), allow=allow)
    except CompareError as error:
        raise HarnessError(str(error)) from None
    text = json.dumps({**asdict(result), "sentence": sentence(result)}, indent=1) + "\n"
    for path in outputs:
        write_text(path, text)
        echo(f"written: {path}", err=True)
    if form == "json":
        data(text)
    else:
        show(terminal(result))
