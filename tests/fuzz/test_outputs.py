"""Whatever a model writes gets scores: finite, in their range, and soon."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks import alce, citations, metrics, parsing
from tasks.example import Example
from tasks.judges import Cached, ExactWords, KnownFacts
from tasks.modes import Mode
from tasks.records import FieldError
from tasks.scoring import EXAMPLES, score
from tasks.sentences import SPLITTERS
from tests.fuzz.hostile import changed, fuzz, survives, texts, within

MODES = st.sampled_from(["parity", "strict"])
COUNTS = {"length", "num_preds"}
DOCS = [{"title": "Rome", "text": "Rome is in Italy."}, {"title": "Oslo", "sent": "Oslo.", "text": "Oslo is in Norway."}]
#: Task -> a record that it scores.
RECORDS: dict[str, dict[str, Any]] = {
    **{task: {"id": "q", "answer": "Rome", "answers": ["Rome", "the city"], "outputs": ["12", "13"]} for task in EXAMPLES},
    "alce_asqa_30": {
        "docs": DOCS,
        "qa_pairs": [{"short_answers": ["Rome", "Roma"]}, {"short_answers": ["Oslo"]}],
        "annotations": [{"long_answer": "Rome is in Italy. Oslo is not."}],
    },
    "alce_qampari_30": {"docs": DOCS, "question": "Which?", "answers": [["Rome", "Roma"], ["Oslo, Norway"]]},
    "msmarco_rerank_psg": {"qid": "7", "ctxs": [{"id": "1", "label": 3}, {"id": "12", "label": "0"}]},
    "infbench_choice_eng_130862": {"answer": ["Rome"], "options": ["Oslo", "Rome"]},
    "multi_lexsum_130372": {"answer": "It was settled.", "summary/short": "Settled."},
    "cite_facts": {"answers": ["Rome is in Italy."], "support": {"Rome is in Italy.": [1, [2, 3]]}, "documents": 3},
    "niah_mk": {"answer": ["8471", "12"]},
    "rerank_reports": {"grades": {"1": 2, "2": 0}},
    "story_one": {"answer": ["Rome"]},
    "story_order": {"answer": ["B", "B. hide it"]},
    "story_summary": {"keypoints": [{"terms": [["Mira Tolvane"], ["Joren Harrick"], ["gave", "got"]], "before": [0, 1]}]},
}
TASKS = st.sampled_from(sorted(RECORDS))


def check(found: Mapping[str, float]) -> None:
    for name, value in found.items():
        assert math.isfinite(value), name
        assert value >= 0, name
        assert name in COUNTS or value <= 1, name


#: A bracket or an "id", then white space and no number: reading it took the square of its length.
RUNAWAYS = ["[" + " " * 50_000, "id" + " " * 50_000, "[ID " + "\t" * 50_000, "id:" + "\n" * 50_000, " " * 50_000, "[1" + " " * 50_000]


@fuzz
@given(texts)
@example(RUNAWAYS[0])
@example(RUNAWAYS[1])
@example(RUNAWAYS[2])
@example(RUNAWAYS[3])
def test_rankings_and_answers_are_read(output: str) -> None:
    with within():
        for identity in parsing.ranking(output):
            assert identity.isdecimal()
        assert parsing.published_ranking(output)
        assert "\n" not in parsing.answer_text(output)
        assert parsing.body_text(output) in output
        assert parsing.published_answer(output, "label:") is not None


@fuzz
@given(texts, st.integers(0, 40), MODES, texts)
@example(RUNAWAYS[4], 5, "strict", "")
@example(RUNAWAYS[5], 5, "strict", "")
@example("[" + "1" * 5000 + "]", 5, "strict", "")
@example("[" + "1" * 5000 + "]", 5, "parity", "")
def test_citations_point_at_documents(output: str, documents: int, mode: Mode, about: str) -> None:
    with within():
        for sentence in citations.sentences(output, SPLITTERS["simple"]):
            claim = citations.claim(sentence, documents, mode, about=about)
            assert len(claim.cited) <= citations.MOST_CITATIONS
            assert all(-1 <= position < documents for position in claim.cited)
        assert all(isinstance(item, str) for item in alce.items(output, mode))


@fuzz
@given(texts, st.lists(texts, min_size=1, max_size=3), MODES)
@example("\x00", ["\x00"], "strict")
def test_texts_are_compared(output: str, golds: list[str], mode: Mode) -> None:
    rule = metrics.COMPARISONS[mode]
    with within():
        check(metrics.answer_metrics(output, golds, rule, with_rouge=False))
        check({"str_em": metrics.str_em(output, golds, rule), "recall": metrics.ruler_recall(output, golds, mode)})


@fuzz
@given(st.lists(texts, max_size=5), st.dictionaries(texts, st.integers(-1000, 1000), min_size=1, max_size=4))
@example(["a\x00b", "a"], {"a": 1})
@example(["\ud800"], {"\ud800": 1})
@example([""], {"": 1})
def test_documents_are_ranked(ranked: list[str], grades: dict[str, int]) -> None:
    with within():
        check(metrics.ranking_metrics(ranked, grades))


@fuzz
@given(TASKS, texts, MODES, st.sampled_from(sorted(SPLITTERS)))
def test_any_output_of_a_sound_record_is_scored(task: str, output: str, mode: Mode, sentences: str) -> None:
    with within(30):
        check(score(task, RECORDS[task], output[:5000], mode=mode, judge=Cached(ExactWords()), sentences=sentences))


@fuzz
@given(TASKS.flatmap(lambda task: st.tuples(st.just(task), changed(RECORDS[task]))), texts, MODES)
def test_a_record_is_scored_or_its_field_named(found: tuple[str, Any], output: str, mode: Mode) -> None:
    task, record = found
    if not isinstance(record, dict):
        return
    scores = survives(lambda: score(task, record, output[:300], mode=mode, judge=ExactWords(), sentences="simple"), FieldError)
    if scores is not None:
        check(scores)


@fuzz
@given(changed(RECORDS["cite_facts"]), texts)
@example({**RECORDS["cite_facts"], "support": {"Rome": [[[]]]}}, "")
@example({**RECORDS["cite_facts"], "documents": 10**400}, "")
@example({**RECORDS["cite_facts"], "documents": 10**12}, "")
def test_generated_facts(record: Any, output: str) -> None:
    if not isinstance(record, dict):
        return
    made = Example("e", "q", "cite_facts", "cite", 512, "p", "", ("Rome",), "a", 0.5, record)
    survives(lambda: score("cite_facts", made, output[:2000], mode="strict"), FieldError)


@fuzz
@given(st.lists(st.tuples(texts, texts), max_size=3))
@example([("1" * 5000, "fact")])
def test_judges_take_any_text(pairs: list[tuple[str, str]]) -> None:
    with within():
        assert len(Cached(ExactWords()).entails(pairs)) == len(pairs)
        assert len(KnownFacts({"fact": [1, [2, 3]]}).entails(pairs)) == len(pairs)


@pytest.mark.parametrize("output", RUNAWAYS)
def test_a_whole_score_of_a_runaway_output(output: str) -> None:
    with within():
        check(score("msmarco_rerank_psg", RECORDS["msmarco_rerank_psg"], output, mode="strict"))
        check(score("alce_qampari_30", RECORDS["alce_qampari_30"], output, mode="strict", sentences="simple"))
