"""Score one output of any task: the published ones by the names in HELMET's configs, and the generated ones.

    score("kilt_nq", {"answers": ["Paris"]}, "Answer: Paris")   ->   {"exact_match": 1.0, "f1": 1.0, ...}

A *family* is a way of scoring. Its scorer is a generator in rounds (:mod:`tasks.judges`), so that citation scores of a whole file are
judged in batches; all other families never ask.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from tasks import alce, citations, keypoints, metrics, parsing, records
from tasks.citations import remove_citations, remove_listed_citations
from tasks.example import Example
from tasks.judges import Judge, Rounds, settle_all
from tasks.metrics import COMPARISONS, is_unspaced
from tasks.modes import Mode
from tasks.numerals import holds_digits, is_marked
from tasks.records import FieldError, Record
from tasks.sentences import SPLITTERS, Splitter
from tasks.thoughts import answer_after, holds_several, holds_thoughts

_CITED: Final = ("citation_rec", "citation_prec")
#: trec_eval's figures as HELMET writes them.
_DIGITS: Final = 5


@dataclass(frozen=True)
class Scored:
    """The scores of one output."""

    metrics: Mapping[str, float]
    """Name -> value; in [0, 1] except ``length`` (words) and ``num_preds`` (items)."""
    left_out: tuple[str, ...] = ()
    """Metrics whose published mean leaves this output out (parity, difference ``cite-empty``); their value is 0."""
    parsed: str = ""
    """What was read as the answer; empty where the whole output is."""


#: Characters of an output: some hundred times those that an answer may have, room for thoughts included.
_LONGEST_OUTPUT: Final = 400_000


@dataclass(frozen=True)
class How:
    """The settings of one scoring."""

    mode: Mode
    split: Splitter
    judged: bool
    """Is there a judge for citations?"""
    task: str
    rouge: bool
    """Is ROUGE wanted? It takes seconds to load."""


Scorer = Callable[[Record, str, How], Rounds[Scored]]


@dataclass(frozen=True)
class Family:
    """A way of scoring and the tasks it is for."""

    names: str
    """Regular expression of the task names, all of the name."""
    category: str
    headline: tuple[str, ...]
    """The metrics that HELMET's tables show; ROUGE where they show a model's judgement."""
    scorer: Scorer
    judged: bool = False


class UnknownTaskError(ValueError):
    """No family scores a task of that name."""


def score(
    task: str,
    record: Example | Record,
    output: str,
    *,
    mode: Mode = "parity",
    judge: Judge | None = None,
    sentences: str = "default",
    only: Collection[str] | None = None,
) -> dict[str, float]:
    """Score one output: metric -> value.

    ``output`` is what the model wrote; in parity, after a prompt without a chat template, the answer's prefix stands before it, as HELMET
    puts it there. ``record`` holds the published fields, or is an example: a generated one, or one whose ``meta`` holds the published
    fields. Citation scores of published tasks need a ``judge`` and are left out without; those of generated tasks are judged exactly.
    ``sentences`` names a splitter (:data:`tasks.sentences.SPLITTERS`), ``only`` the metrics to return (default: all).

    Raises :class:`UnknownTaskError`, and :class:`tasks.records.FieldError` if the record lacks what the task needs.
    """
    return dict(score_all(task, [(record, output)], mode=mode, judge=judge, sentences=sentences, only=only)[0].metrics)


def score_all(
    task: str,
    outputs: Sequence[tuple[Example | Record, str]],
    *,
    mode: Mode = "parity",
    judge: Judge | None = None,
    sentences: str = "default",
    only: Collection[str] | None = None,
) -> list[Scored]:
    """Score as :func:`score` does many (record, output) pairs of one task, in order; the judge is asked three times in all.

    A :class:`tasks.records.FieldError` says which pair in its ``index``.
    """
    found = family(task)
    rouge = only is None or any(name.startswith("rouge") for name in only)
    how = How(mode, SPLITTERS[sentences], judge is not None, task, rouge)
    scored = settle_all([_numbered(found.scorer, index, item, how) for index, item in enumerate(outputs)], judge)
    if only is None:
        return scored
    return [replace(each, metrics={name: each.metrics[name] for name in only if name in each.metrics}) for each in scored]


def _numbered(scorer: Scorer, index: int, item: tuple[Example | Record, str], how: How) -> Rounds[Scored]:
    try:
        if len(item[1]) > _LONGEST_OUTPUT:
            raise FieldError("output", f"has {len(item[1])} characters; no answer to these tasks has more than {_LONGEST_OUTPUT}")
        output = answer_after(item[1]) if how.mode == "strict" else item[1]
        return (yield from scorer(fields(item[0]), output, how))
    except FieldError as error:
        error.index = index
        raise


def later_rules(outputs: Iterable[str], *, known_golds: bool = True) -> list[str]:
    """Name the strict rules that were added after version 3 of the scoring and touch these outputs, so that they are scored anew.

    Golds of our own tasks are words and plain numbers; others may be numbers with marks, which touch an output of digits alone.
    """
    rules = {
        "thoughts": holds_thoughts,
        "several thoughts": holds_several,
        "unspaced": is_unspaced,
        "numbers": is_marked if known_golds else holds_digits,
    }
    return sorted({name for output in outputs for name, touches in rules.items() if touches(output)})


def family(task: str) -> Family:
    """Find the family that scores ``task``."""
    for each in FAMILIES:
        if re.fullmatch(each.names, task):
            return each
    known = ", ".join(EXAMPLES)
    raise UnknownTaskError(f"no scorer for task {task!r}; write a name as in HELMET's configs, such as {known}")


def fields(record: Example | Record) -> Record:
    """Give what scorers read: a published record as it is; of an example, its targets and metadata."""
    if not isinstance(record, Example):
        return record
    return {"id": record.id, "answer": list(record.targets), "answers": list(record.targets), **record.meta}


def _answer(record: Record, output: str, how: How, *, golds: Sequence[str], prefix: str = "Answer:", lines: bool = False) -> Rounds[Scored]:
    """Short answers and summaries: the better of the raw and the parsed output; strictly, the parsed one. ``lines``: of several lines."""
    answers = records.golds(record, *golds)
    if how.mode == "strict":
        parsed = parsing.body_text(output) if lines else parsing.answer_text(output)
        return _known(metrics.answer_metrics(parsed, answers, COMPARISONS[how.mode], with_rouge=how.rouge), parsed=parsed)
    parsed = parsing.published_answer(output, prefix)
    return _known(_better([output, parsed], answers, how), parsed=parsed)


def _better(texts: Sequence[str], answers: Sequence[str], how: How) -> dict[str, float]:
    """Each metric's best over several readings of one output."""
    found = [metrics.answer_metrics(text, answers, COMPARISONS[how.mode], with_rouge=how.rouge) for text in texts]
    return {name: max(each[name] for each in found) for name in found[0]}


