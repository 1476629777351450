"""A process that renders chat templates, which are programs of a model's: one JSON line in, one out.

It may take so much memory, and so long for a line; the parent (:mod:`harness.models.templates`) looks at the time as well.
"""

import json
import resource
import signal
import sys
from typing import Any, Final

#: Bytes beyond what the process takes when it starts.
_ROOM: Final = 1 << 30
#: Characters of a rendered text beyond eight times what was asked to be rendered.
_FRAME: Final = 1 << 20
_TIMES: Final = 8
_FIELDS: Final = ("conversations", "tools", "documents", "chat_template", "continue_final_message", "add_generation_prompt")


def main() -> None:
    """Render what stands on each line of the input."""
    import transformers.utils.chat_template_utils  # noqa: F401  # before its memory counts

    _limit_memory()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        signal.alarm(int(asked["seconds"]) + 2)  # the parent may be gone; nothing handles it, so that the process ends
        options = {**asked["options"], **{name: asked[name] for name in _FIELDS}}
        answer = json.dumps(answered(options, _TIMES * len(line) + _FRAME))
        signal.alarm(0)
        sys.stdout.buffer.write(answer.encode() + b"\n")
        sys.stdout.buffer.flush()


def answered(options: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    """Render a template, here: ``texts``, or the ``error`` in words. ``most`` is how many characters it may write."""
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        texts: Any = render_jinja_template(**options)[0]
    except MemoryError:
        return {"error": f"takes more than {_ROOM >> 30} GiB of memory"}
    except RecursionError:
        return {"error": "is nested without end"}
    except Exception as error:  # whatever it says: it is the template's
        return {"error": f"says {type(error).__name__}: {str(error)[:400]}"}
    if most is not None and sum(map(len, texts)) > most:
        return {"error": f"writes {sum(map(len, texts))} characters, many times what it is given"}
    return {"texts": texts}


def _limit_memory() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
