"""Keep freed memory in the process: returning it after every large tensor and getting it back costs a CPU run a third of its time."""

import ctypes
from typing import Final

# Of glibc's <malloc.h>.
_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4


def keep_freed_memory() -> None:
    """Have glibc's allocator neither trim its heap nor map large blocks one by one; nothing happens where there is no glibc."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
