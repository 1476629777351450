"""Multi-LexSum: civil rights lawsuits by their documents, to be summarised (arXiv 2206.10883).

    {"id": "EE-IL-0001", "sources": ["...", "..."], "summary/long": "...", "summary/short": "...", "summary/tiny": null}

HELMET asks for the short summary; its judge reads the long one beside it.
"""

from collections.abc import Iterator
from typing import Final

from tasks.example import Example
from tasks.helmet.long_texts import Asked, LongRequest, Shot, drawn, none_long_enough
from tasks.helmet.records import Record, parquet_records
from tasks.helmet.selection import permutation

#: Tokens that HELMET asks of a case, at every length.
LEAST: Final = 65_536
_SHORT: Final = "summary/short"
_LONG: Final = "summary/long"


def multi_lexsum(long: LongRequest) -> Iterator[Example]:
    """Ask for a summary of a case of at least 65,536 tokens, of which the prompt shows the beginning."""
    request, path = long.request, long.request.test_file()
    cases = (record for record in parquet_records(path, ("id", "sources", _SHORT)) if _SHORT in record)
    numbers = [record.number for record in cases if long.long_enough(_context(record), LEAST)]
    if not numbers:
        raise none_long_enough(request, LEAST, long.cutter, [path])
    if len(numbers) > request.examples:
        numbers = [numbers[at] for at in permutation(len(numbers), request.seed)[: request.examples]]
    train = parquet_records(request.train_file(), (_SHORT,))
    pool: list[Shot] = [{"answer": record.text(_SHORT)} for record in train if _SHORT in record]
    wanted = set(numbers)
    made: dict[int, Asked] = {}
    for record in parquet_records(path, ("id", "sources", _SHORT, _LONG)):
        if record.number in wanted:
            made[record.number] = _asked(long, record, pool)
    for number in numbers:
        yield long.example(made.pop(number))


def _context(record: Record) -> str:
    return "\n\n".join(record.texts("sources"))


def _asked(long: LongRequest, record: Record, pool: list[Shot]) -> Asked:
    name, summary = record.text("id"), record.text(_SHORT)
    return Asked(
        number=record.number,
        text=name,
        context=long.cut(_context(record)),
        shots=drawn(pool, name, long.request),
        values={},
        targets=(summary,),
        answer=summary,
        meta={"id": name, _LONG: record.text(_LONG, null=True)},
    )
