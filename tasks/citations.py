"""Citation recall and precision (ALCE, arXiv 2305.14627, section 3.2).

A claim is a sentence, or one item of a list, with the documents it cites. It is *recalled* if they entail it together. Of a recalled
claim's citations, one is *precise* unless it does not entail the claim alone and the others still do; of any other claim, none is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tasks.judges import KnownFacts, Rounds, settle
from tasks.modes import Mode
from tasks.sentences import Splitter, simple

#: ALCE reads at most this many citations of a claim.
MOST_CITATIONS: Final = 3
#: ALCE drops shorter sentences, such as the "1." of a numbered list.
SHORTEST_SENTENCE: Final = 5
_OPENING = re.compile(r"\[(\d+)")
_LIST = re.compile(r"\[\s*(\d+(?:\s*[,;]\s*\d+)*)\s*\]?")
_SPACED_LIST = re.compile(rf"\s*{_LIST.pattern}")
#: Python refuses to read longer numbers; no document has one.
_MOST_DIGITS: Final = 4000
_NO_DOCUMENT: Final = 10**9


@dataclass(frozen=True)
class Claim:
    """Something the output says, and the evidence it gives."""

    text: str
    """Without citations."""
    cited: tuple[int, ...] = ()
    """Positions in the record's documents, at most :data:`MOST_CITATIONS`; -1 is the last one, a repeat counts again."""
    invented: int = 0
    """Citations of documents that are not there, if they count against precision."""


def remove_citations(text: str) -> str:
    """Remove citations by ALCE's rule: ``[1`` with a space before it, if there is one, goes; so does every ``]`` and `` |``."""
    return re.sub(r"\[\d+", "", re.sub(r" \[\d+", "", text)).replace(" |", "").replace("]", "")


def remove_listed_citations(text: str) -> str:
    """Remove as :func:`remove_citations`, lists such as ``[1, 2]`` included."""
    return remove_citations(_SPACED_LIST.sub("", text))


def sentences(text: str, split: Splitter) -> list[str]:
    """List the sentences that are long enough to mean something."""
    return [sentence for sentence in split(text) if len(sentence.strip()) >= SHORTEST_SENTENCE]


def claim(sentence: str, documents: int, mode: Mode, *, shown: int | None = None, about: str = "") -> Claim:
    """Read one claim.

    ``documents`` is how many the record has, ``shown`` how many were in the prompt (default: all). ``about`` is put in front of the claim:
    the question that an item of a list answers.
    """
    whole = f"{about} {sentence}" if about else sentence
    if mode == "parity":
        return _published_claim(remove_citations(whole).strip(), [_number(digits) - 1 for digits in _OPENING.findall(whole)], documents)
    numbers = dict.fromkeys(_number(digits) for found in _LIST.findall(sentence) for digits in re.split(r"\s*[,;]\s*", found))
    limit = documents if shown is None else min(shown, documents)
    valid = [number - 1 for number in numbers if 1 <= number <= limit]
    text = f"{about} {remove_listed_citations(sentence).strip()}".strip()
    return Claim(text, tuple(valid[:MOST_CITATIONS]), len(numbers) - len(valid))


def _published_claim(text: str, positions: Sequence[int], documents: int) -> Claim:
    if not documents or any(position >= documents for position in positions):
        return Claim(text)
    return Claim(text, tuple(positions[:MOST_CITATIONS]))


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _MOST_DIGITS else _NO_DOCUMENT


def citation_scores(claims: Sequence[Claim], passages: Sequence[str]) -> Rounds[tuple[float, float]]:
    """Compute (recall, precision) of an output: the share of its claims that are recalled, and of its citations that are precise.

    ``passages`` are the documents' texts. No claims, or no citations, score 0. Takes three rounds of verdicts: all citations of a claim
    together, each alone, and the others without it.
    """
    cited = [each for each in claims if each.cited]
    joint = yield [(_join(passages, each.cited), each.text) for each in cited]
    recalled = [each for each, entailed in zip(cited, joint, strict=True) if entailed]
    several = [(each, place) for each in recalled if len(each.cited) > 1 for place in range(len(each.cited))]
    alone = yield [(passages[each.cited[place]], each.text) for each, place in several]
    doubtful = [item for item, entailed in zip(several, alone, strict=True) if not entailed]
    rest = yield [(_join(passages, _without(each.cited, place)), each.text) for each, place in doubtful]
    precise = sum(len(each.cited) for each in recalled) - sum(rest)
    total = sum(len(each.cited) + each.invented for each in claims)
    return (len(recalled) / len(claims) if claims else 0.0, precise / total if total else 0.0)


def _join(passages: Sequence[str], positions: Sequence[int]) -> str:
    return "\n".join(passages[position] for position in positions)


def _without(cited: tuple[int, ...], place: int) -> list[int]:
    """ALCE removes the first citation of that document, which matters only to the order of the others."""
    left = list(cited)
    left.remove(cited[place])
    return left


def score_citations(output: str, meta: Mapping[str, object], mode: Mode = "strict") -> tuple[float, float]:
    """Compute (recall, precision) of an answer to generated documents, judged exactly.

    ``meta["support"]`` maps a fact to the numbers of the documents that hold it (:class:`tasks.judges.KnownFacts`), ``meta["documents"]``
    is how many documents there are.
    """
    support = meta["support"]
    assert isinstance(support, Mapping)
    count = meta.get("documents")
    documents = count if isinstance(count, int) else max(_numbers(support), default=0)
    claims = [claim(sentence, documents, mode) for sentence in sentences(re.sub(r"\n+", " ", output), simple)]
    passages = [KnownFacts.premise(number + 1) for number in range(documents)]
    return settle(citation_scores(claims, passages), KnownFacts(support))


def _numbers(support: Mapping[str, object]) -> Iterator[int]:
    for entries in support.values():
        assert isinstance(entries, Sequence)
        for entry in entries:
            yield from [entry] if isinstance(entry, int) else entry
