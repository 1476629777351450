"""``harness data``: get HELMET's published files, say where they are, and choose the wordings (entry-point group ``harness.commands``)."""

import os
from pathlib import Path

import click

from harness.api import HarnessError
from harness.commands.groups import Listing
from harness.commands.parameters import Lengths, Names
from harness.helmet_files import where as store
from harness.screen.terminal import echo
from tasks.helmet import EVERY, LENGTHS
from tasks.helmet.catalog import files, megabytes
from tasks.helmet.longer import GROUPS
from tasks.helmet.request import locate

_TASKS = click.option(
    "--tasks", type=Names(), default=(), help="Tasks or categories, such as recall,kilt_nq; seven for all.  [default: five categories]"
)
_LENGTHS = click.option(
    "--lengths", type=Lengths(), default=LENGTHS, help="Context lengths, such as 8k,32k.  [default: 8k,16k,32k,64k,128k]"
)


@click.group(cls=Listing)
def data() -> None:
    """HELMET's published files, for --data helmet.

    \b
    Example:
      harness data fetch --tasks recall,icl --lengths 8k
      harness data show
    """


@data.command()
@_TASKS
@_LENGTHS
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Directory for the files.  [default: the user's cache]")
@click.option("--archive", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Unpack from a copy of HELMET's data.tar.gz.")
@click.option("--dry-run", is_flag=True, help="Only say which files are needed and how large they are, by estimate.")
def fetch(tasks: tuple[str, ...], lengths: tuple[int, ...], output: Path | None, archive: Path | None, dry_run: bool) -> None:
    """Get what the chosen tasks and lengths need, and nothing else.

    \b
    Examples:
      harness data fetch --tasks recall,icl --lengths 8k
      harness data fetch --lengths 8k,16k --archive data.tar.gz

    Every file is checked against its digest. The same command again goes on where it was stopped. Files of a copy on disk (`harness data
    path`) are used where they are; with --output, everything that is needed is put there.
    """
    from harness.helmet_files import fetch as hub

    datasets, directory = store.chosen(tasks), output or store.target_directory()
    wanted = files(datasets, _published(lengths))
    copies = {} if output is not None else store.copies(wanted, directory)
    for root in dict.fromkeys(copies.values()):
        echo(f"{root}: {_files(list(copies.values()).count(root))} there already")
    if dry_run:
        known = store.sources(directory)
        there = {name for name, source in known.items() if hub.has(directory, name, source.size)}
        left = [file for file in wanted if file.path not in copies and file.path not in there]
        for file in left:
            echo(f"{file.path}  (about {megabytes(file.size)})")
        size = f"about {megabytes(sum(file.size for file in left))}, estimated, into {directory}"
        echo(f"{_files(len(left))}, {size}" if left else "nothing to fetch: all that was asked for is there")
        return
    got = hub.fetch(datasets, lengths, directory, archive=archive, copies=copies)
    if output is not None:
        store.remember(output, beside=True)
    size = megabytes(sum(source.size for source in got.values()))
    new = f"{_files(len(got), 'new ')}, {size}" if got else "nothing new"
    echo(f"{directory}: {new}; all that was asked for is there")


def _files(n: int, which: str = "") -> str:
    return f"{n} {which}{'file' if n == 1 else 'files'}"


def _published(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """The lengths, unless one of them was not published."""
    for length in lengths:
        if length not in LENGTHS:
            raise HarnessError(f"HELMET's files have no length {length}; choose --lengths from 8k,16k,32k,64k,128k")
    return lengths


@data.command()
@click.argument("directory", type=click.Path(path_type=Path))
def path(directory: Path) -> None:
    """Use a copy of HELMET's files that is on disk already.

    \b
    Example:
      harness data path ~/HELMET/data

    The files may be directly below DIRECTORY or in its folder data. The environment variable HARNESS_DATA outranks this choice.
    """
    echo(f"data directory: {store.remember(directory)}")
    if store.ENVIRONMENT in os.environ:
        echo(f"note: {store.ENVIRONMENT} is set to {os.environ[store.ENVIRONMENT]} and outranks it")


@data.command()
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--own", is_flag=True, help="Go back to our own wordings.")
def templates(directory: Path | None, own: bool) -> None:
    """Ask in HELMET's own words, read from a checkout of its repository; its code is parsed, never run.

    \b
    Examples:
      harness data templates ~/HELMET
      harness data templates --own
    """
    if own == (directory is not None):
        raise HarnessError("name the directory of a HELMET checkout, or say --own to go back to our own wordings")
    if directory is None:
        store.use_own_wordings()
        echo("wordings: our own")
        return
    for name, digest in sorted(store.use_templates(directory).items()):
        echo(f"{name}  sha256 {digest}")
    echo(f"wordings: those of {directory.absolute()}")


@data.command()
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--own", is_flag=True, help="Go back to the tested model's own.")
def tokenizer(directory: Path | None, own: bool) -> None:
    """Cut the contexts of LongQA and summaries by a tokenizer, as HELMET does by Llama 2's: a directory with its tokenizer.json.

    \b
    Examples:
      harness data tokenizer ~/models/Llama-2-7b-hf
      harness data tokenizer --own
    """
    if own == (directory is not None):
        raise HarnessError("name the directory of a tokenizer, or say --own to go back to that of the tested model")
    echo(f"long contexts are cut by {store.use_tokenizer(directory)}")


@data.command()
def show() -> None:
    """Show which files are there, what is missing and how large it is, and the wordings in use.

    \b
    Example:
      harness data show
    """
    searched = store.roots()
    for root in searched:
        known = store.sources(root)
        commits = sorted({f"{source.repo} at {source.commit[:12]}" if source.commit else source.repo for source in known.values()})
        echo(f"data directory: {root}{'' if root.is_dir() else ' (not there yet)'}{''.join(f'; from {each}' for each in commits)}")
    _, origin = store.wordings()
    echo(f"wordings: {'our own' if origin['source'] == 'own' else origin['source']}\n")
    echo("task".ljust(22) + "".join(f"{length // 1024}k".rjust(10) for length in LENGTHS))
    for category in GROUPS["seven"]:
        for dataset in EVERY.values():
            if dataset.category == category:
                cells = []
                for length in LENGTHS:
                    left = [file for file in dataset.files(length) if locate(searched, file.path) is None]
                    cells.append(megabytes(sum(file.size for file in left)) if left else "there")
                echo(dataset.name.ljust(22) + "".join(cell.rjust(10) for cell in cells))
    echo("\nSizes are estimates of what is still to be fetched: harness data fetch --tasks NAME --lengths 8k")
