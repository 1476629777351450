"""What a settings file may not do by itself, be it a preset or another run's manifest: run code, send something to a server.

Whoever types the command says so, by a flag for each. What the command line sets itself needs none.

    --allow code            Python beside task files (``!function``), configurations of launchers
    --allow-url HOST        prompts, and the key in OPENAI_API_KEY, go to that host
    --allow report          training curves go to a service such as wandb
    --allow files           local files that the settings name are read for what is sent
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from harness.api import HarnessError, Json
from harness.config import RunConfig
from harness.variants import parse

KINDS: Final = ("code", "files", "report")
_YAML: Final = (".yaml", ".yml")
#: Options of methods that name local files.
_FILES: Final = ("prompts_from", "pairs_from", "context_from")
#: Where curves go that go nowhere.
_NOWHERE: Final = ("", "none")


@dataclass(frozen=True)
class Allowed:
    """What the command line allows a file to ask for."""

    kinds: Collection[str] = ()
    """Of :data:`KINDS`."""
    hosts: Collection[str] = ()
    """Hosts, or ``HOST:PORT``."""


def check(config: RunConfig, where: str, allowed: Allowed, typed: Mapping[str, object], typed_options: Mapping[str, Json]) -> None:
    """Raise HarnessError, in one line that says what would happen, if the file ``where`` asks for what was not allowed.

    ``typed`` and ``typed_options`` are the settings that came from the command line instead.
    """
    asked = [each for each in _asks(config, typed, typed_options) if not _is_allowed(each, allowed)]
    if not asked:
        return
    flags = " ".join(dict.fromkeys(f"--allow-url {each.name}" if each.kind == "url" else f"--allow {each.kind}" for each in asked))
    raise HarnessError(
        f"{where} would {'; '.join(each.what for each in asked)}. A file cannot decide that; if you trust it, say so with {flags}"
    )


@dataclass(frozen=True)
class _Ask:
    kind: str
    what: str
    name: str = ""
    """The host."""


def _is_allowed(ask: _Ask, allowed: Allowed) -> bool:
    if ask.kind != "url":
        return ask.kind in allowed.kinds
    return ask.name in allowed.hosts or ask.name.rpartition(":")[0] in allowed.hosts


def _asks(config: RunConfig, typed: Mapping[str, object], typed_options: Mapping[str, Json]) -> list[_Ask]:
    def in_file(name: str) -> bool:
        return typed.get(name) in (None, ())

    variants = [] if typed.get("methods") else [parse(method).options for method in config.methods]
    options = [(name, value) for name, value in config.options.items() if name not in typed_options]
    options += [pair for variant in variants for pair in variant.items()]
    asks = []
    code = [config.include_path] if config.include_path and in_file("include_path") else []
    code += [task for task in config.extra_tasks if Path(task).suffix in _YAML and in_file("extra_tasks")]
    if code:
        asks.append(_Ask("code", f"run the Python that the task files in {', '.join(code)} name"))
    for parallel in _values("parallel", options):
        if Path(parallel).suffix in _YAML:
            asks.append(_Ask("code", f"start the training as {parallel} says"))
    for name, url in (("url", config.url), ("judge_url", config.judge_url)):
        if url and in_file(name):
            asks.append(_Ask("url", f"send prompts, and the key in OPENAI_API_KEY if there is one, to {host(url)}", host(url)))
    for name, value in options:
        if isinstance(value, str) and "://" in value:
            asks.append(_Ask("url", f"use {host(value)} ({name})", host(value)))
    asks += [_Ask("report", f"send training curves to {report}") for report in _values("report_to", options) if report not in _NOWHERE]
    everywhere = [*config.options.items(), *(pair for method in config.methods for pair in parse(method).options.items())]
    sent = bool(config.url or config.judge_url) or any(report not in _NOWHERE for report in _values("report_to", everywhere))
    files = code + [value for name in _FILES for value in _values(name, options) if Path(value).exists()]
    if sent and files:
        asks.append(_Ask("files", f"read {', '.join(files)} for it"))
    return asks


def _values(name: str, options: Iterable[tuple[str, Json]]) -> list[str]:
    """The different texts that the options of this name hold, over the variants of a method."""
    return list(dict.fromkeys(value for option, value in options if option == name and isinstance(value, str)))


def host(url: str) -> str:
    """Give ``HOST`` or ``HOST:PORT``, without user and password; what cannot be read as an address as it is, shortened.

    >>> host("https://ann:secret@example.org:8000/v1?key=1")
    'example.org:8000'
    """
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        name, port = "", None
    return (f"{name}:{port}" if port else name) or "an unreadable address"
