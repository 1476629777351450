"""``parity`` scores exactly as the published HELMET and ALCE programs do, quirks included; ``strict`` mends the quirks.

Every deliberate difference has a name here, and nothing else may differ. docs/scoring.md shows the same table; a test keeps them equal.
"""

from dataclasses import dataclass
from typing import Final, Literal

Mode = Literal["parity", "strict"]
MODES: Final[tuple[Mode, ...]] = ("parity", "strict")


@dataclass(frozen=True)
class Difference:
    """One deliberate difference between the modes."""

    name: str
    parity: str
    """What the published scorer does."""
    strict: str
    why: str


DIFFERENCES: Final = (
    Difference(
        "parsed-only",
        "question answering takes the better of the raw output and the parsed answer",
        "only the parsed answer counts",
        "an output that lists many guesses would be right whenever one of them is",
    ),
    Difference(
        "answer-prefix",
        "the prefix is the task's own (`Answer:`, `label:`), and what follows it on its line is the answer, even if that is nothing",
        "any of `Answer`, `Label`, `Value`, `Ranking`, `Summary` before a colon; the first line with text after it is the answer, "
        "of a summary all lines",
        "the answer often starts on the next line, and models write the prefix in other words",
    ),
    Difference(
        "whole-words",
        "a gold matches anywhere, so 3 matches 13",
        "a gold matches whole words; in scripts without blanks (Han, kana, Thai, Lao, Khmer, ...) any letters are",
        "part of another number or name is another answer",
    ),
    Difference(
        "numbers",
        "`.`, `,`, `:`, `-` and `%` vanish from numbers, so 3.5 is 35 and -5 is 5",
        "they are a part of the number; only signs that group thousands go, a comma before a fraction is a point, `%` is the word percent, "
        "and digits of every script are the same",
        "35 is another answer than 3.5, and 1,234 is none than 1234",
    ),
    Difference(
        "thoughts",
        "a reasoning model's thoughts are a part of its answer",
        "what stands before the end of the thoughts (`</think>` and other families' marks) is not read; without an end there is no answer",
        "a model that considers every answer would be right",
    ),
    Difference(
        "empty-gold",
        "a gold of articles and punctuation alone normalises to nothing and then matches every output, an empty one too",
        "such a gold keeps its articles, or its punctuation if that is all there is; a gold without any text matches nothing",
        "an answer that cannot be wrong measures nothing",
    ),
    Difference(
        "unicode",
        "only ASCII punctuation is removed, and composed and decomposed letters differ",
        "all Unicode punctuation and every sign of a currency is removed, letters are composed (NFC)",
        "a typographic apostrophe does not make an answer wrong",
    ),
    Difference(
        "gold-text",
        "a RULER gold that is text, not a list, is matched character by character",
        "it is one gold",
        "the characters of a number occur in nearly every output",
    ),
    Difference(
        "choice-anywhere",
        "a multiple-choice answer is right if the right option's text occurs anywhere in the output",
        "the answer's first word must be the right letter, or the answer the option's text",
        "an output that discusses every option would always be right",
    ),
    Difference(
        "ranking-run",
        "the longest run of integers joined by `>` counts, longest in characters; without `>` that is one ID, without integers "
        "the whole text is",
        "longest in IDs; a list of `[ID: n]` joined by commas or lines is a ranking too",
        "`[ID: 5], [ID: 3]` is a ranking of two, and one long number is not longer than three short ones",
    ),
    Difference(
        "ndcg-digits",
        "ranking metrics are rounded to 5 decimals",
        "they are not rounded",
        "the means are taken afterwards",
    ),
    Difference(
        "cite-empty",
        "an ASQA output without a sentence is left out of the mean citation scores",
        "it counts as 0",
        "answering nothing must not raise a score",
    ),
    Difference(
        "cite-zero",
        "`[0]` cites the last document of the record",
        "`[0]` cites nothing, like any number out of range",
        "documents are numbered from 1",
    ),
    Difference(
        "cite-range",
        "a citation is in range if the record has so many documents, shown to the model or not",
        "it is in range if the document was in the prompt",
        "a model cannot rely on a document that it never saw",
    ),
    Difference(
        "cite-invented",
        "one citation out of range voids the sentence, whose citations are then left out of precision",
        "the other citations still count, and the invented one counts against precision",
        "inventing a citation must lower precision, not hide the others",
    ),
    Difference(
        "cite-repeated",
        "a document cited twice in a sentence counts as two citations",
        "it counts once",
        "precision would depend on repetition",
    ),
    Difference(
        "cite-lists",
        "`[1, 2]` cites document 1 alone, `[ 1]` nothing",
        "all its numbers are cited, white space or not",
        "that is what the model says",
    ),
    Difference(
        "cite-question",
        "a bracketed number in a QAMPARI question is read as a citation of every answer",
        "only the answer's own citations count",
        "the model did not write the question",
    ),
    Difference(
        "answer-lines",
        "QAMPARI answers are separated by commas alone; lines run together",
        "a new line separates answers too, and list markers are dropped",
        "a list on lines is a list",
    ),
    Difference(
        "answer-commas",
        "a QAMPARI answer that holds a comma can never be found",
        "neighbouring items that together are a gold count as that answer",
        "Washington, D.C. is one place",
    ),
    Difference(
        "answer-repeated",
        "a repeated QAMPARI answer counts again for precision",
        "it counts once",
        "repeating one right answer would drown the wrong ones",
    ),
)