def _label(record: Record, output: str, how: How) -> Rounds[Scored]:
    """In-context learning: the parsed label alone counts."""
    parsed = parsing.published_answer(output, "label:") if how.mode == "parity" else parsing.answer_text(output)
    return _known(_better([parsed], records.golds(record, "answer", "answers"), how), parsed=parsed)


def _needles(record: Record, output: str, how: How) -> Rounds[Scored]:
    """RULER: share of the values found anywhere."""
    golds = records.golds(record, "answer", "outputs")
    if how.mode == "parity" and isinstance(record.get("answer", record.get("outputs")), str):
        golds = list(golds[0])
    if not golds:
        raise FieldError("answer", "is empty text; it holds the gold answers")
    return _known({"ruler_recall": metrics.ruler_recall(output, golds, how.mode)})


def _choice(record: Record, output: str, how: How) -> Rounds[Scored]:
    """Multiple choice: the letter, or the letter with its text."""
    letter, full = records.option(record)
    if how.mode == "strict":
        parsed = parsing.answer_text(output)
        found = _better([parsed], [letter, full], how)
        first = re.match(r"\W*(\w+)", parsed)
        text = full.partition(". ")[2]
        right = (first is not None and first[1].upper() == letter) or metrics.exact_match(parsed, [text]) == 1
        return _known({**found, "exact_match": float(right), "substring_exact_match": float(right)}, parsed=parsed)
    parsed = parsing.published_answer(output)
    best = _better([output, parsed], [letter, full], how)
    shown = float(full.lower() in output.lower())
    return _known({**best, "exact_match": max(best["exact_match"], shown), "substring_exact_match": shown}, parsed=parsed)


def _ranking(record: Record, output: str, how: How) -> Rounds[Scored]:
    """Re-ranking against graded relevance."""
    grades = records.grades(record)
    if how.mode == "strict":
        ranked = parsing.ranking(output)
        return _known({**metrics.ranking_metrics(ranked, grades), "num_preds": float(len(ranked))}, parsed=" > ".join(ranked))
    ranked = list(dict.fromkeys(parsing.published_ranking(output)))
    found = metrics.ranking_metrics(ranked, grades)
    rounded = {name: round(value, _DIGITS) for name, value in found.items()}
    return _known({**rounded, "num_preds": float(len(ranked))}, parsed=" > ".join(ranked))


def _asqa(record: Record, output: str, how: How) -> Rounds[Scored]:
    """Prose that holds several short answers, with citations."""
    flat = alce.flatten(output)
    text = remove_citations(flat) if how.mode == "parity" else remove_listed_citations(flat)
    found = {
        "length": alce.words(text),
        **alce.short_answer_metrics(text, records.short_answers(record), COMPARISONS[how.mode]),
        **(alce.long_answer_rouge(text, records.long_answers(record), how.split) if how.rouge else {}),
    }
    return (yield from _cite(record, found, citations.sentences(flat, how.split), how, parsed=text))


