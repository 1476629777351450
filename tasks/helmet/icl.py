"""ICL: TREC (coarse and fine), BANKING77, CLINC150 and NLU with many shots, balanced over the classes, labels replaced by numbers.

    text: "how do i track my card"   label: 11   ->   "how do i track my card\\nlabel: 53" among hundreds of shots

Shots, and which number stands for which class, are drawn anew for each question, seeded by its text. The questions are balanced over the
classes where the file has more than are asked. The edition of December 2024 drew otherwise: :mod:`tasks.editions`.
"""

import math
from collections import Counter
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
    """Ask for the number of the last text's class."""
    train, test = _rows(request)
    groups = by_class([label for _, label in train])
    same = request.edition == "2024-12"
    times = Counter[int]()
    for index in asked(request, [label for _, label in test]):
        text, label = test[index]
        seed = request.seed if same else hashed(text, request.seed)
        shots = [train[shot] for shot in balanced(groups, request.size, seed)]
        times[index] += 1
        yield _example(request, shots, (index + 1, times[index]), text, label)


def asked(request: Request, labels: Sequence[int]) -> list[int]:
    """Choose the rows that are asked about, by the class of every row: all of them in order if they are no more than the limit.

    Balanced over the classes, a class with too few rows repeats them.
    """
    if len(labels) <= request.examples:
        return list(range(len(labels)))
    order = permutation(len(labels), request.seed)
    if request.edition == "2024-12":
        return order[: request.examples]
    return [order[place] for place in balanced(by_class([labels[index] for index in order]), request.examples, request.seed)]


def by_class(labels: Sequence[int]) -> list[list[int]]:
    """Group the positions of ``labels`` by class, in the order in which the classes first occur."""
    groups: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        groups.setdefault(label, []).append(position)
    return list(groups.values())


def balanced(groups: Sequence[Sequence[int]], n: int, seed: int) -> list[int]:
    """Draw ``n`` of the positions in ``groups``, in rounds that hold each group once, shuffled within a round.

    A group with too few members repeats them. The draws come in HELMET's order, so that the same seed gives the same positions.
    """
    rng = Random(seed)
    rounds: list[list[int]] = [[] for _ in range(math.ceil(n / len(groups)))]
    for members in groups:
        drawn = rng.sample(range(len(members)), len(rounds) % len(members))  # the remainder first, then whole passes
        while len(drawn) < len(rounds):
            drawn += rng.sample(range(len(members)), min(len(rounds) - len(drawn), len(members)))
        for one, index in zip(rounds, drawn, strict=True):
            one.append(members[index])
    for one in rounds:
        rng.shuffle(one)
    return [position for one in rounds for position in one][:n]


def numbered(classes: int, text: str, seed: int) -> list[int]:
    """Choose the number that stands for each class where ``text`` is asked."""
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


def _example(request: Request, shots: Sequence[Row], row: tuple[int, int], text: str, label: int) -> Example:
    """Make the example of a test row: its number, and how many times it has been asked with this one."""
    number, time = row
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
        time=time,
        prefix=wording.prefix,
        targets=(gold,),
        answer=f"label: {gold}",
        meta={"question": text, "answer": gold, "class": label, "shots": len(fitted.kept)},
    )
