"""What strict mends, difference by difference; and in both modes, a perfect answerer scores 1 and an empty one 0."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.build import Budget, build
from tasks.example import Task
from tasks.judges import ExactWords
from tasks.modes import DIFFERENCES, MODES, Mode
from tasks.scoring import EXAMPLES, FAMILIES, family, score
from tasks.suite import EVERY, TASKS, TERSE

DOCS = [{"title": "Drums", "text": "the red drum"}, {"title": "Kites", "text": "a blue kite"}, {"title": "Boats", "text": "an old boat"}]
ASQA: Mapping[str, object] = {"question": "What?", "docs": DOCS, "qa_pairs": [{"short_answers": ["red drum"]}, {"short_answers": ["kite"]}]}
QAMPARI: Mapping[str, object] = {"question": "Things", "docs": DOCS, "answers": [["red drum"], ["blue kite"]]}
ANSWER: Mapping[str, object] = {"answer": "3", "answers": ["3"]}
RANKED: Mapping[str, object] = {"qid": "q", "ctxs": [{"id": "5", "label": 2}, {"id": "3", "label": 1}, {"id": "7", "label": 0}]}
CHOICE: Mapping[str, object] = {"answer": ["B", "B. the kite"]}


def citing(question: str) -> Mapping[str, object]:
    return {**QAMPARI, "question": question}


#: Difference -> task, record, output, metric, its value in parity and in strict.
CASES: Mapping[str, tuple[str, Mapping[str, object], str, str, float, float]] = {
    "parsed-only": ("kilt_nq", ANSWER, "Answer: 4\nor 3", "substring_exact_match", 1, 0),
    "answer-prefix": ("icl_nlu_510shot_balance", ANSWER, "Label:\n3", "exact_match", 0, 1),
    "whole-words": ("kilt_nq", ANSWER, "13", "substring_exact_match", 1, 0),
    "numbers": ("kilt_nq", {"answers": ["3.5"]}, "35", "substring_exact_match", 1, 0),
    "thoughts": ("kilt_nq", ANSWER, "<think>3?</think>4", "substring_exact_match", 1, 0),
    "empty-gold": ("kilt_nq", {"answers": ["The"]}, "anything", "substring_exact_match", 1, 0),
    "unicode": ("kilt_nq", {"answers": ["Zoé's"]}, "Zoe\u0301’s", "exact_match", 0, 1),
    "gold-text": ("ruler_niah_mk_2", {"answer": "123"}, "3 2 1", "ruler_recall", 1, 0),
    "choice-anywhere": ("infbench_choice_eng_8192", CHOICE, "A, not B. the kite", "exact_match", 1, 0),
    "ranking-run": ("msmarco_rerank_psg", RANKED, "[ID: 5], [ID: 3]", "Recall@5", 0.5, 1),
    "ndcg-digits": ("msmarco_rerank_psg", RANKED, "3 > 5", "NDCG@10", 0.85972, 0.8597186998521972),
    "cite-zero": ("alce_asqa_3", ASQA, "An old boat [0].", "citation_rec", 1, 0),
    "cite-range": ("alce_asqa_2", ASQA, "An old boat [3].", "citation_rec", 1, 0),
    "cite-invented": ("alce_asqa_3", ASQA, "The red drum [1][9].", "citation_prec", 0, 0.5),
    "cite-repeated": ("alce_asqa_3", ASQA, "The kite [2][2][1].", "citation_prec", 1 / 3, 1),
    "cite-lists": ("alce_asqa_3", ASQA, "The red kite [1, 2].", "citation_rec", 0, 1),
    "cite-question": ("alce_qampari_3", citing("drum [1]"), "red", "citation_rec", 1, 0),
    "answer-lines": ("alce_qampari_3", QAMPARI, "1. red drum\n2. blue kite", "qampari_rec", 0, 1),
    "answer-commas": ("alce_qampari_3", {**QAMPARI, "answers": [["Rome, Italy"]]}, "Oslo, Rome, Italy", "qampari_rec", 0, 1),
    "answer-repeated": ("alce_qampari_3", QAMPARI, "red drum, red drum, boat", "qampari_prec", 2 / 3, 0.5),
}


@pytest.mark.parametrize("name", [each.name for each in DIFFERENCES if each.name != "cite-empty"])
def test_a_difference(name: str) -> None:
    task, record, output, metric, parity, strict = CASES[name]
    assert score(task, record, output, judge=ExactWords())[metric] == pytest.approx(parity, abs=1e-12)
    assert score(task, record, output, mode="strict", judge=ExactWords())[metric] == pytest.approx(strict, abs=1e-12)


def test_a_list_of_citations_does_not_split_a_list_of_answers() -> None:
    found = score("alce_qampari_3", citing("Title"), "red drum [1, 2], blue kite [2,3]", mode="strict", judge=ExactWords())
    assert (found["qampari_prec"], found["qampari_rec"], found["citation_rec"]) == (1, 1, 1)
    assert found["citation_prec"] == 0.5


def test_the_docs_hold_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text()
    for each in DIFFERENCES:
        assert f"| `{each.name}` | {each.parity} | {each.strict} | {each.why} |" in text


@pytest.mark.parametrize("name", [*EXAMPLES, *EVERY])
def test_every_name_has_one_family(name: str) -> None:
    assert [bool(re.fullmatch(each.names, name)) for each in FAMILIES].count(True) == 1


@pytest.mark.parametrize("task", EVERY.values(), ids=EVERY)
def test_a_tasks_family_knows_its_category_and_its_metrics(task: Task) -> None:
    """The suite's tasks are scored by their names: one without a family would fail only when its answers are there."""
    found = family(task.name)
    assert found.category == task.category
    assert set(task.metrics) <= set(found.headline)


