"""Method plugins by name: the entry-point group ``harness.methods``; and which of them a run tries, with which options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final

from harness.api import HarnessError, Json, Method
from harness.options import near
from harness.variants import Variant, parse, unlike

_GROUP: Final = "harness.methods"


@dataclass(frozen=True)
class Chosen:
    """A method that a run tries."""

    variant: Variant
    plugin: Method
    options: Mapping[str, Json]
    """Its own, and those of all methods of the run."""
    settled: Mapping[str, Json]
    """Those that decide something, with every default, by which two variants are told apart."""


def method_names() -> list[str]:
    """List the names of the installed methods."""
    return sorted({point.name for point in entry_points(group=_GROUP)})


def check_name(name: str) -> None:
    """Raise HarnessError if no installed method is called ``name``. Nothing is loaded."""
    if name not in method_names():
        raise HarnessError(f"unknown method {name!r}; {near(name, method_names(), 'installed: ')}")


def find_method(name: str) -> Method:
    """Find the installed method called ``name`` and make one. A plugin that is no :class:`~harness.api.Method` gets its no-op parts."""
    check_name(name)
    point = next(point for point in entry_points(group=_GROUP) if point.name == name)
    try:
        kind = point.load()
        whole = kind if issubclass(kind, Method) else type(kind.__name__, (kind, Method), {})
        method: Method = whole()
    except Exception as error:
        raise HarnessError(f"method {name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}") from error
    return method


def choose(methods: Sequence[str], shared: Mapping[str, Json]) -> dict[str, Chosen]:
    """Find what each of ``methods`` names, by its label. ``shared`` are the options of all of them.

    HarnessError for a method that is not there, options that it cannot use or that change nothing, and two that come to the same.
    """
    found: dict[str, Chosen] = {}
    for label, variant in unlike([parse(method) for method in methods]).items():
        plugin, options = find_method(variant.method), {**shared, **variant.options}
        try:
            plugin.check(options)
            settled = plugin.settled(options)
        except HarnessError as error:
            raise (HarnessError(f"{variant}: {error}") if variant.options else error) from None
        if idle := [name for name in variant.options if name not in settled]:
            raise HarnessError(f"{variant}: {idle[0]} changes nothing in {variant.method} with its other options; leave it out")
        twin = next((other for other, each in found.items() if each.variant.method == variant.method and each.settled == settled), None)
        if twin is not None:
            raise HarnessError(f"{twin} and {label} have the same options; leave one out, or give it an option of its own")
        found[label] = Chosen(variant, plugin, options, settled)
    return found
