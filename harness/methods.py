"""Method plugins by name: the entry-point group ``harness.methods``."""

from importlib.metadata import entry_points
from typing import Final

from harness.api import HarnessError, Method
from harness.options import near

_GROUP: Final = "harness.methods"


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
