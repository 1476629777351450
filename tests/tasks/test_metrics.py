"""Metrics against figures worked out by hand."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.citations import score_citations
from tasks.metrics import exact_match, holds, normalize, ranking_metrics, rouge, ruler_recall, str_em, substring_exact_match
from tasks.parsing import answer_text, ranking
from tasks.records import FieldError
from tasks.scoring import score


def test_normalize_is_squads() -> None:
    assert normalize("  The Cat's  pyjamas, a hat!") == "cats pyjamas hat"


@pytest.mark.parametrize(
    ("output", "gold", "score"),
    [("It is the Cello.", "cello", 1), ("13", "3", 0), ("violoncello", "cello", 0), ("", "cello", 0), ("anything", "", 0)],
)
def test_substring_exact_match_is_on_whole_words(output: str, gold: str, score: int) -> None:
    assert substring_exact_match(output, [gold]) == score


@pytest.mark.parametrize(("gold", "output"), [("a", "a"), ("ab ab ", "ab ab "), ("\u4e2d", "\u4e2d"), ("ab", "ba")])
def test_a_long_gold_that_repeats_itself_takes_no_longer_than_another(gold: str, output: str) -> None:
    """Anew at each of a million places, one would take hours."""
    begun = time.process_time()
    text = f"x{output * (1_000_000 // len(output))}y"
    substring_exact_match(text, [gold * (100_000 // len(gold))])
    ruler_recall(text, [gold * (100_000 // len(gold))])
    assert time.process_time() - begun < 20


@given(st.text("ab \u4e2d\u0301", min_size=1, max_size=5), st.integers(1, 40), st.text("ab \u4e2d\u0301", max_size=12), st.integers(0, 40))
def test_long_golds_are_found_as_short_ones_are(gold: str, times: int, around: str, more: int) -> None:
    def holds_by_every_place(text: str, gold: str) -> bool:
        return any(text.startswith(gold, at) and holds_at(text, gold, at) for at in range(len(text)))

    def holds_at(text: str, gold: str, at: int) -> bool:
        return holds(text[max(0, at - 1) : at] + gold[:1], gold[:1], str.isspace) and (
            not text[at + len(gold) :] or holds(gold[-1] + text[at + len(gold)], gold[-1], str.isspace)
        )

    long, text = gold * times, around + gold * more + around
    assert holds(text, long, str.isspace) == holds_by_every_place(text, long)


def test_exact_match_and_shares() -> None:
    assert exact_match("Label 17", ["17"]) == 0
    assert exact_match(" 17. ", ["17"]) == 1
    assert str_em("a red kettle", ["red kettle", "blue drum"]) == 0.5
    assert ruler_recall("483291 and 222222", ["483291", "111111", "222222"]) == pytest.approx(2 / 3)


def test_ndcg_by_hand() -> None:
    def ndcg(ranked: list[str]) -> float:
        return ranking_metrics(ranked, grades, [10])["NDCG@10"]

    grades = {"a": 3, "b": 2, "c": 1}
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(["a", "b", "c"]) == pytest.approx(1.0)
    assert ndcg(["x", "b", "a"]) == pytest.approx((2 / math.log2(3) + 3 / math.log2(4)) / ideal)
    assert ndcg(["c", "c", "b"]) == pytest.approx((1 / math.log2(2) + 2 / math.log2(3)) / ideal), "a repeat takes no place"
    assert ndcg([]) == 0


def test_answer_text() -> None:
    assert answer_text("\n\n cello\nmore") == "cello"
    assert answer_text("Well. Label: 12 \nText") == "12"


def test_ranking_takes_the_longest_run() -> None:
    assert ranking("In 2024: 5 > 3\n[ID: 12] > [ID: 4] > 12 > 9") == ["12", "4", "9"]
    assert ranking("nothing") == []


def test_rouge_compares_no_more_than_memory_holds() -> None:
    words = " ".join(map(str, range(9000)))
    with pytest.raises(FieldError, match="has 9000 words and its gold answers 9000"):
        rouge(words, [words])
    assert rouge("a b", ["a b"])["rougeL_f1"] == 1


@pytest.mark.parametrize(
    ("answers", "output", "message"), [(["a"] * 6000, "a", "holds 6000"), (["a"], "a" * 500_000, "has 500000 characters")]
)
def test_a_record_asks_for_no_more_than_makes_sense(answers: list[str], output: str, message: str) -> None:
    with pytest.raises(FieldError, match=message):
        score("kilt_nq", {"answers": answers}, output)


META = {"support": {"Mira Tolvane owns the pale drum.": [3], "Mira Tolvane owns the red kite.": [5]}}


@pytest.mark.parametrize(
    ("output", "recall", "precision"),
    [
        ("Mira Tolvane owns the pale drum [3]. Mira Tolvane owns the red kite [5].", 1, 1),
        ("Mira Tolvane owns the pale drum [3][4]. Mira Tolvane owns the red kite.", 0.5, 0.5),
        ("Mira Tolvane owns the pale drum [4].", 0, 0),
        ("Mira Tolvane owns the old boat [3].", 0, 0),
        ("", 0, 0),
    ],
)
def test_citations(output: str, recall: float, precision: float) -> None:
    assert score_citations(output, META) == (recall, precision)


@pytest.mark.parametrize(
    ("output", "gold", "found"),
    [
        ("答えは東京です。", "東京", 1),
        ("เมืองหลวงคือกรุงเทพมหานคร", "กรุงเทพ", 1),
        ("ນະຄອນຫຼວງແມ່ນວຽງຈັນ", "ວຽງຈັນ", 1),
        ("រាជធានីគឺភ្នំពេញ", "ភ្នំពេញ", 1),
        ("答えは42です", "42", 1),
        ("答えは142です", "42", 0),
        ("北京", "北京", 1),
        ("南京", "北京", 0),
        ("กี่", "ก", 0),  # a letter with its vowel is another one
        ("العاصمة هي القاهرة.", "القاهرة", 1),
        ("والقاهرة", "القاهرة", 0),
        ("서울입니다", "서울", 0),  # Korean has blanks, and particles on its words
    ],
)
def test_scripts_without_blanks_have_no_word_ends(output: str, gold: str, found: int) -> None:
    assert substring_exact_match(output, [gold]) == found
    assert ruler_recall(output, [gold], "strict") == found
