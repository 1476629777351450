"""Find the answer in what a model wrote.

>>> answer_text("Answer: the cello\\nDocument ...")
'the cello'
>>> ranking("Ranking: [ID: 12] > 7 > 12 > 3")
['12', '7', '3']
"""

import re

_PREFIX = re.compile(r"(?:answer|label|value|ranking)\s*:", re.IGNORECASE)
_RANKING = re.compile(r"\d+(?:\s*>\s*\d+)*")


def answer_text(output: str) -> str:
    """What follows the first ``Answer:`` (or Label, Value, Ranking) up to the end of its line, less any further such prefix on that line;
    without a prefix, the first non-empty line."""
    found = _PREFIX.search(output)
    line = (output[found.end() :] if found else output).strip().split("\n", 1)[0]
    return _PREFIX.split(line)[-1].strip()


def ranking(output: str) -> list[str]:
    """The longest run of integers joined by ``>``; a repeated ID keeps its first place. Empty if there is none."""
    text = re.sub(r"[\[\]:]|\bid\b", "", output, flags=re.IGNORECASE)
    runs = _RANKING.findall(text)
    longest = max(runs, key=lambda run: run.count(">"), default="")
    return list(dict.fromkeys(re.findall(r"\d+", longest)))
