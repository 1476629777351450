"""What the words of a table mean: HELMET's categories and its metrics, a sentence each (docs/tasks.md and docs/scoring.md say more)."""

import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from reports.safe import escape

_WORDS: Final = MappingProxyType(
    {
        "overall": "The mean over categories, each of which counts the same.",
        "recall": "Find a fact that was hidden in a long text, and repeat it exactly.",
        "rag": "Answer a question from retrieved passages, most of which are about something else.",
        "cite": "Write an answer with citations of the passages that support it.",
        "rerank": "Put passages in order by how well they answer a query.",
        "icl": "Learn labels from examples in the context, and label one more text.",
        "longqa": "Answer questions about a whole book or story.",
        "summ": "Summarise a long text.",
        "ruler_recall": "Share of the right answers that occur in the output, letter case ignored.",
        "substring_exact_match": "1 if a right answer occurs in the output, else 0.",
        "exact_match": "1 if the output is a right answer, apart from case, punctuation and articles, else 0.",
        "f1": "Harmonic mean of the precision and recall of the answer's words.",
        "str_em": "Share of the short answers that occur in the output (ALCE's STR-EM).",
        "citation_rec": "Share of the statements that their citations support.",
        "citation_prec": "Share of the citations that their statement needs.",
        "NDCG": "How well the order puts relevant passages first: 1 is the best order there is.",
        "MAP": "Mean of the precision at each relevant passage.",
        "MRR": "One over the place of the first relevant passage.",
        "rouge": "Overlap of the output's words with a reference, in order.",
        "keypoint_f1": "Harmonic mean of how many key points are told and how many sentences tell one.",
        "judged_score": "A judge's grade for being right, times its grade for fluency, as a share of the best.",
        "judged_f1": "A judge's count of key points told and of sentences that are supported, as F1, times its grade for fluency.",
    }
)


def explained(name: str) -> str:
    """Explain a category or metric in a sentence; "" for a name that is not known. A cutoff does not matter: NDCG@10 is NDCG."""
    found = _WORDS.get(name) or _WORDS.get(name.partition("@")[0])
    return found or (_WORDS["rouge"] if name.lower().startswith("rouge") else "")


def term(name: str, said: str = "") -> str:
    """Make a name as HTML, with what it means for those who point at it, reach it with the keyboard or tap it; ``said`` stands for it."""
    words = re.split(r"\s+", name)
    text = next((found for each in reversed(words) if (found := explained(each))), "")
    shown = escape(said or name)
    return f'<span class="term" tabindex="0">{shown}<span class="tip" role="tooltip">{escape(text)}</span></span>' if text else shown


def listed(names: Iterable[str]) -> str:
    """Make a list of the names that are known and what they mean; "" if none is."""
    known = [(name, text) for name in dict.fromkeys(names) if (text := explained(name))]
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in known)
    return f'<dl class="words">{items}</dl>' if items else ""
