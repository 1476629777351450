"""What can be chosen by name, in a line each, without loading it: the documentation of options and of installed plugins."""

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Final, get_type_hints

from harness.options import called
from tasks.files import read_text

#: Entry-point groups of methods and of what scores heads.
METHODS: Final = "harness.methods"
DETECTORS: Final = "retmask.detectors"


@dataclass(frozen=True)
class Key:
    """One option of a table."""

    name: str
    kind: str
    """Its type in words."""
    default: object
    line: str
    """What it is."""


def keys(cls: type[Any]) -> list[Key]:
    """List the options that the dataclass ``cls`` stands for. One whose default is another dataclass's is told in that one's words."""
    said, types = _lines(cls), get_type_hints(cls)
    return [
        Key(field.name, called(types[field.name]), None if field.default is MISSING else field.default, said.get(field.name, ""))
        for field in fields(cls)
    ]


def _lines(cls: type[Any]) -> dict[str, str]:
    """The texts below a class's fields, those of its bases too."""
    found: dict[str, str] = {}
    for base in reversed([each for each in cls.__mro__ if each is not object]):
        found |= dict(_own(base))
    return found


def _own(cls: type[Any]) -> Iterator[tuple[str, str]]:
    body = ast.parse(inspect.cleandoc(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    for node, after in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield node.target.id, " ".join(str(after.value.value).split())
        elif isinstance(node.value, ast.Attribute) and isinstance(node.value.value, ast.Name):
            other = getattr(sys.modules[cls.__module__], node.value.value.id)
            yield node.target.id, _lines(other).get(node.value.attr, "")


def installed(group: str) -> list[EntryPoint]:
    """List the plugins of an entry-point group, by name."""
    return sorted({point.name: point for point in entry_points(group=group)}.values(), key=lambda point: point.name)


def first_line(point: EntryPoint) -> str:
    """Read the first line of a plugin's docstring from its file; what provides it, where there is none."""
    try:
        spec = find_spec(point.module)
        source = "" if spec is None or spec.origin is None else read_text(spec.origin)
        found = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == point.attr)
        said = ast.get_docstring(found)
    except (ImportError, OSError, StopIteration, SyntaxError, ValueError):
        said = None
    return (said or point.value).partition("\n")[0]
