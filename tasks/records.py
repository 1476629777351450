"""Read the fields of a published record, or of a HELMET result, which holds the same fields beside the output."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

Record: TypeAlias = Mapping[str, object]
#: trec_eval keeps a counter for every grade up to the highest.
_MOST_RELEVANT: Final = 1000
#: More than any context holds; what is not bounded could ask for more memory than there is.
_MOST_DOCUMENTS: Final = 1_000_000


#: Answers, documents and the like that one record may have; the published ones have up to a thousand.
_LONGEST_LIST: Final = 5_000


class FieldError(ValueError):
    """A record that cannot be scored: ``field`` is missing or holds something else."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"field {field!r} {problem}")
        self.field = field
        self.index: int | None = None
        """Which of many records, from 0."""


def identity(record: Record) -> object:
    """Say what the record is called: its ``id``, ``qid`` or ``sample_id``; None if it has no name."""
    return next((record[field] for field in ("id", "qid", "sample_id") if record.get(field) is not None), None)


def text(record: Record, field: str) -> str:
    """Read the text in ``field``."""
    value = _find(record, (field,), "it holds text")
    if not isinstance(value, str):
        raise FieldError(field, f"holds {_kind(value)}; it has to be text")
    return value


def golds(record: Record, *fields: str) -> list[str]:
    """Read the gold answers in the first of ``fields`` that is there: text, a list of texts, or a list of lists, which is flattened."""
    value = _find(record, fields, "it holds the gold answer, or a list of them")
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and value:
        flat = [gold for item in value for gold in (item if isinstance(item, Sequence) and not isinstance(item, str) else [item])]
        if flat and all(isinstance(gold, str) for gold in flat):
            return flat
    raise FieldError(_first(record, fields), f"holds {_kind(value)}; it has to be the gold answer, or a list of at least one")


def option(record: Record) -> tuple[str, str]:
    """Read (letter, "letter. text") of the right option, from a result or from a published record with its list of ``options``."""
    answer = golds(record, "answer")
    options = record.get("options")
    if isinstance(options, Sequence) and not isinstance(options, str):
        if answer[0] not in options:
            raise FieldError("options", "does not hold the answer")
        letter = chr(ord("A") + list(options).index(answer[0]))
        return letter, f"{letter}. {answer[0]}"
    if len(answer) != 2:
        raise FieldError("answer", "has to be the letter and the option, or the option beside a list of 'options'")
    return answer[0], answer[1]


def aliases(record: Record, field: str) -> list[list[str]]:
    """Read a list of answers, each a list of its names (QAMPARI)."""
    value = _find(record, (field,), "it holds a list of answers, each a list of its names")
    if isinstance(value, Sequence) and not isinstance(value, str) and value and all(_is_texts(item) for item in value):
        return [list(item) for item in value]
    raise FieldError(field, f"holds {_kind(value)}; it has to be a list of at least one answer, each a list of its names")


def short_answers(record: Record) -> list[list[str]]:
    """List the names of each short answer in ``qa_pairs`` (ASQA)."""
    value = _find(record, ("qa_pairs",), "it holds a list of questions with 'short_answers'")
    pairs = value if isinstance(value, Sequence) and not isinstance(value, str) else []
    found = [pair.get("short_answers") if isinstance(pair, Mapping) else None for pair in pairs]
    if not found or not all(_is_texts(item) for item in found):
        raise FieldError("qa_pairs", "has to be a list of at least one object, each with a list of 'short_answers'")
    return [list(item) for item in found if isinstance(item, Sequence)]


def long_answers(record: Record) -> list[str]:
    """Read written-out golds: the first two ``long_answer`` of ``annotations``, or else ``answer``; empty if the record has neither."""
    annotations = record.get("annotations")
    if annotations and isinstance(annotations, Sequence) and not isinstance(annotations, str):
        found = [item.get("long_answer") for item in annotations[:2] if isinstance(item, Mapping)]
        if found and _is_texts(found):
            return [str(item) for item in found]
        raise FieldError("annotations", "has to be a list of objects with a text 'long_answer'")
    answer = record.get("answer")
    return [answer] if isinstance(answer, str) else []


def passages(record: Record) -> list[str]:
    """Read documents as ALCE shows them to the judge: title, then text (``sent`` where the document is an extract)."""
    value = _find(record, ("docs",), "it holds the documents that can be cited")
    found = []
    for number, document in enumerate(value if isinstance(value, Sequence) and not isinstance(value, str) else [None], 1):
        body = document.get("sent", document.get("text")) if isinstance(document, Mapping) else None
        title = document.get("title") if isinstance(document, Mapping) else None
        if not isinstance(body, str) or not isinstance(title, str):
            raise FieldError("docs", f"has to be a list of objects with a text 'title' and 'text'; number {number} is not")
        found.append(f"Title: {title}\n{body}")
    return found


def grades(record: Record) -> dict[str, int]:
    """Read document ID -> relevance: from ``qrel`` ([ID, grade] pairs, in results), ``grades``, or ``ctxs`` (in published records)."""
    value = _find(record, ("qrel", "grades", "ctxs"), "it holds the documents with 'id' and 'label'")
    field = _first(record, ("qrel", "grades", "ctxs"))
    pairs: list[tuple[object, object]]
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        pairs = [_graded(field, item) for item in value]
    else:
        raise FieldError(field, f"holds {_kind(value)}; it has to be a list of documents")
    try:
        found = {str(name): int(str(grade)) for name, grade in pairs}
    except ValueError:
        found = {}
    if not found or max(map(abs, found.values())) > _MOST_RELEVANT:
        raise FieldError(field, f"has to hold documents with relevance grades, whole numbers up to {_MOST_RELEVANT}")
    return found


def check_support(record: Record) -> None:
    """Raise FieldError unless ``support`` maps facts to documents by number, alone or in lists, and ``documents`` counts the documents."""
    support = _find(record, ("support",), "it maps each fact to the documents that hold it")
    entries = list(support.values()) if isinstance(support, Mapping) else [None]
    if not all(isinstance(each, Sequence) and all(_is_number(item) or _is_numbers(item) for item in each) for each in entries):
        raise FieldError("support", "has to map each fact to a list of documents' numbers, or of lists of them")
    if "documents" in record and not _is_number(record["documents"]):
        raise FieldError("documents", f"has to be the number of documents, at most {_MOST_DOCUMENTS}")


def _is_numbers(value: object) -> bool:
    return isinstance(value, Sequence) and all(map(_is_number, value))


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST_DOCUMENTS


def _graded(field: str, item: object) -> tuple[object, object]:
    if isinstance(item, Mapping) and "id" in item and "label" in item:
        return item["id"], item["label"]
    if isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2:
        return item[0], item[1]
    raise FieldError(field, "has an item without 'id' and 'label'")


def _find(record: Record, fields: Sequence[str], what: str) -> object:
    field = _first(record, fields)
    if record.get(field) is None:
        raise FieldError(field, f"is {'null' if field in record else 'missing'}; {what}")
    value = record[field]
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > _LONGEST_LIST:
        raise FieldError(field, f"holds {len(value)} of what there are at most {_LONGEST_LIST}")
    return value


def _first(record: Record, fields: Sequence[str]) -> str:
    return next((field for field in fields if record.get(field) is not None), fields[0])


def _is_texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, str) for item in value)


def _kind(value: object) -> str:
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", dict: "an object"}
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return names.get(type(value), "nothing") if value is not None else "null"
