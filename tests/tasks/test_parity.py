"""Parity with the published scorers: figures worked out by hand from HELMET's and ALCE's programs, quirk by quirk."""

import math

import pytest

from tasks.judges import ExactWords
from tasks.scoring import score, score_all

DOCS = [{"title": "Drums", "text": "the red drum"}, {"title": "Kites", "text": "a blue kite"}, {"title": "Boats", "text": "an old boat"}]
ASQA = {"question": "What?", "docs": DOCS, "qa_pairs": [{"short_answers": ["red drum", "crimson drum"]}, {"short_answers": ["kite"]}]}
QAMPARI = {"question": "Drums", "docs": DOCS, "answers": [["red", "crimson"], ["blue"], ["old"], ["new"], ["odd"], ["even"]]}
SHOTS = "icl_trec_coarse_400shot_balance"


@pytest.mark.parametrize(
    ("output", "gold", "em", "f1", "substring"),
    [
        ("The Paris!", "paris", 1, 1, 1),
        ("It is Paris\nOr Rome", "Rome", 0, 1 / 3, 1),
        ("I think so. Answer: Rome\nQuestion: next", "Rome", 1, 1, 1),
        ("answer:ANSWER:  Rome", "Rome", 1, 1, 1),
        ("Answer:\nRome", "Rome", 0, 2 / 3, 1),
        ("13", "3", 0, 0, 1),
        ("yes it is", "yes", 0, 0, 1),
        ("yes", "yes it is", 0, 0, 0),
        ("Paris", "The", 0, 0, 1),
        ("", "a", 1, 0, 1),
        ("", "Rome", 0, 0, 0),
    ],
)
def test_short_answers(output: str, gold: str, em: float, f1: float, substring: float) -> None:
    found = score("kilt_nq", {"answers": ["xyz", gold]}, output)
    assert (found["exact_match"], found["f1"], found["substring_exact_match"]) == (em, pytest.approx(f1), substring)


def test_rouge_stems_and_takes_the_better_gold() -> None:
    found = score("narrativeqa_130772", {"answer": ["dogs running home", "cats"]}, "dog runs")
    assert found["rougeL_f1"] == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert found["rougeL_recall"] == pytest.approx(2 / 3)
    assert found["rougeLsum_f1"] == pytest.approx(found["rougeL_f1"])


def test_golds_may_be_text_a_list_or_lists() -> None:
    for answers in ("Rome", ["Rome"], [["Oslo"], ["Rome"]]):
        assert score("kilt_hotpotqa", {"answers": answers}, "Rome")["exact_match"] == 1


def test_labels_are_scored_on_the_parsed_output_alone() -> None:
    assert score(SHOTS, {"answer": "5"}, "label: 5\nlabel: 7")["exact_match"] == 1
    assert score(SHOTS, {"answer": "7"}, "label: 5\nlabel: 7")["substring_exact_match"] == 0
    assert score(SHOTS, {"answer": "5"}, "5\nrest")["exact_match"] == 1


def test_values_of_a_json_object() -> None:
    record = {"answer": "8f-2c", "question": "k"}
    assert score("json_kv", record, "Corresponding value: 8f-2c")["exact_match"] == 1
    assert score("json_kv", record, "it is 8f-2c, I think")["substring_exact_match"] == 1


def test_ruler_recall() -> None:
    assert score("ruler_niah_mv", {"answer": ["abc", "12", "9"]}, "ABC 4129")["ruler_recall"] == 1
    assert score("ruler_niah_mk_2", {"outputs": ["123"]}, "12")["ruler_recall"] == 0
    assert score("ruler_niah_mk_2", {"answer": "123"}, "12")["ruler_recall"] == pytest.approx(2 / 3), "text is read as characters"


def test_multiple_choice() -> None:
    record = {"answer": ["B", "B. the blue kite"]}
    task = "infbench_choice_eng_130862"
    assert score(task, record, "b")["exact_match"] == 1
    assert score(task, record, "b")["substring_exact_match"] == 0
    assert score(task, record, "Not A. the drum but B. The Blue Kite")["exact_match"] == 1
    assert score(task, {"answer": ["kite"], "options": ["drum", "kite"]}, "Answer: B")["exact_match"] == 1


def ndcg(output: str, **labels: int) -> float:
    contexts = [{"id": name.strip("_"), "label": label, "text": ""} for name, label in labels.items()]
    return score("msmarco_rerank_psg", {"qid": "q", "ctxs": contexts}, output)["NDCG@10"]


