"""When a batch does not fit: how that looks in torch, and giving back what the attempt took. Nothing heavy is loaded here."""

import gc
import sys
from typing import Final

#: Of CUDA's allocator (``torch.OutOfMemoryError`` is a RuntimeError) and of the CPU's.
_SAYS: Final = ("out of memory", "defaultcpuallocator")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether memory ran out, on a device or in this process."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAYS))


def give_back() -> None:
    """Free what a failed attempt left. Call it outside the ``except`` block: inside, the traceback still holds its tensors."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
