"""Text in, number out: the metrics of HELMET (arXiv 2410.02694, table 2). All are in [0, 1].

How texts are compared depends on the mode (:mod:`tasks.modes`): ``parity`` is SQuAD's normalisation and plain substrings, ``strict``
compares whole words.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from tasks.modes import Mode
from tasks.numerals import KEPT, UNSPACED, apart, number_text
from tasks.records import FieldError

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

_ARTICLES = re.compile(r"\b(a|an|the)\b")
#: Letters of a gold that may be looked for anew at every place.
_SHORT: Final = 64
#: What ROUGE calls a word.
_WORD: Final = re.compile("[a-z0-9]+")
#: Pairs of words that ROUGE may compare: eight bytes each, and some seconds in all.
_LARGEST_ROUGE: Final = 40_000_000
_PUNCTUATION = str.maketrans("", "", string.punctuation)
#: Answers that earn no partial credit: F1 is 0 unless both sides say the same (SQuAD 2, HotpotQA).
_CLOSED: Final = ("yes", "no", "noanswer")
#: Ranking depths that HELMET reports, up to the number of documents.
CUTOFFS: Final = (1, 5, 10, 20, 50, 100, 200, 500, 1000)
#: trec_eval's measure -> HELMET's name for it.
_MEASURES: Final = {"ndcg_cut": "NDCG", "map_cut": "MAP", "recall": "Recall", "P": "P"}


def normalize(text: str) -> str:
    """Normalise as SQuAD does: lower case, no ASCII punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def normalize_strictly(text: str) -> str:
    """Normalise as :func:`normalize`, in any script, with numbers whole; never empty unless the text is: what would vanish is kept."""
    composed = unicodedata.normalize("NFC", text).lower()
    bare = "".join(letter for letter in number_text(composed) if not _is_punctuation(letter))
    forms = (_ARTICLES.sub(" ", bare), bare, composed)
    return next((" ".join(form.split()) for form in forms if form.split()), "")


def _is_punctuation(letter: str) -> bool:
    kind = unicodedata.category(letter)
    return letter in string.punctuation or kind[0] == "P" or kind == "Sc"


@dataclass(frozen=True)
class Comparison:
    """When two texts count as the same."""

    normalize: Callable[[str], str]
    equals: Callable[[str, str], bool]
    """(normalised text, normalised gold) -> are they the same answer?"""
    contains: Callable[[str, str], bool]
    """(normalised text, normalised gold) -> does the text hold the gold?"""


def _holds_words(text: str, gold: str) -> bool:
    return holds(text, gold, str.isspace)


_UNSPACED: Final = re.compile(f"[{UNSPACED}]")


def holds(text: str, gold: str, parts: Callable[[str], bool]) -> bool:
    """Tell whether ``gold`` stands in ``text`` as words of its own; ``parts`` says of a letter beside it that it is no part of a word.

    In scripts without blanks any letter may be where a word begins or ends, but not one that is combined with the next.
    """
    for at in _places(text, gold) if gold else ():
        end = at + len(gold)
        before, after = text[at - 1 : at], text[end : end + 1]
        if _apart(before, gold[0], parts) and _apart(after, gold[-1], parts) and not _combines(after):
            return True
    return False


def _places(text: str, gold: str) -> Iterator[int]:
    """Yield every place of ``gold`` in ``text``, in time that grows with both lengths and not with their product."""
    at = text.find(gold)
    if at < 0 or len(gold) <= _SHORT:
        while at >= 0:
            yield at
            at = text.find(gold, at + 1)
        return
    yield at
    known = _borders(gold)
    matched = known[-1]
    for place in range(at + len(gold), len(text)):
        letter = text[place]
        while matched and gold[matched] != letter:
            matched = known[matched - 1]
        matched += gold[matched] == letter
        if matched == len(gold):
            yield place - matched + 1
            matched = known[-1]


def _borders(gold: str) -> list[int]:
    """For each beginning of ``gold``, how long the longest shorter one is that it ends with (Knuth, Morris and Pratt 1977)."""
    found, matched = [0], 0
    for letter in gold[1:]:
        while matched and gold[matched] != letter:
            matched = found[matched - 1]
        matched += gold[matched] == letter
        found.append(matched)
    return found


def _apart(beside: str, edge: str, parts: Callable[[str], bool]) -> bool:
    return not beside or parts(beside) or bool(_UNSPACED.match(beside) or _UNSPACED.match(edge))


def _combines(letter: str) -> bool:
    return bool(letter) and unicodedata.category(letter)[0] == "M"


def is_unspaced(text: str) -> bool:
    """Tell whether some of ``text`` is in a script without blanks."""
    return _UNSPACED.search(text) is not None


PARITY: Final = Comparison(normalize, lambda text, gold: text == gold, lambda text, gold: gold in text)
STRICT: Final = Comparison(normalize_strictly, lambda text, gold: bool(gold) and text == gold, _holds_words)
COMPARISONS: Final[Mapping[Mode, Comparison]] = {"parity": PARITY, "strict": STRICT}


def exact_match(output: str, golds: Sequence[str], rule: Comparison = STRICT) -> float:
    """Give 1 if the normalised output equals a normalised gold."""
    text = rule.normalize(output)
    return float(any(rule.equals(text, rule.normalize(gold)) for gold in golds))


