"""Does this training method make this model better at long context, and how sure are we?

    from harness import evaluate, compare

    base = evaluate("smollm2-135m", tasks=["recall"], lengths=["512"])
    print(base.scores())

Nothing is loaded before it is asked for; docs/api.md has all of it.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from harness.interface.calls import compare as compare
    from harness.interface.calls import evaluate as evaluate
    from harness.interface.calls import load as load
    from harness.interface.calls import run as run
    from harness.interface.comparing import Comparison as Comparison
    from harness.interface.results import Results as Results
    from harness.interface.results import Samples as Samples

    __version__: str

_WHERE: Final = {
    **dict.fromkeys(("compare", "evaluate", "load", "run"), "harness.interface.calls"),
    "Comparison": "harness.interface.comparing",
    **dict.fromkeys(("Results", "Samples"), "harness.interface.results"),
}
__all__ = ["Comparison", "Results", "Samples", "__version__", "compare", "evaluate", "load", "run"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("retmask-harness")
    if name not in _WHERE:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
