"""Long answers with citations: ALCE's metrics of ASQA and QAMPARI outputs (arXiv 2305.14627, section 3), all but the judged ones.

ASQA asks for prose that holds several short answers, QAMPARI for a list joined by commas.
"""

import re
from collections.abc import Sequence

from tasks.citations import remove_citations, remove_listed_citations
from tasks.metrics import COMPARISONS, Comparison, rouge
from tasks.modes import Mode
from tasks.sentences import Splitter

_CITED_LIST = re.compile(r"\[[\d\s,;]+\]")
#: A comma that groups no thousands.
_COMMA = re.compile(r"(?<!\d),|,(?!\d{3}(?!\d))")
_MARKER = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")
#: QAMPARI's questions have dozens of answers; five of them are enough for full recall@5.
ENOUGH_ANSWERS = 5


def flatten(output: str) -> str:
    """Put the output on one line, as ALCE scores it."""
    return re.sub(r"\n+", " ", output).replace("<|im_end|>", "")


def words(text: str) -> float:
    """Count the length in words."""
    return float(len(text.split()))


def short_answer_metrics(text: str, answers: Sequence[Sequence[str]], rule: Comparison) -> dict[str, float]:
    """Compute STR-EM, the share of short answers that occur under one of their names, and whether all do. ``text`` is free of citations."""
    normal = rule.normalize(text)
    found = [any(rule.contains(normal, rule.normalize(name)) for name in names) for names in answers]
    return {"str_em": sum(found) / len(found), "str_hit": float(all(found))}


def long_answer_rouge(text: str, golds: Sequence[str], split: Splitter) -> dict[str, float]:
    """Compute ROUGE-Lsum with its sentences found by ``split``, the better of the golds; nothing if there is no gold."""
    if not golds:
        return {}
    lines = ["\n".join(split(part.lower())) for part in (text, *golds)]
    return {"rougeLsum": rouge(lines[0], lines[1:])["rougeLsum_f1"]}


def items(output: str, mode: Mode) -> list[str]:
    """List the answers of a list, citations and all."""
    if mode == "parity":
        return _split(flatten(output))
    output = _CITED_LIST.sub(lambda found: found[0].replace(",", ";"), output.replace("<|im_end|>", ""))  # no comma between answers
    lines = (_MARKER.sub("", line).rstrip().rstrip(",") for line in output.split("\n"))
    return _split(",".join(line for line in lines if line.strip()), _COMMA)


def _split(text: str, comma: re.Pattern[str] = re.compile(",")) -> list[str]:
    return [item.strip() for item in comma.split(text.rstrip().rstrip(".").rstrip(","))]


def list_metrics(output: str, answers: Sequence[Sequence[str]], mode: Mode) -> dict[str, float]:
    """Compute QAMPARI's precision, recall, recall of five, and F1 of each recall with the precision."""
    normalize = COMPARISONS[mode].normalize
    names = [[normalize(name) for name in each] for each in answers]
    if mode == "parity":
        found = [normalize(item) for item in _split(remove_citations(flatten(output)))]
    else:
        known = {name for each in names for name in each}
        found = _joined([remove_listed_citations(item) for item in items(output, mode)], known, _most_commas(answers), mode)
    found = [item for item in found if item]
    right = {name for each in names for name in each}
    precision = sum(item in right for item in found) / len(found) if found else 0.0
    recalled = sum(any(name in found for name in each) for each in names)
    recall = recalled / len(names)
    recall_top5 = min(ENOUGH_ANSWERS, recalled) / min(ENOUGH_ANSWERS, len(names))
    return {
        "num_preds": float(len(found)),
        "qampari_prec": precision,
        "qampari_rec": recall,
        "qampari_rec_top5": recall_top5,
        "qampari_f1": _f1(precision, recall),
        "qampari_f1_top5": _f1(precision, recall_top5),
    }


def _joined(parts: Sequence[str], known: set[str], commas: int, mode: Mode) -> list[str]:
    """Normalised items without repeats; as many neighbours as make up a known answer, with ``commas`` in it or fewer, are one item."""
    normalize = COMPARISONS[mode].normalize
    found: dict[str, None] = {}
    start = 0
    while start < len(parts):
        ends = range(min(len(parts), start + commas + 1), start + 1, -1)
        end = next((end for end in ends if normalize(", ".join(parts[start:end])) in known), start + 1)
        found[normalize(", ".join(parts[start:end]))] = None
        start = end
    return list(found)


def _most_commas(answers: Sequence[Sequence[str]]) -> int:
    return max((name.count(",") for each in answers for name in each), default=0)


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