def f1(output: str, golds: Sequence[str], rule: Comparison = STRICT) -> float:
    """Compute the harmonic mean of token precision and recall, for the best gold.

    0 where one side is yes, no or noanswer and the other differs.
    """
    text = rule.normalize(output)
    return max(_f1(text, rule.normalize(gold)) for gold in golds)


def _f1(output: str, gold: str) -> float:
    if output != gold and (output in _CLOSED or gold in _CLOSED):
        return 0.0
    found, wanted = output.split(), gold.split()
    same = sum((Counter(found) & Counter(wanted)).values())
    if not same:
        return 0.0
    precision, recall = same / len(found), same / len(wanted)
    return (2 * precision * recall) / (precision + recall)


def substring_exact_match(output: str, golds: Sequence[str], rule: Comparison = STRICT) -> float:
    """Give 1 if a normalised gold occurs in the normalised output."""
    text = rule.normalize(output)
    return float(any(rule.contains(text, rule.normalize(gold)) for gold in golds))


def str_em(output: str, golds: Sequence[str], rule: Comparison = STRICT) -> float:
    """Compute the share of the golds that occur in the output, each as in :func:`substring_exact_match` (ALCE's STR-EM)."""
    text = rule.normalize(output)
    return sum(rule.contains(text, rule.normalize(gold)) for gold in golds) / len(golds)


def ruler_recall(output: str, golds: Sequence[str], mode: Mode = "strict") -> float:
    """Compute the share of the golds that occur in the output, letter case ignored (RULER's string match).

    In strict mode, as whole words and whole numbers.
    """
    text = output.lower()
    if mode == "parity":
        return sum(gold.lower() in text for gold in golds) / len(golds)
    text = apart(number_text(text))
    return sum(bool(gold.strip()) and holds(text, apart(number_text(gold.lower())), _is_no_letter) for gold in golds) / len(golds)


def _is_no_letter(letter: str) -> bool:
    return not (letter.isalnum() or letter == "_" or letter in KEPT)


def check_rouge(output: str, golds: Sequence[str]) -> None:
    """Raise FieldError for texts so long that ROUGE, which compares each word with each, would take all memory."""
    words, wanted = len(_WORD.findall(output.lower())), sum(len(_WORD.findall(gold.lower())) for gold in golds)
    if words * wanted > _LARGEST_ROUGE:
        raise FieldError(
            "output", f"has {words} words and its gold answers {wanted}: ROUGE compares each with each, and these are too many"
        )


@cache
def _rouge_scorer() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer  # loads NLTK: seconds

    return RougeScorer(["rougeL", "rougeLsum"], use_stemmer=True)


def rouge(output: str, golds: Sequence[str]) -> dict[str, float]:
    """Compute ROUGE-L and ROUGE-Lsum with stemming, the best of each over the golds. Lines are Lsum's sentences."""
    check_rouge(output, golds)
    scores = [_rouge_scorer().score(target=gold, prediction=output) for gold in golds]
    found: dict[str, float] = {}
    for kind in ("rougeL", "rougeLsum"):
        found[f"{kind}_f1"] = max(float(score[kind].fmeasure) for score in scores)
        found[f"{kind}_recall"] = max(float(score[kind].recall) for score in scores)
    return found


def answer_metrics(output: str, golds: Sequence[str], rule: Comparison = STRICT, *, with_rouge: bool = True) -> dict[str, float]:
    """Measure what HELMET measures of every short answer and summary."""
    return {
        "exact_match": exact_match(output, golds, rule),
        "f1": f1(output, golds, rule),
        "substring_exact_match": substring_exact_match(output, golds, rule),
        **(rouge(output, golds) if with_rouge else {}),
    }


def ranking_metrics(ranked: Sequence[str], grades: Mapping[str, int], cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Compute trec_eval's NDCG, MAP, recall and precision at the cutoffs, and MRR, of document IDs, best first.

    A repeat keeps its first place.
    """
    # trec_eval is C: a NUL ends a name, half of a surrogate pair crashes it, and so do two names that then look alike: it gets numbers.
    # A grade below 0 is written outside of its tables, which crashes it later; for every measure here it is worth what 0 is.
    names = {identity: str(number) for number, identity in enumerate(dict.fromkeys((*ranked, *grades)))}
    order = dict.fromkeys(ranked)
    run = {names[identity]: float(len(order) - rank) for rank, identity in enumerate(order)}
    judged = {names[identity]: max(0, grade) for identity, grade in grades.items()}
    asked = {f"{measure}.{','.join(map(str, cutoffs))}" for measure in _MEASURES} | {"recip_rank"}
    found: Mapping[str, float] = {}
    if run and judged:
        import pytrec_eval

        found = pytrec_eval.RelevanceEvaluator({"q": judged}, asked).evaluate({"q": run})["q"]
    metrics = {
        f"{name}@{cutoff}": float(found.get(f"{measure}_{cutoff}", 0.0)) for measure, name in _MEASURES.items() for cutoff in cutoffs
    }
    return {**metrics, "MRR": float(found.get("recip_rank", 0.0))}
