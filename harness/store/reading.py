"""One guard around everything that reads a run directory: whatever is odd about its files is one line, and no other run suffers from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.access import denied, is_denied
from harness.api import HarnessError
from harness.files import DamagedError

#: What comes of values that are not what they should be: of another type, too large, not there, nested without end.
_ODD: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Make one line of whatever goes wrong while the run in ``root`` is read: DamagedError, or AccessError for another user's files."""
    try:
        yield
    except HarnessError:
        raise
    except _ODD as error:
        if isinstance(error, OSError) and is_denied(error):
            raise denied(error) from None
        said = " ".join(str(error).split())[:200]
        raise DamagedError(
            f"{root} holds what no run of the harness's does ({type(error).__name__}: {said}); start the run's own command again, "
            "which writes anew what it can"
        ) from error
