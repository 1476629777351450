"""``harness methods``, ``presets``, ``detectors`` and ``engines``: what there is to choose from, and what can be set of it."""

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Final

import click

from harness.api import HarnessError
from harness.options import near
from harness.screen.terminal import echo

_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
_NAME: Final = click.argument("name", required=False)
#: Names of ``--backend`` -> what each is.
_ENGINES: Final = {
    "hf": "transformers in this process: on a CPU, or on one device",
    "vllm": "vLLM in this process: on one GPU or several",
    "served": "an OpenAI-compatible server, asked over the network",
}
#: What the engines' own settings begin their lines with.
_OWN: Final = {"vllm": "vLLM: ", "served": "Served: "}


@click.command()
@_NAME
@_JSON
def methods(name: str | None, as_json: bool) -> None:
    """The methods for --method; of the one called NAME every key that --set takes.

    \b
    Examples:
      harness methods
      harness methods retmask
    """
    from harness import plugins
    from harness.methods import find_method

    lines = {point.name: plugins.first_line(point) for point in plugins.installed(plugins.METHODS)}
    if name is None:
        _names("methods", lines, as_json)
        return
    kind = find_method(name).settings
    _described(name, lines[name], [] if kind is None else plugins.keys(kind), as_json, "--set {}=")
    if kind is None and not as_json:
        echo("it does not say which options it has")


@click.command()
@_NAME
@_JSON
def presets(name: str | None, as_json: bool) -> None:
    """The settings that ship with the project, for --preset; the file of the one called NAME.

    \b
    Examples:
      harness presets
      harness presets small > mine.toml
    """
    from harness.config import preset_names, preset_text

    if name is None:
        _names("presets", {each: preset_text(each).partition("\n")[0].lstrip("# ") for each in preset_names()}, as_json)
        return
    _known(name, preset_names(), "preset")
    text = preset_text(name)
    echo(json.dumps({"name": name, "text": text}, indent=1) if as_json else text.rstrip())


@click.command()
@_NAME
@_JSON
def detectors(name: str | None, as_json: bool) -> None:
    """What scores heads, for `harness heads detect --detector`.

    \b
    Examples:
      harness detectors
      harness detectors query
    """
    from harness import plugins

    lines = {point.name: plugins.first_line(point) for point in plugins.installed(plugins.DETECTORS)}
    if name is not None:
        _known(name, list(lines), "detector")
        lines = {name: lines[name]}
    _names("detectors", lines, as_json)


@click.command()
@_NAME
@_JSON
def engines(name: str | None, as_json: bool) -> None:
    """What answers, for --backend; of the one called NAME every setting of a preset's [run] table.

    \b
    Examples:
      harness engines
      harness engines vllm
    """
    from harness import plugins
    from harness.engines.options import EngineConfig

    there = {each: line if each != "vllm" or find_spec("vllm") else f"{line} (not installed)" for each, line in _ENGINES.items()}
    if name is None:
        _names("engines", there, as_json)
        return
    _known(name, list(there), "engine")
    others = tuple(word for engine, word in _OWN.items() if engine != name)
    _described(name, there[name], [key for key in plugins.keys(EngineConfig) if not key.line.startswith(others)], as_json, "{} = ")


def _known(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        raise HarnessError(f"unknown {what} {name!r}; {near(name, names)}")


def _names(what: str, lines: dict[str, str], as_json: bool) -> None:
    if as_json:
        echo(json.dumps({what: [{"name": name, "line": line} for name, line in lines.items()]}, indent=1))
        return
    width = max(map(len, lines), default=0)
    for name, line in lines.items():
        echo(f"{name:{width}}  {line}")


def _described(name: str, line: str, keys: Sequence[Any], as_json: bool, form: str) -> None:
    if as_json:
        told = [{"name": key.name, "type": key.kind, "default": key.default, "line": key.line} for key in keys]
        echo(json.dumps({"name": name, "line": line, "keys": told}, indent=1))
        return
    echo(f"{name}: {line}")
    if keys:
        echo()
    for key in keys:
        echo(f"{form.format(key.name)}{_value(key.default)}")
        echo(f"    {key.kind}. {key.line}")


def _value(value: object) -> str:
    """A default as TOML writes it; nothing where there is none."""
    write: Callable[[object], str] = json.dumps
    return "" if value is None else write(list(value) if isinstance(value, tuple) else value)
