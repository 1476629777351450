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
    ("<analysis>", "</analysis>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<|thinking|>", "<|/thinking|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
    ("<unused94>", "<unused95>"),  # MedGemma
    ("[THINK]", "[/THINK]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
)
#: Letter case, and blanks within the brackets, differ from model to model.
_BEGINS: Final = "|".join(rf"{re.escape(start[:-1])}\s?{re.escape(start[-1])}" for start, _ in MARKS)
_BEGUN: Final = re.compile(rf"\s*(?:{_BEGINS})", re.IGNORECASE)
_ENDED: Final = re.compile(
    "|".join(rf"{re.escape(end[:-1]).replace('</', '</ ?')}\s?{re.escape(end[-1])}" for _, end in MARKS), re.IGNORECASE
)
_BLOCK: Final = re.compile(_BEGINS, re.IGNORECASE)


def holds_thoughts(output: str) -> bool:
    """Tell whether thoughts are begun at the start of ``output``, or ended anywhere in it."""
    return bool(_BEGUN.match(output) or _ENDED.search(output))


def holds_several(output: str) -> bool:
    """Tell whether thoughts are ended more than once, or begun again after their end."""
    first = _ENDED.search(output)
    return first is not None and bool(_ENDED.search(output, first.end()) or _BLOCK.search(output, first.end()))


def answer_after(output: str) -> str:
    """Give what follows the thoughts: all of an output without any, nothing where they never end.

    Where there are several, the answer is what stands after the last, or before thoughts that it ends in.
    """
    ends = [0, *(found.end() for found in _ENDED.finditer(output))]
    if len(ends) == 1:
        return "" if _BEGUN.match(output) else output
    for end in reversed(ends[1:]):
        answer = _ENDED.sub("", _BLOCK.split(output[end:], maxsplit=1)[0]).strip()
        if answer:
            return answer
    return ""
