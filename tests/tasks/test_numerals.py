"""Numbers in strict scoring: what belongs to them stays with them, however and in whatever script they are written."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.alce import items, list_metrics
from tasks.build import Budget, build
from tasks.example import Task
from tasks.metrics import exact_match, ruler_recall, substring_exact_match
from tasks.numerals import is_marked, number_text, readable
from tasks.scoring import score
from tasks.suite import EVERY

#: Text -> how its numbers read.
READ = {
    "1,234": "1234",
    "1,234,567.25": "1234567.25",
    "12,34,567": "1234567",
    "1'234'567": "1234567",
    "1\u2019234,5": "1234.5",
    "1\u202f234\u202f567": "1234567",
    "10\u00a0000": "10000",
    "1_000": "1000",
    "1.234.567": "1234567",
    "1.234,5": "1234.5",
    "1.234": "1.234",
    "3,5": "3.5",
    "0,125": "0.125",
    "3,14159": "3.14159",
    ".5": "0.5",
    "-.5": "-0.5",
    "-5": "-5",
    "\u22125": "-5",
    "(-5)": "(-5)",
    "10-5": "10-5",
    "1990\u20131995": "1990-1995",
    "2024-01-05": "2024-01-05",
    "12:30": "12:30",
    "1/2": "1/2",
    "1\u20442": "1/2",
    "5\u203211": "5'11",
    "192.168.1.10": "192.168.1.10",
    "v2.0": "v2.0",
    "10%": "10 percent",
    "10 %": "10 percent",
    "10 per cent": "10 percent",
    "5\u2030": "5 permille",
    "1,2,3": "1 2 3",
    "1990,1991": "1990 1991",
    "[1][2]": "[1 2]",
    "5,-3": "5 -3",
    "1,000-2,000": "1000-2000",
    "3+5": "3 5",
    "-5\n-6": "5 6",  # a list
    "\u0663\u066b\u0665": "3.5",
    "\u06f1\u066c\u06f0\u06f0\u06f0": "1000",
    "\u0967\u0968,\u0969\u096a,\u096b\u096c\u096d": "1234567",
    "\u0e53.\u0e55": "3.5",
    "\uff13\uff0e\uff15": "3.5",
    "\uff11\uff10\uff05": "10 percent",
    "\u6c17\u6e29\u306f-5\u5ea6": "\u6c17\u6e29\u306f-5\u5ea6",
    "COVID-19, the F-16 and 8f2c-11.": "COVID-19, the F-16 and 8f2c-11.",
    "no number, - and .": "no number, - and .",
}


@pytest.mark.parametrize("text", READ)
def test_a_number_reads_the_same_however_it_is_written(text: str) -> None:
    assert readable(number_text(text)) == READ[text]


@pytest.mark.parametrize(
    ("output", "gold", "found", "equal"),
    [
        ("35", "3.5", 0, 0),
        ("3.5", "35", 0, 0),
        ("It is 3.5.", "3.5", 1, 0),
        ("3,5", "3.5", 1, 1),
        ("3.5", "5", 0, 0),
        ("1234", "1,234", 1, 1),
        ("1,234", "1234", 1, 1),
        ("1,234", "234", 0, 0),
        ("-5", "5", 0, 0),
        ("5", "-5", 0, 0),
        ("\u22125", "-5", 1, 1),
        ("10%", "10 percent", 1, 1),
        ("10 percent of them", "10%", 1, 0),
        ("10", "10%", 0, 0),
        ("10%", "10", 1, 0),
        ("1230", "12:30", 0, 0),
        ("at 12:30", "12:30", 1, 0),
        ("12", "1/2", 0, 0),
        ("20240105", "2024-01-05", 0, 0),
        ("$3.50", "3.50", 1, 1),
        ("\u20ac3.50", "3.50", 1, 1),
        ("3.50 \u20ac", "\u20ac3.50", 1, 1),
        ("F16", "F-16", 1, 1),
        ("\u0664\u0662", "42", 1, 1),
        ("\u0e51\u0e54\u0e52", "\u0e54\u0e52", 0, 0),  # 142 and 42 in Thai digits
        ("\u7b54\u3048\u306f3.5\u3067\u3059", "3.5", 1, 0),
        ("\u7b54\u3048\u306f3.5\u3067\u3059", "5", 0, 0),
        ("\u7b54\u3048\u306f-5\u3067\u3059", "5", 0, 0),
    ],
)
def test_another_number_is_another_answer(output: str, gold: str, found: int, equal: int) -> None:
    assert substring_exact_match(output, [gold]) == found
    assert exact_match(output, [gold]) == equal


@pytest.mark.parametrize(
    ("output", "golds", "share"),
    [
        ("3.5", ["5"], 0),
        ("1,234,567", ["234"], 0),
        ("1,234,567", ["1234567"], 1),
        ("7301,8842", ["7301", "8842"], 1),
        ("7301/8842", ["7301", "8842"], 1),
        ("-7301\n-8842", ["7301", "8842"], 1),
        ("7301 and 8842.", ["7301", "8842"], 1),
        ("-5", ["5"], 0),
    ],
)
def test_needles_are_whole_numbers_in_any_list(output: str, golds: list[str], share: float) -> None:
    assert ruler_recall(output, golds) == share


def test_a_list_of_answers_keeps_its_thousands() -> None:
    assert items("1,000 ships, red drum,kite", "strict") == ["1,000 ships", "red drum", "kite"]
    assert list_metrics("1,000 ships, red drum", [["1000 ships"], ["red drum"]], "strict")["qampari_prec"] == 1
    assert list_metrics("1,000 ships, red drum", [["1000 ships"], ["red drum"]], "parity")["qampari_rec"] == 0.5


def test_parity_reads_numbers_as_published() -> None:
    for output, gold in (("35", "3.5"), ("5", "-5"), ("1230", "12:30"), ("10", "10%")):
        assert score("kilt_nq", {"answers": [gold]}, output)["exact_match"] == 1


AMOUNTS = st.integers(0, 10**9)


@given(AMOUNTS, AMOUNTS, st.sampled_from(",'_\u2019\u066c"), st.sampled_from("-:/\u2013"))
def test_groups_are_closed_up_and_nothing_else(amount: int, other: int, group: str, mark: str) -> None:
    grouped = f"{amount:,}".replace(",", group)
    assert exact_match(grouped, [str(amount)]) == 1
    assert exact_match(f"{grouped}{mark}{other}", [f"{amount}{other}"]) == 0
    assert exact_match(f"{amount}.{other}", [f"{amount}{other}"]) == 0


@given(st.text("1٣３2.,:-%'$ \u00a0a\u4e2d\n", max_size=40))
def test_any_text_is_its_own_answer(text: str) -> None:
    assert exact_match(text, [text]) == float(bool(text.strip()))


@pytest.mark.parametrize("piece", ["1", "1,", "1,111", "1.", "-", "1--", "'", "1 ", "%", "1\u00a0", "\u0663"])
def test_long_numbers_take_no_longer_than_other_text(piece: str) -> None:
    begun = time.process_time()
    number_text(piece * 100_000)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("task", EVERY.values(), ids=EVERY)
def test_golds_of_our_own_tasks_are_plain(task: Task) -> None:
    """Only therefore are finished evaluations on them scored anew by their outputs alone."""
    for example in build(task, Budget(600, lambda text, prefix: len((text + prefix).split())), 6, seed=3):
        assert not any(is_marked(gold) for gold in example.targets)
