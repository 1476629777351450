"""Prints which files of model directories are opened when each is loaded and answers: ``python opened.py DIRECTORY...``, JSON lines.

The kernel tells (inotify), so that libraries written in Rust are seen too; files elsewhere below the directories' parent are seen by an
audit hook.
"""

import ctypes
import json
import os
import struct
import sys
from pathlib import Path

_OPENED = 0x20
_NONBLOCK = os.O_NONBLOCK


class Watch:
    """Sees opens in a directory and the directories in it."""

    def __init__(self, root: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.inotify_init1(_NONBLOCK)
        folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
        self._folders = {libc.inotify_add_watch(self._file, os.fsencode(folder), _OPENED): folder for folder in folders}
        assert min(self._folders) > 0

    def seen(self) -> set[str]:
        data, found = b"", set()
        while True:
            try:
                data += os.read(self._file, 1 << 16)
            except BlockingIOError:
                break
        while data:
            number, mask, _, size = struct.unpack("iIII", data[:16])
            assert mask != 0x4000, "events were lost"
            path = self._folders[number] / os.fsdecode(data[16 : 16 + size].rstrip(b"\0"))
            if path.is_file():
                found.add(str(path))
            data = data[16 + size :]
        return found


def load(path: Path) -> str:
    """Load what is there, as the engine and the suite do; what goes wrong."""
    from harness.api import HarnessError, Model
    from harness.engines.hf import HFBackend
    from harness.engines.options import EngineConfig
    from harness.models.tokenizers import load_tokenizer

    model = Model(str(path), path, "")
    try:
        load_tokenizer(model)
        HFBackend(model, EngineConfig("hf", "float32", "cpu", 0))
    except HarnessError as error:
        return str(error)
    return ""


def main() -> None:
    """Load each."""
    elsewhere: set[str] = set()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(str(parent)):
            elsewhere.add(arguments[0])

    for name in sys.argv[1:]:
        path = Path(name)
        parent = path.parent
        if name == sys.argv[1]:
            sys.addaudithook(hook)
        watch = Watch(path)
        elsewhere.clear()
        fault = load(path)
        opened = watch.seen() | {each for each in elsewhere if Path(each).is_file()}
        sys.stdout.write(json.dumps({"path": name, "opened": sorted(opened), "fault": fault}) + "\n")


if __name__ == "__main__":
    main()
