"""Judges, their cache, and questions in rounds."""

from collections.abc import Sequence
from pathlib import Path

from tasks.citations import Claim, citation_scores, score_citations
from tasks.judges import Cached, ExactWords, KnownFacts, Pair, settle_all
from tasks.scoring import score_all


class Counting(ExactWords):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Pair]] = []

    def entails(self, pairs: Sequence[Pair]) -> list[bool]:
        self.asked.append(list(pairs))
        return super().entails(pairs)


def test_exact_words() -> None:
    judge = ExactWords()
    assert judge.entails([("A Red drum.", "red DRUM"), ("redder drum", "red"), ("x", "")]) == [True, False, True]


def test_a_file_is_judged_in_three_rounds() -> None:
    docs = [{"title": "a", "text": "red drum"}, {"title": "b", "text": "blue kite"}, {"title": "c", "text": "boat"}]
    record = {"question": "q", "docs": docs, "qa_pairs": [{"short_answers": ["x"]}]}
    outputs = ["Red drum [1][2]. Blue kite [2].", "Red kite [1][2].", "", "Nothing cited."]
    judge = Counting()
    together = score_all("alce_asqa_3", [(record, output) for output in outputs], judge=judge, sentences="simple")
    assert [len(pairs) for pairs in judge.asked] == [3, 4, 3]
    alone = [score_all("alce_asqa_3", [(record, output)], judge=ExactWords(), sentences="simple")[0] for output in outputs]
    assert together == alone


def test_rounds_ask_what_they_need() -> None:
    claims = [Claim("red kite", (0, 1, 2)), Claim("green", (1,)), Claim("red", ())]
    judge = Counting()
    assert settle_all([citation_scores(claims, ["red", "kite", "boat"])], judge) == [(1 / 3, 2 / 4)]
    assert judge.asked == [
        [("red\nkite\nboat", "red kite"), ("kite", "green")],
        [("red", "red kite"), ("kite", "red kite"), ("boat", "red kite")],
        [("kite\nboat", "red kite"), ("red\nboat", "red kite"), ("red\nkite", "red kite")],
    ]


def test_a_pair_is_asked_once_and_remembered_on_disk(tmp_path: Path) -> None:
    pairs = [("red drum", "red"), ("blue", "red"), ("red drum", "red")]
    path = tmp_path / "cache" / "verdicts.sqlite"
    first, second = Counting(), Counting()
    assert Cached(first, path).entails(pairs) == [True, False, True]
    assert [len(asked) for asked in first.asked] == [2]
    assert Cached(second, path).entails([*pairs, ("\ud800", "new")]) == [True, False, True, False]
    assert second.asked == [[("\ud800", "new")]]


def test_known_facts() -> None:
    judge = KnownFacts({"Mira owns a drum.": [3, [1, 2]]})
    premises = ["[3]", "[1]", "[2]\n[1]", "[13]", ""]
    assert judge.entails([(premise, "mira owns a drum") for premise in premises]) == [True, False, True, False, False]
    assert judge.entails([("[3]", "Mira owns a kite")]) == [False]


def test_a_fact_that_needs_two_documents() -> None:
    meta = {"documents": 4, "support": {"Mira owns a drum.": [[1, 2]]}}
    assert score_citations("Mira owns a drum [1][2].", meta) == (1, 1)
    assert score_citations("Mira owns a drum [1].", meta) == (0, 0)
    assert score_citations("Mira owns a drum [1][2][3].", meta) == (1, 2 / 3)
