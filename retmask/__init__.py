"""Which heads retrieve, and how does silencing them become a better model?

    from retmask import detect

    heads = detect("smollm2-135m", lengths=[512], trials=10)
    print(heads.frame.head())
    heads.map()

Nothing is loaded before it is asked for; docs/api.md has all of it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retmask.interface import MeasuredHeads as MeasuredHeads
    from retmask.interface import detect as detect

__all__ = ["MeasuredHeads", "detect"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'retmask' has no attribute {name!r}")
    from retmask import interface

    return getattr(interface, name)
