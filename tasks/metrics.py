"""Text in, number out: the metrics of HELMET (arXiv 2410.02694, table 2) that the generated tasks use. All are in [0, 1]."""

import re
import string
from collections.abc import Mapping, Sequence

import pytrec_eval

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(output: str, golds: Sequence[str]) -> float:
    """1 if the normalised output equals a normalised gold."""
    return float(any(normalize(output) == normalize(gold) for gold in golds))


def substring_exact_match(output: str, golds: Sequence[str]) -> float:
    """1 if a normalised gold occurs in the normalised output as whole words, so that "3" does not match "13"."""
    padded = f" {normalize(output)} "
    return float(any(f" {normalize(gold)} " in padded for gold in golds if normalize(gold)))


def str_em(output: str, golds: Sequence[str]) -> float:
    """Share of the golds that occur in the output, each as in :func:`substring_exact_match` (ALCE's STR-EM)."""
    return sum(substring_exact_match(output, [gold]) for gold in golds) / len(golds)


def ruler_recall(output: str, golds: Sequence[str]) -> float:
    """Share of the golds that occur in the output, letter case ignored (RULER's string match)."""
    return sum(gold.lower() in output.lower() for gold in golds) / len(golds)


def ndcg(ranked: Sequence[str], grades: Mapping[str, int], cutoff: int) -> float:
    """trec_eval's NDCG at ``cutoff`` of document IDs, best first, against graded relevance."""
    run = {identity: float(len(ranked) - rank) for rank, identity in enumerate(dict.fromkeys(ranked))}
    if not run:
        return 0.0
    evaluator = pytrec_eval.RelevanceEvaluator({"q": dict(grades)}, {f"ndcg_cut.{cutoff}"})
    return float(evaluator.evaluate({"q": run})["q"][f"ndcg_cut_{cutoff}"])