def test_rankings() -> None:
    ideal = 3 + 1 / math.log2(3)
    assert ndcg("[ID: 5] > [ID: 3]", _5=3, _3=1, _7=0) == 1
    assert ndcg("ID3 > ID5 > ID3", _5=3, _3=1) == round((1 + 3 / math.log2(3)) / ideal, 5)
    assert ndcg("[ID: 5], [ID: 3]", _5=3, _3=1) == round(3 / ideal, 5), "read as one ID"
    assert ndcg("1000000000 or 3 > 5", _5=3, _3=1) == 0, "longest in characters"
    assert ndcg("none", _5=3, _3=1) == 0
    assert ndcg("5", _5=0, _3=0) == 0


def test_a_result_holds_its_relevance_as_pairs() -> None:
    found = score("msmarco_rerank_psg", {"qid": "q", "qrel": [["5", "3"], ["3", "1"]]}, "3 > 5")
    assert found["MRR"] == 1
    assert found["P@1"] == 1
    assert found["num_preds"] == 2


def asqa(output: str, **changes: object) -> dict[str, float]:
    return score("alce_asqa_30", {**ASQA, **changes}, output, judge=ExactWords(), sentences="simple")


@pytest.mark.parametrize(
    ("output", "recall", "precision"),
    [
        ("The red drum [1]. A blue kite [2].", 1, 1),
        ("The red drum [1][2].", 1, 0.5),
        ("Red kite [1][2].", 1, 1),
        ("The red drum [2]. A blue kite.", 0, 0),
        ("The red drum [1][9]. A blue kite [2].", 0.5, 1),
        ("An old boat [0].", 1, 1),
        ("The red drum [1, 2].", 0, 0),
        ("The red drum [2][2][3][1].", 0, 0),
        ("The red drum [1][1].", 1, 1),
        ("Ah. [1] The red\ndrum [1].", 1, 1),
        ("", 0, 0),
    ],
)
def test_citations_of_sentences(output: str, recall: float, precision: float) -> None:
    found = asqa(output)
    assert (found["citation_rec"], found["citation_prec"]) == (recall, precision)


def test_an_empty_answer_is_left_out_of_the_published_mean() -> None:
    empty, some = score_all("alce_asqa_30", [(ASQA, ""), (ASQA, "Red drum [2].")], judge=ExactWords())
    assert empty.left_out == ("citation_rec", "citation_prec")
    assert some.left_out == ()
    strict = score_all("alce_asqa_30", [(ASQA, "")], mode="strict", judge=ExactWords())
    assert strict[0].left_out == ()


def test_short_answers_are_looked_for_without_citations() -> None:
    found = asqa("The red [1] drum is [2] here |")
    assert found["str_em"] == 0.5
    assert found["str_hit"] == 0
    assert found["length"] == 5
    assert asqa("Crimson drum, kites")["str_hit"] == 1


def test_rouge_against_the_better_annotation() -> None:
    golds = [{"long_answer": "Nothing."}, {"long_answer": "The drum is red. It is old."}]
    assert asqa("The drum is red. It is old [1].", annotations=golds)["rougeLsum"] == 1


def test_lists_of_answers() -> None:
    found = score("alce_qampari_30", QAMPARI, "Crimson [1], blue [2], green, blue, .\n", judge=ExactWords())
    assert found["num_preds"] == 4
    assert found["qampari_prec"] == 0.75
    assert found["qampari_rec"] == pytest.approx(2 / 6)
    assert found["qampari_rec_top5"] == pytest.approx(2 / 5)
    assert found["qampari_f1_top5"] == pytest.approx(2 * 0.75 * 0.4 / 1.15)
    assert found["str_em"] == 0


def test_citations_of_items_include_the_question() -> None:
    record = {**QAMPARI, "question": "drums"}
    found = score("alce_qampari_30", record, "red [1], blue [2],", judge=ExactWords())
    assert found["citation_rec"] == 0.5, "'drums red' stands in document 1, 'drums blue' nowhere"
    assert found["citation_prec"] == 0.5


def test_without_a_judge_there_are_no_citation_scores() -> None:
    assert "citation_rec" not in score("alce_asqa_30", ASQA, "Red drum [1].")
    assert "citation_rec" not in score("alce_asqa_nocite_30", ASQA, "Red drum [1].", judge=ExactWords())
