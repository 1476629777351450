"""Citation recall and precision (ALCE, arXiv 2305.14627, section 3.2), judged exactly: the facts of generated documents are known.

A sentence is right if it states a supported fact. Its recall is 1 if the documents it cites hold that fact; a citation counts for precision
if the sentence is recalled and the citation is needed for it, which for a fact held by one document means that it is that document.
"""

import re
from collections.abc import Mapping

from tasks.metrics import normalize

_CITATION = re.compile(r"\[(\d+)\]")
#: Sentences end at white space after a stop; a citation belongs to the sentence it stands in.
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
#: ALCE reads at most this many citations of a sentence.
MOST_CITATIONS = 3


def score_citations(output: str, meta: Mapping[str, object]) -> tuple[float, float]:
    """(recall, precision), each a mean: over sentences, and over the citations in them. An output without sentences scores 0.

    ``meta["support"]`` maps a fact sentence to the numbers of the documents that hold it.
    """
    support = meta["support"]
    assert isinstance(support, Mapping)
    facts = {normalize(fact): set(numbers) for fact, numbers in support.items()}
    sentences = [part for part in _SENTENCE_END.split(output.replace("\n", " ").strip()) if part.strip()]
    recalled, cited, needed = 0, 0, 0
    for sentence in sentences:
        numbers = [int(number) for number in _CITATION.findall(sentence)][:MOST_CITATIONS]
        holders = facts.get(normalize(_CITATION.sub("", sentence)), set())
        supported = bool(holders & set(numbers))
        recalled += supported
        cited += len(numbers)
        needed += sum(supported and number in holders for number in numbers)
    return (recalled / len(sentences) if sentences else 0.0, needed / cited if cited else 0.0)
