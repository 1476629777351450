"""Re-rank: MS MARCO passages with graded relevance (TREC 2019 deep learning, arXiv 2003.07820).

{"qid": "1063750", "query": "why did the us ...", "ctxs": [{"id": "4012", "text": "...", "label": 3}, ...]}
"""

from collections.abc import Iterator, Sequence

from tasks.example import Example
from tasks.helmet.fit import Piece, fit
from tasks.helmet.records import DataError, Record, json_lines, read_span
from tasks.helmet.request import Request
from tasks.helmet.selection import demonstrations, sample_keys
from tasks.helmet.wordings import Wording, fill


def msmarco(request: Request) -> Iterator[Example]:
    """Ask for all documents in order of relevance, after two worked examples of ten documents each."""
    path = request.test_file()
    rows = [(span, record.key("qid")) for span, record in json_lines(path)]
    keys = sample_keys([key for _, key in rows], request.examples, request.seed)
    chosen = [(span, str(key)) for span, key in rows if str(key) in keys]
    pool = [record for _, record in json_lines(request.train_file())]
    # HELMET keeps every tested query out of the worked examples where there are plenty, and otherwise only the one that is asked.
    apart = len(pool) > 2 * len(chosen)
    for span, key in chosen:
        record = read_span(path, span, "line")
        barred = keys if apart else {key}
        yield _example(request, record, key, _demos(request, [demo for demo in pool if demo.text("qid") not in barred], key))


def _example(request: Request, record: Record, key: str, demos: str) -> Example:
    wording, query, documents = request.wording, record.text("query"), record.records("ctxs")
    pieces = [Piece(_passage(wording, document), document.number_of("label") > 0) for document in documents]

    def render(parts: Sequence[str]) -> str:
        return fill(wording.user, {"context": "\n\n".join(parts), "question": query, "demos": demos})

    def tokens(prompt: str) -> int:
        return request.count(prompt, wording.joint + wording.prefix)

    fitted = fit(pieces, render, tokens, request.room, request.title, least=1)
    grades = {document.text("id"): int(document.number_of("label")) for document in documents}
    return request.example(
        record.number,
        key,
        fitted,
        prefix=wording.prefix,
        targets=tuple(name for name in _ranked(documents) if grades[name] > 0),
        answer=" > ".join(_ranked([documents[index] for index in fitted.kept])),
        meta={
            "qid": key,
            "query": query,
            "question": query,
            "qrel": [[name, str(grade)] for name, grade in grades.items()],
            "grades": grades,
            "passages": len(fitted.kept),
        },
    )


def _ranked(documents: Sequence[Record]) -> list[str]:
    """Identifiers, best first; ties as they come."""
    return [document.text("id") for document in sorted(documents, key=lambda document: -document.number_of("label"))]


def _passage(wording: Wording, document: Record) -> str:
    values = {"id": document.text("id"), "text": document.text("text")}
    return fill(wording.passage, {**values, "title": document.text("title")}) if "title" in document else fill(wording.untitled, values)


def _demos(request: Request, pool: Sequence[Record], key: str) -> str:
    wording, shots = request.wording, request.dataset.shots
    found = demonstrations(pool, "qid", key, shots)
    if len(found) < shots:
        raise DataError(
            f"{request.train_file()}: {len(found)} queries to choose {shots} worked examples from; "
            "the file is cut short: get it again with `harness data fetch`"
        )
    return "".join(
        fill(
            wording.demo,
            {
                "documents": "\n\n".join(_passage(wording, document) for document in demo.records("ctxs")),
                "question": demo.text("query"),
                "answer": " > ".join(_ranked(demo.records("ctxs"))),
            },
        )
        + wording.demo_joint
        for demo in found
    )
