"""The published HELMET files (arXiv 2410.02694) as examples: sixteen datasets of five categories and five of two more, five lengths.

    for example in examples(DATASETS["kilt_nq"], 8_192, [root], count):
        ...

A dataset at a length is a file or a slice of one (:mod:`tasks.helmet.catalog`); records are read one at a time and checked
(:mod:`tasks.helmet.records`), chosen as HELMET chooses them (:mod:`tasks.helmet.selection`), put into words
(:mod:`tasks.helmet.wordings`) and fitted to the tested model's tokens (:mod:`tasks.helmet.fit`). The five sets of
:mod:`tasks.helmet.longer` are asked by name alone: their contexts are cut (:mod:`tasks.helmet.cutting`).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tasks.editions import NEWEST, Edition
from tasks.example import Example
from tasks.helmet import cite, icl, lawsuits, longer_wordings, rag, recall, rerank, stories
from tasks.helmet.catalog import DATASETS, LENGTHS, Dataset
from tasks.helmet.cutting import Counted, Cutter
from tasks.helmet.fit import Count
from tasks.helmet.long_texts import LongRequest
from tasks.helmet.longer import EVERY, LONGER, select
from tasks.helmet.longer_wordings import LongWordings
from tasks.helmet.records import DataError
from tasks.helmet.request import ANCHORED, Request
from tasks.helmet.wordings import OWN, Wording, Wordings
from tasks.references import Reference

__all__ = [
    "DATASETS", "EVERY", "LENGTHS", "LONGER", "OWN", "VERSION", "Count", "DataError", "Dataset", "Wordings", "anchored", "examples",
    "long_examples", "select",
]  # fmt: skip

#: Raise when the same files and seed should give other examples than before.
VERSION: Final = 2
#: Seed of HELMET's configurations: the published runs sampled with it.
SEED: Final = 42

_LOADERS: Final[MappingProxyType[str, Callable[[Request], Iterator[Example]]]] = MappingProxyType(
    {
        "ruler": recall.ruler,
        "json_kv": recall.json_kv,
        "kilt": rag.kilt,
        "alce": cite.alce,
        "msmarco": rerank.msmarco,
        "icl": icl.icl,
    }
)

_LONG_LOADERS: Final[MappingProxyType[str, Callable[[LongRequest], Iterator[Example]]]] = MappingProxyType(
    {"narrativeqa": stories.narrativeqa, "infbench": stories.infbench, "multi_lexsum": lawsuits.multi_lexsum}
)


def examples(
    dataset: Dataset,
    length: int,
    roots: Sequence[Path],
    count: Count,
    *,
    examples: int | None = None,
    seed: int = SEED,
    wordings: Wordings = OWN,
    reference: Reference | None = None,
    edition: Edition = NEWEST,
) -> Iterator[Example]:
    """Yield the examples of ``dataset`` at ``length`` tokens, one in memory at a time (ICL and demonstrations: their small files too).

    ``examples`` caps questions as HELMET's ``max_test_samples`` does (default 100, ICL 500): where a file holds a question at several
    depths, all of its depths come, so there are ``dataset.depths`` times as many examples. ``count(prompt, answer_prefix)`` gives the
    tokens of a finished prompt on the tested model's tokenizer. The first of ``roots`` that holds a file is read. ``reference`` builds
    the prompts of a reference point instead, of the datasets that are :func:`anchored`. ``edition`` is that of HELMET's draws, which differ
    in the ICL sets.

    Raises:
        DataError: a file is missing, damaged or of another format; says which file, line and field, and what to do.
        tasks.build.BudgetError: the question with its demonstrations and gold passages alone is longer than ``length``.
    """
    limit = dataset.examples if examples is None else examples
    request = Request(dataset, length, tuple(roots), count, limit, seed, wordings[dataset.wording], reference, edition)
    return _LOADERS[dataset.loader](request)


def long_examples(
    dataset: Dataset,
    length: int,
    roots: Sequence[Path],
    count: Count,
    *,
    examples: int | None = None,
    seed: int = SEED,
    wordings: LongWordings = longer_wordings.OWN,
    cutter: Cutter | None = None,
) -> Iterator[Example]:
    """Yield the examples of a ``dataset`` of :data:`~tasks.helmet.longer.LONGER`, as :func:`examples` gives those of the others.

    ``cutter`` cuts the contexts to the length in the set's name; without one, the tested model's own tokens count.
    """
    limit, words = dataset.examples if examples is None else examples, wordings[dataset.name]
    request = Request(dataset, length, tuple(roots), count, limit, seed, Wording(words.user, words.prefix, words.joint))
    return _LONG_LOADERS[dataset.loader](LongRequest(request, words, cutter or Counted(count)))


def anchored(dataset: Dataset) -> bool:
    """Say whether the dataset's records say which passages are gold, so that it has reference points."""
    return dataset.loader in ANCHORED
