"""Find the answer in what a model wrote. ``published_...`` read as the published scorers do, the others leniently.

>>> answer_text("Answer: the cello\\nDocument ...")
'the cello'
>>> ranking("Ranking: [ID: 12] > 7 > 12 > 3")
['12', '7', '3']
"""

import re

_PREFIX = re.compile(r"(?:answer|label|value|ranking|summary)\s*:", re.IGNORECASE)
_PUBLISHED_CHAIN = re.compile(r"\d+(?:\s*>\s*\d+)*")
#: What may stand around an ID: brackets, colons, emphasis, and the word itself.
_AROUND_ID = re.compile(r"[\[\]:*`]|\bid(?=[\W\d]|$)", re.IGNORECASE)
#: Quantifiers that give nothing back (``*+``): beside each other, plain ones take the square of the white space's length.
_ID = r"(?:\[\s*+(?:id\b\s*+:?\s*+)?\d+\s*+\]|\bid\s*+:?\s*+\d+)"
_ID_LIST = re.compile(rf"{_ID}(?:[\s,;*]++(?:\d+[.)]\s*+)?{_ID})+", re.IGNORECASE)


def published_answer(output: str, prefix: str = "Answer:") -> str:
    """Find the answer by HELMET's rule: what follows the first ``prefix``, in any letter case, up to the end of its line.

    Without one, the first line.

    A second prefix right at the start of that is dropped as well.
    """
    found = re.search(f"{re.escape(prefix)}(.*)(?:\n|$)", output, re.IGNORECASE)
    line = found[1] if found else output.split("\n", 1)[0]
    return re.sub(f"^{re.escape(prefix)}", "", line.strip(), flags=re.IGNORECASE).strip()


def published_ranking(output: str) -> list[str]:
    """Find the ranking by HELMET's rule: brackets, colons and every "id" go, then the run of integers joined by ``>`` with most characters
    is the ranking.

    Repeats stay. Without an integer the whole text is the one ID.
    """
    text = re.sub(r"[\[\]:]", "", output).lower().replace("id", "")
    longest = max((found[0] for found in _PUBLISHED_CHAIN.finditer(text)), key=len, default="")
    return [number.strip() for number in longest.split(">")] if longest else [text]


def answer_text(output: str) -> str:
    """Find what follows the first ``Answer:`` (or Label, Value, Ranking, Summary) up to the end of its line.

    Any further such prefix on that line goes; without a prefix, it is the first non-empty line.
    """
    line = body_text(output).split("\n", 1)[0]
    return _PREFIX.split(line)[-1].strip()


def body_text(output: str) -> str:
    """Find as :func:`answer_text`, to the end of the output: for answers of several lines."""
    found = _PREFIX.search(output)
    return (output[found.end() :] if found else output).strip()


def ranking(output: str) -> list[str]:
    """Find the run of integers joined by ``>`` with most IDs, or a longer list of ``[ID: n]``; a repeated ID keeps its first place.

    Empty if there is neither.
    """
    chains = _PUBLISHED_CHAIN.findall(_AROUND_ID.sub("", output))
    runs = [re.findall(r"\d+", chain) for chain in chains]
    runs += [re.findall(r"(?:\[|id\b\s*:?|id)\s*(?:id\b\s*:?)?\s*(\d+)", found[0], re.IGNORECASE) for found in _ID_LIST.finditer(output)]
    return max((list(dict.fromkeys(run)) for run in runs), key=len, default=[])
