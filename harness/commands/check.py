"""``harness check``: pass or fail a build (entry-point group ``harness.commands``)."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.api import HarnessError
from harness.commands.compare import MISMATCHES
from harness.screen.terminal import echo, show
from harness.store.find import find_one
from tasks.files import read_text, write_text

if TYPE_CHECKING:
    from reports.policy import Policy

_SUMMARY: Final = "GITHUB_STEP_SUMMARY"


@click.command()
@click.option("--baseline", "baseline_name", required=True, help="A run directory, RUN:METHOD, or a file from `harness baseline save`.")
@click.option("--candidate", "candidate_name", required=True, help="The evaluation to check, named in the same ways.")
@click.option("--policy", "policy_file", type=click.Path(path_type=Path, dir_okay=False),
              help="TOML file with margins, floors and limits.  [default: margin 1 point overall, 3 in a category]")  # fmt: skip
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="JUnit XML file to write.")
@click.option("--summary", type=click.Path(path_type=Path, dir_okay=False), help="Markdown file to write.")
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--allow-mismatch", "allow", multiple=True, type=click.Choice(MISMATCHES), help="Compare although these differ.")
@click.pass_context
def check(
    context: click.Context,
    baseline_name: str,
    candidate_name: str,
    policy_file: Path | None,
    junit: Path | None,
    summary: Path | None,
    resamples: int,
    seed: int,
    allow: tuple[str, ...],
) -> None:
    """Is the candidate no worse than the baseline? Exit code 0: yes. 1: it regressed. 4: too little data to decide. 2: bad input.

    \b
    Examples:
      harness check --baseline baseline.parquet --candidate runs/new --policy policy.toml --junit check.xml
      harness check --baseline runs/demo:baseline --candidate runs/demo:retmask

    The summary is appended to $GITHUB_STEP_SUMMARY where that is set.
    """
    baseline, candidate = find_one(baseline_name), find_one(candidate_name)
    policy = _policy(policy_file)
    from reports import checkfiles
    from reports.check import check as hold
    from reports.compare import CompareError

    names = (baseline.name, candidate.name if candidate.name != baseline.name else f"{candidate.name} (candidate)")
    try:
        report = hold(baseline.tables(), candidate.tables(), policy, names=names, resamples=resamples, seed=seed, allow=allow)
    except CompareError as error:
        raise HarnessError(str(error)) from None
    for path, text in ((junit, checkfiles.junit(report)), (summary, checkfiles.markdown(report))):
        if path is not None:
            _write(path, text)
            echo(f"written: {path}", err=True)
    if os.environ.get(_SUMMARY):
        _append(Path(os.environ[_SUMMARY]), checkfiles.markdown(report))
    show(checkfiles.terminal(report))
    context.exit(report.exit_code)


def _policy(file: Path | None) -> "Policy":
    from reports.policy import Policy, PolicyError, parse

    if file is None:
        return Policy()
    try:
        return parse(read_text(file), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"cannot read the policy {file} ({error}); name a TOML file with --policy") from None
    except PolicyError as error:
        raise HarnessError(str(error)) from None


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise HarnessError(f"cannot write {path} ({error.strerror}); choose another file") from None


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise HarnessError(f"cannot append to ${_SUMMARY}, {path} ({error.strerror})") from None
