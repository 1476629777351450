"""Chat templates are programs that come with a model: they are rendered in a process of their own, with limits of time, memory and size.

transformers keeps them from files and from Python's insides, and not from running for ever or writing gigabytes. A template that plainly
cannot do either (:mod:`harness.models.plain_templates`) is rendered at once.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from harness.api import HarnessError
from harness.models.plain_templates import is_plain
from harness.models.template_process import answered

#: Seconds for one rendering; the first one also waits for the process to start.
SECONDS: Final = 20.0
_START: Final = 60.0
_PIECE: Final = 1 << 20
#: Bytes of an answer, which the process itself keeps to; more means that it is no longer the process it was.
_LARGEST: Final = 1 << 30


class TemplateError(HarnessError):
    """A chat template that cannot be rendered."""


def install() -> None:
    """Have transformers render every chat template here, whoever asks it to."""
    from transformers import tokenization_utils_base

    tokenization_utils_base.render_jinja_template = _render  # type: ignore[attr-defined,assignment]  # it imports the name


def belongs(template: str | Mapping[str, str] | None, path: Path) -> None:
    """Note where a template, or several by name, came from, for errors."""
    for each in (template,) if isinstance(template, str) else (template or {}).values():
        _SOURCES[each] = path


_SOURCES: Final[dict[str, Path]] = {}


def _render(
    conversations: list[Any],
    tools: Any = None,
    documents: Any = None,
    chat_template: str = "",
    return_assistant_tokens_mask: bool = False,
    continue_final_message: bool | str = False,
    add_generation_prompt: bool = False,
    **options: Any,
) -> tuple[list[str], list[Any]]:
    """As transformers' ``render_jinja_template``. TemplateError for a template that has a fault, or goes beyond the limits."""
    if return_assistant_tokens_mask:
        raise TemplateError("masks of the assistant's tokens are not rendered here")
    asked: dict[str, Any] = {
        "conversations": conversations,
        "tools": tools,
        "documents": documents,
        "chat_template": chat_template,
        "continue_final_message": continue_final_message,
        "add_generation_prompt": add_generation_prompt,
    }
    options = {name: str(value) if name.endswith("_token") else value for name, value in options.items()}
    answer = answered({**options, **asked}) if is_plain(chat_template) else _PROCESS.ask({**asked, "options": options})
    texts = answer.get("texts")
    if not isinstance(texts, list):
        source = _SOURCES.get(chat_template)
        raise TemplateError(f"the chat template of {source or 'the model'} {answer.get('error')}; mend it, or get the model again")
    return texts, []


class _Process:
    """The process, which is started when it is first asked, and again when it had to be ended."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Give its answer, or one that says which limit it went beyond."""
        with self._lock:
            started = self._child is not None and self._owner == os.getpid() and self._child.poll() is None
            child = self._child if started and self._child is not None else self._start()
            line = json.dumps({**asked, "seconds": SECONDS}).encode() + b"\n"
            try:
                answer = _exchange(child, line, time.monotonic() + SECONDS + (0 if started else _START))
            except BaseException:
                self._end()
                raise
            if answer is None:
                self._end()
                return {"error": f"was not rendered within {SECONDS:g} s, or broke the process that renders it"}
            found: dict[str, Any] = json.loads(answer)
            return found

    def _start(self) -> "subprocess.Popen[bytes]":
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
        command = [sys.executable, "-m", "harness.models.template_process"]
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, bufsize=0)
        self._owner = os.getpid()
        return self._child

    def _end(self) -> None:
        if self._child is not None and self._owner == os.getpid():
            self._child.kill()
            self._child.communicate()
        self._child = None


def _exchange(child: "subprocess.Popen[bytes]", line: bytes, deadline: float) -> bytes | None:
    """The line that ``child`` answers; None if none came until the deadline, or it has ended."""
    assert child.stdin is not None
    assert child.stdout is not None
    os.set_blocking(child.stdin.fileno(), False)
    left, found = memoryview(line), bytearray()
    with suppress(OSError):
        while not found.endswith(b"\n"):
            room = deadline - time.monotonic()
            ready, writable, _ = select.select([child.stdout], [child.stdin] if left else [], [], max(0.0, room))
            if not ready and not writable:
                return None
            if writable:
                left = left[os.write(child.stdin.fileno(), left[:_PIECE]) :]
            if ready:
                piece = os.read(child.stdout.fileno(), _PIECE)
                found += piece
                if not piece or len(found) > _LARGEST:
                    return None
        return bytes(found)
    return None


_PROCESS: Final = _Process()
