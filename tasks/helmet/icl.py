"""ICL: TREC (coarse and fine), BANKING77, CLINC150 and NLU with many shots, balanced over the classes, labels replaced by numbers.

    text: "how do i track my card"   label: 11   ->   "how do i track my card\\nlabel: 53" among hundreds of shots

The shots are the same for every question of a dataset; which number stands for which class is drawn anew for each.
"""

import math
from collections.abc import Iterator, Sequence
from random import Random

from tasks.example import Example
from tasks.helmet.fit import Piece, fit
from tasks.helmet.records import DataError, parquet_rows
from tasks.helmet.request import Request
from tasks.helmet.selection import hashed, permutation, split
from tasks.helmet.wordings import fill

Row = tuple[str, int]
"""Text and class."""


def icl(request: Request) -> Iterator[Example]:
    """The number of the last text's class."""
    train, test = _rows(request)
    shots = balanced(train, request.size, request.seed)
    order = permutation(len(test), request.seed)[: request.examples] if len(test) > request.examples else range(len(test))
    for index in order:
        yield _example(request, shots, index + 1, *test[index])


def balanced(rows: Sequence[Row], shots: int, seed: int) -> list[Row]:
    """``shots`` rows in rounds that hold each class once, shuffled within a round; a class with too few rows repeats them."""
    rng = Random(seed)
    by_class: dict[int, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row[1], []).append(row)
    rounds: list[list[Row]] = [[] for _ in range(math.ceil(shots / len(by_class)))]
    for members in by_class.values():
        # In HELMET's order of draws, so that the same seed gives the same shots: the remainder first, then whole passes.
        drawn = rng.sample(range(len(members)), len(rounds) % len(members))
        while len(drawn) < len(rounds):
            drawn += rng.sample(range(len(members)), min(len(rounds) - len(drawn), len(members)))
        for one, index in zip(rounds, drawn, strict=True):
            one.append(members[index])
    for one in rounds:
        rng.shuffle(one)
    return [row for one in rounds for row in one][:shots]


def numbered(classes: int, text: str, seed: int) -> list[int]:
    """The number that stands for each class where ``text`` is asked."""
    labels = list(range(classes))
    Random(hashed(text, seed)).shuffle(labels)
    return labels


def _rows(request: Request) -> tuple[list[Row], list[Row]]:
    """Training and test rows; NLU has one split, of which HELMET tests on a tenth."""
    dataset = request.dataset
    test = _read(request, dataset.test_file(request.length).path)
    if dataset.train != dataset.test_file(request.length).path:
        return _read(request, dataset.train), test
    kept, asked = split(len(test), 0.1, request.seed)
    return [test[index] for index in kept], [test[index] for index in asked]


def _read(request: Request, path: str) -> list[Row]:
    file, classes = request.find(path), request.dataset.classes
    rows = parquet_rows(file, "text", request.dataset.label)
    for number, (_, label) in enumerate(rows, 1):
        if not 0 <= label < classes:
            raise DataError(
                f"{file}, row {number}: field {request.dataset.label!r} is {label}, not one of the {classes} classes 0-{classes - 1}; "
                "this is another edition of the set: get it again with `harness data fetch`"
            )
    return rows


def _example(request: Request, shots: Sequence[Row], number: int, text: str, label: int) -> Example:
    wording = request.wording
    numbers = numbered(request.dataset.classes, text, request.seed)
    pieces = [Piece(fill(wording.passage, {"text": shot, "label": str(numbers[kind])})) for shot, kind in shots]

    def render(parts: Sequence[str]) -> str:
        return fill(wording.user, {"context": "\n\n".join(parts), "question": text})

    def tokens(prompt: str) -> int:
        return request.count(prompt, wording.joint + wording.prefix)

    fitted = fit(pieces, render, tokens, request.room, request.title, least=1)
    gold = str(numbers[label])
    return request.example(
        number,
        text,
        fitted,
        prefix=wording.prefix,
        targets=(gold,),
        answer=f"label: {gold}",
        meta={"question": text, "answer": gold, "class": label, "shots": len(fitted.kept)},
    )
