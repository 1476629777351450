"""What a reasoning model writes before its answer, in the marks of the families that do.

>>> answer_after("<think>2 + 2 is 4.</think>\\n4")
'4'
>>> answer_after("<think>2 + 2 is")
''
>>> answer_after("4")
'4'
"""

import re
from typing import Final

#: What begins thoughts, and what ends them. Some chat templates write the beginning into the prompt, so that only the end is seen.
MARKS: Final = (
    ("<think>", "</think>"),  # DeepSeek, Qwen and most others
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
)
_BEGUN: Final = re.compile(rf"\s*(?:{'|'.join(re.escape(start) for start, _ in MARKS)})")
_ENDED: Final = re.compile("|".join(re.escape(end) for _, end in MARKS))


def holds_thoughts(output: str) -> bool:
    """Tell whether thoughts are begun at the start of ``output``, or ended anywhere in it."""
    return bool(_BEGUN.match(output) or _ENDED.search(output))


def answer_after(output: str) -> str:
    """Give what follows the thoughts: all of an output without any, nothing where they never end."""
    ended = _ENDED.search(output)
    if ended is not None:
        return output[ended.end() :].lstrip()
    return "" if _BEGUN.match(output) else output