PERFECT = [
    ("kilt_nq", {"answers": ["Rome", "Roma"]}, "Answer: Rome"),
    ("json_kv", {"answer": "8f2c-11"}, "Corresponding value: 8f2c-11"),
    ("ruler_niah_mv", {"answer": ["12", "34"]}, "they are 12 and 34"),
    ("icl_nlu_510shot_balance", {"answer": "17"}, "label: 17"),
    ("msmarco_rerank_psg", RANKED, "Ranking: [ID: 5] > [ID: 3]"),
    ("alce_asqa_3", ASQA, "The red drum [1]. A blue kite [2]."),
    ("alce_qampari_3", citing("Title"), "red drum [1], a blue kite [2]"),
    ("narrativeqa_130772", {"answer": ["They ran home."]}, "They ran home."),
    ("infbench_choice_eng_8192", CHOICE, "B"),
    ("infbench_choice_eng_8192", CHOICE, "B. the kite"),
    ("infbench_sum_eng_8192", {"answer": ["It began.\n\nIt ended."]}, "It began.\n\nIt ended."),
    ("multi_lexsum_130372", {"summary/short": "They sued."}, "Summary: They sued."),
]


def headline(task: str) -> tuple[str, ...]:
    return family(task).headline


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("task", "record", "output"), PERFECT)
def test_perfect_and_empty_answers(task: str, record: Mapping[str, object], output: str, mode: Mode) -> None:
    perfect, empty = (score(task, record, text, mode=mode, judge=ExactWords()) for text in (output, ""))
    assert {name: perfect[name] for name in headline(task)} == dict.fromkeys(headline(task), pytest.approx(1))
    assert {name: empty[name] for name in headline(task)} == dict.fromkeys(headline(task), 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", [*TASKS.values(), *TERSE.values()], ids=lambda task: task.name)
def test_perfect_and_empty_answers_to_generated_tasks(task: Task, mode: Mode) -> None:
    for example in build(task, Budget(600, lambda text, prefix: len((text + prefix).split())), 6, seed=3):
        assert task.score(example, example.answer, mode) == dict.fromkeys(task.metrics, pytest.approx(1))
        assert task.score(example, "", mode) == dict.fromkeys(task.metrics, 0)


LETTERS = st.characters(categories=["Lu", "Ll", "Nd"], max_codepoint=0x24F)
WORD = st.text(LETTERS, min_size=1, max_size=8).filter(lambda text: text.lower() not in ("a", "an", "the"))
PHRASE = st.lists(WORD, min_size=1, max_size=4).map(" ".join)


@pytest.mark.parametrize("mode", MODES)
@given(golds=st.lists(PHRASE, min_size=1, max_size=3))
def test_any_gold_is_a_perfect_answer(mode: Mode, golds: list[str]) -> None:
    for gold in golds:
        found = score("kilt_nq", {"answers": golds}, f"Answer: {gold}", mode=mode)
        assert found["exact_match"] == found["f1"] == found["substring_exact_match"] == 1
        assert not any(score("kilt_nq", {"answers": golds}, "", mode=mode).values())
        assert score("icl_nlu_9shot_balance", {"answer": gold}, f"label: {gold}", mode=mode)["exact_match"] == 1
        assert score("ruler_niah_mv", {"answer": golds}, " ".join(golds), mode=mode)["ruler_recall"] == 1


@pytest.mark.parametrize("mode", MODES)
@given(labels=st.dictionaries(st.integers(0, 10**6).map(str), st.integers(0, 4), min_size=1, max_size=12))
def test_the_ideal_ranking_is_perfect(mode: Mode, labels: dict[str, int]) -> None:
    record = {"qid": "q", "ctxs": [{"id": name, "label": label, "text": ""} for name, label in labels.items()]}
    best = " > ".join(f"[ID: {name}]" for name in sorted(labels, key=lambda name: -labels[name]))
    assert score("msmarco_rerank_psg", record, best, mode=mode)["NDCG@10"] == pytest.approx(float(any(labels.values())))
    assert score("msmarco_rerank_psg", record, "", mode=mode)["NDCG@10"] == 0


@pytest.mark.parametrize("task", EXAMPLES)
@pytest.mark.parametrize("mode", MODES)
@given(output=st.text(st.sampled_from("aA. \n13>[]:,id—é\ud800٣Answer"), max_size=60))
def test_no_output_breaks_a_scorer(task: str, mode: Mode, output: str) -> None:
    record = {**ASQA, **RANKED, **ANSWER, "answers": [["3"], ["red drum", "a"]]}
    if "choice" in task:
        record |= CHOICE
    for name, value in score(task, record, output, mode=mode, judge=ExactWords(), sentences="default").items():
        assert 0 <= value <= (1 if name != "length" and name != "num_preds" else max(1, len(output)))