def _qampari(record: Record, output: str, how: How) -> Rounds[Scored]:
    """A list of answers joined by commas, with citations. ALCE measures STR-EM of these as 0: they have no questions and answers."""
    found = {
        "length": alce.words(remove_citations(alce.flatten(output))),
        "str_em": 0.0,
        "str_hit": 0.0,
        **alce.list_metrics(output, records.aliases(record, "answers"), how.mode),
    }
    items = alce.items(output, how.mode)
    if how.mode == "strict":
        items = [item for item in items if item]
    about = records.text(record, "question") if how.judged else ""
    return (yield from _cite(record, found, items, how, about, parsed="; ".join(items)))


def _cite(record: Record, found: Mapping[str, float], said: Sequence[str], how: How, about: str = "", *, parsed: str) -> Rounds[Scored]:
    if not how.judged or "nocite" in how.task:
        return Scored(found, parsed=parsed)
    documents = records.passages(record)
    shown = re.search(r"_(\d+)$", how.task)
    claims = [citations.claim(each, len(documents), how.mode, shown=int(shown[1]) if shown else None, about=about) for each in said]
    recall, precision = yield from citations.citation_scores(claims, documents)
    left_out = () if said or how.mode == "strict" else _CITED
    return Scored({**found, **dict(zip(_CITED, (recall, precision), strict=True))}, left_out, parsed)


def _facts(record: Record, output: str, how: How) -> Rounds[Scored]:
    """Generated documents: their facts are known, so citations are judged exactly."""
    records.check_support(record)
    text = remove_citations(alce.flatten(output))
    em = metrics.str_em(text, records.golds(record, "answers"), COMPARISONS[how.mode])
    cited = citations.score_citations(output, record, how.mode)
    left_out = _CITED if how.mode == "parity" and not citations.sentences(alce.flatten(output), SPLITTERS["simple"]) else ()
    return _known({"str_em": em, **dict(zip(_CITED, cited, strict=True))}, left_out, text)


def _summary(record: Record, output: str, how: How) -> Rounds[Scored]:
    """Generated stories: their events are known, so key points are judged exactly."""
    return _known(keypoints.summary_scores(parsing.body_text(output), keypoints.key_points(record)))


def _known(found: Mapping[str, float], left_out: tuple[str, ...] = (), parsed: str = "") -> Rounds[Scored]:
    """A scorer that asks nothing."""
    return Scored(found, left_out, parsed)
    yield


_QA: Final = partial(_answer, golds=("answers", "answer"))
_STORY: Final = partial(_answer, golds=("answer", "answers"))
_NOCITE: Final = r"(?:_nocite)?"
_SIZE: Final = r"(?:_\d+)?"

#: Every family; the name patterns exclude each other.
FAMILIES: Final = (
    Family(r"niah_(?:mk|mv)|ruler_(?:niah_(?:s|mk|mv|mq)|vt|cwe|fwe)(?:_\d+)?", "recall", ("ruler_recall",), _needles),
    Family(
        "json_kv",
        "recall",
        ("substring_exact_match",),
        partial(_answer, golds=("answer", "answers"), prefix="corresponding value:"),
    ),
    Family(
        r"note|rag_qa|(?:kilt_)?(?:nq|triviaqa|hotpotqa)(?:_\w+)?|(?:kilt_)?popqa(?:_[\d.]+)?|ruler_qa(?:_\d+)?",
        "rag",
        ("substring_exact_match",),
        _QA,
    ),
    Family("cite_facts", "cite", ("str_em", *_CITED), _facts),
    Family(rf"alce{_NOCITE}_asqa{_NOCITE}{_SIZE}", "cite", ("str_em", *_CITED), _asqa, judged=True),
    Family(rf"alce{_NOCITE}_qampari{_NOCITE}{_SIZE}", "cite", ("qampari_rec_top5", *_CITED), _qampari, judged=True),
    Family(r"rerank_reports|msmarco(?:_rerank)?(?:_\w+)?", "rerank", ("NDCG@10",), _ranking),
    Family(r"icl_\w+", "icl", ("exact_match",), _label),
    Family("story_(?:one|two)", "longqa", ("substring_exact_match",), _QA),
    Family("story_order", "longqa", ("exact_match",), _choice),
    Family("story_summary", "summ", ("keypoint_f1",), _summary),
    Family(rf"(?:narrativeqa|qasper|infbench_qa_eng){_SIZE}", "longqa", ("rougeL_f1",), _STORY),
    Family(rf"infbench_choice_eng{_SIZE}", "longqa", ("exact_match",), _choice),
    Family(rf"infbench_sum_eng{_SIZE}", "summ", ("rougeL_f1",), partial(_STORY, lines=True)),
    Family(
        rf"multi_lexsum{_SIZE}",
        "summ",
        ("rougeL_f1",),
        partial(_answer, golds=("answer", "summary/short"), prefix="Summary:", lines=True),
    ),
)
#: A task name of every published kind.
EXAMPLES: Final = (
    "ruler_niah_mk_2",
    "json_kv",
    "kilt_nq",
    "kilt_popqa_3",
    "alce_asqa_30",
    "alce_qampari_30",
    "msmarco_rerank_psg",
    "icl_trec_coarse_400shot_balance",
    "narrativeqa_130772",
    "infbench_choice_eng_130862",
    "multi_lexsum_130372",
)
