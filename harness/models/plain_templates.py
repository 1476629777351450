"""Chat templates that cannot run long or write much, told by what they are made of: they need no process of their own.

A template is a program of a model's. One that only goes through the messages, compares and writes what it is given ends after a number of
steps and characters that its length and the messages bound. Everything else, harmless or not, is rendered in a process with limits
(:mod:`harness.models.templates`).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from jinja2 import Environment, TemplateError, nodes

#: Characters of a template that is looked at, and expressions that it may write.
_LONGEST: Final = 50_000
_MOST: Final = 100
#: What may be gone through.
_LISTS: Final = frozenset({"messages", "loop_messages", "tools", "documents"})
_METHODS: Final = frozenset({"strip", "lstrip", "rstrip", "split", "startswith", "endswith", "get"})
_FUNCTIONS: Final = frozenset({"raise_exception", "namespace", "strftime_now"})
_FILTERS: Final = frozenset({"trim", "length", "tojson", "string", "default"})
#: What a node may be; loops, assignments, calls, filters and remainders are looked at more closely.
_HARMLESS: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Break, nodes.Continue, nodes.Assign, nodes.NSRef,
    nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.CondExpr, nodes.Test, nodes.Filter, nodes.Call, nodes.Keyword, nodes.Add, nodes.Concat, nodes.Sub, nodes.Mod, nodes.Neg,
)  # fmt: skip
#: What makes a value larger: of one that was assigned, again and again, it would double each time.
_GROWS: Final = (nodes.Add, nodes.Concat, nodes.Filter, nodes.Keyword)


@lru_cache(maxsize=64)
def is_plain(template: str) -> bool:
    """Tell whether rendering the template takes no more steps and characters than its messages make obvious."""
    if len(template) > _LONGEST:
        return False
    try:
        tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)  # it is only parsed
        found = list(_walk(tree))
    except (TemplateError, RecursionError, ValueError, OverflowError):
        return False
    written = sum(len(node.nodes) for node in found if isinstance(node, nodes.Output))
    assigned = {name for node in found if isinstance(node, nodes.Assign) for name in _targets(node.target)}
    return written <= _MOST and all(isinstance(node, _HARMLESS) and _is_harmless(node, assigned) for node in found)


def _walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    """Every node, the tree's own first."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(node.iter_child_nodes())


def _targets(target: nodes.Node) -> Iterator[str]:
    yield from (node.name for node in _walk(target) if isinstance(node, nodes.Name | nodes.NSRef))


def _is_harmless(node: nodes.Node, assigned: set[str]) -> bool:
    if isinstance(node, nodes.For):
        inner = any(isinstance(each, nodes.For) for part in (*node.body, *node.else_) for each in _walk(part))
        return not (node.recursive or inner) and _is_list(node.iter) and _LISTS.isdisjoint(_targets(node.target))
    if isinstance(node, nodes.Assign):
        parts = list(_walk(node.node))
        grows = any(isinstance(each, _GROWS) for each in parts)
        own = any(isinstance(each, nodes.Name) and each.name in assigned for each in parts)
        return not (grows and own) and (_is_list(node.node) or _LISTS.isdisjoint(_targets(node.target)))
    if isinstance(node, nodes.Filter):
        given = [*node.args, *(each.value for each in node.kwargs)]
        return node.name in _FILTERS and not (node.dyn_args or node.dyn_kwargs) and (node.name != "tojson" or all(map(_is_small, given)))
    if isinstance(node, nodes.Call):
        is_method = isinstance(node.node, nodes.Getattr)
        name = node.node.attr if isinstance(node.node, nodes.Getattr) else getattr(node.node, "name", "")
        return name in (_METHODS if is_method else _FUNCTIONS) and node.dyn_args is None and node.dyn_kwargs is None
    if isinstance(node, nodes.Mod):  # of a text it would be a format
        return isinstance(node.left, nodes.Getattr) and isinstance(node.left.node, nodes.Name) and node.left.node.name == "loop"
    return True


def _is_small(node: nodes.Node) -> bool:
    """Whether it is a constant of no size: JSON is indented by as many blanks as a template likes."""
    return isinstance(node, nodes.Const) and (node.value is None or isinstance(node.value, bool) or len(str(node.value)) == 1)


def _is_list(node: nodes.Node) -> bool:
    """Whether it is the messages, or some of them."""
    while isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        node = node.node
    return isinstance(node, nodes.Name) and node.name in _LISTS
