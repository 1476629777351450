"""Cite: ASQA and QAMPARI with retrieved documents, to be answered with citations (ALCE, arXiv 2305.14627).

    {"question": "...", "qa_pairs": [{"short_answers": ["1998"]}], "annotations": [{"long_answer": "..."}], "docs": [...]}
    {"question": "...", "answers": [["Paris", "City of Paris"], ["Lyon"]], "docs": [{"title": "...", "text": "..."}, ...]}

One file holds 2,000 documents for each question, best first; a length shows so many of them. No document is marked as gold.
"""

from collections.abc import Iterator, Sequence

from tasks.example import Example
from tasks.helmet.fit import Piece, fit
from tasks.helmet.records import Record, Span, json_array, read_span
from tasks.helmet.request import Request
from tasks.helmet.selection import hashed, permutation
from tasks.helmet.wordings import CiteShot, Wording, fill


def alce(request: Request) -> Iterator[Example]:
    """Ask for sentences (ASQA) or a list (QAMPARI) with citations, after two worked examples."""
    path = request.test_file()
    spans: list[Span] = [span for span, _ in json_array(path)]
    for index in permutation(len(spans), request.seed)[: request.examples]:
        yield _example(request, read_span(path, spans[index], "record"))


def _example(request: Request, record: Record) -> Example:
    wording, question, documents = request.wording, record.text("question"), record.records("docs")
    facts = _facts(request, record)
    shown = documents[: request.size]
    pieces = [Piece(_document(wording, number, doc.text("title", null=True), doc.text("text"))) for number, doc in enumerate(shown, 1)]
    demos = _demos(wording, request.dataset.shots, question, request.seed)

    def render(parts: Sequence[str]) -> str:
        values = {"context": "\n\n".join(parts), "question": question, "demo_text": demos, "instruction": wording.instruction}
        return fill(wording.user, values)

    def tokens(prompt: str) -> int:
        return request.count(prompt, wording.joint + wording.prefix)

    fitted = fit(pieces, render, tokens, request.room, request.title, least=1)
    docs = [{"title": shown[index].text("title", null=True), "text": shown[index].text("text")} for index in fitted.kept]
    return request.example(
        record.number,
        question,
        fitted,
        prefix=wording.prefix,
        targets=tuple(names[0] for names in facts),
        answer=_answer(request.dataset.name, facts, docs),
        meta={"question": question, **_scored(record), "docs": docs, "documents": len(documents)},
    )


def _facts(request: Request, record: Record) -> tuple[tuple[str, ...], ...]:
    """The short answers, each with its aliases."""
    if request.dataset.name == "alce_qampari":
        return record.lists("answers")
    return tuple(pair.texts("short_answers") for pair in record.records("qa_pairs"))


def _scored(record: Record) -> dict[str, object]:
    """The fields that the published scorer reads, as they are."""
    kept: dict[str, object] = {name: record.values[name] for name in ("qa_pairs", "answers", "answer", "sample_id") if name in record}
    if "annotations" in record:
        kept["annotations"] = [{"long_answer": note.text("long_answer")} for note in record.records("annotations")]
    return kept


def _document(wording: Wording, number: int, title: str, text: str) -> str:
    return fill(wording.passage, {"ID": str(number), "title": title, "text": text})


def _demos(wording: Wording, shots: int, question: str, seed: int) -> str:
    """``shots`` of the wording's worked examples, the same for a question on every machine."""
    order = permutation(len(wording.shots), hashed(question, seed))[:shots]
    return "".join(_demo(wording, wording.shots[index]) + wording.demo_joint for index in order)


def _demo(wording: Wording, shot: CiteShot) -> str:
    context = "\n\n".join(_document(wording, number, title, text) for number, (title, text) in enumerate(shot.documents, 1))
    values = {"instruction": wording.instruction, "question": shot.question, "context": context, "answer": shot.answer}
    return fill(wording.demo, values)


def _answer(name: str, facts: Sequence[Sequence[str]], docs: Sequence[dict[str, str]]) -> str:
    """Every fact, with the first document that names it."""
    cited = [_cited(names, docs) for names in facts]
    return ", ".join(cited) + "." if name == "alce_qampari" else " ".join(f"{fact}." for fact in cited)


def _cited(names: Sequence[str], docs: Sequence[dict[str, str]]) -> str:
    for number, doc in enumerate(docs, 1):
        for name in names:
            if name.lower() in doc["text"].lower():
                return f"{name} [{number}]"
    return names[0]
