"""The full wording: it says what form an answer has, shows it on other facts, and leaves room for it on any tokenizer."""

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.build import Budget, build, place
from tasks.example import Question, Solution, Task
from tasks.suite import TASKS, TERSE
from tasks.words import FAMILY, GIVEN, TOWNS
from tasks.world import half

#: What the instruction says of the answer's form.
FORM = {
    "niah_mk": "digits",
    "niah_mv": "digits",
    "json_kv": "value alone, in quotation marks",
    "rag_qa": "one word",
    "cite_facts": "in full sentences.*numbers of its documents in brackets",
    "rerank_reports": r"\[ID: \.\.\.\] > \[ID: \.\.\.\]",
    "icl_coarse": "label, a number",
    "icl_fine": "label, a number",
}
SHOWN = ("json_kv", "rag_qa", "cite_facts", "rerank_reports")
#: Tokens of a long chat template with a system prompt of its own.
CHAT = 32


def pieces(text: str, prefix: str = "") -> int:
    """The tokens of a tokenizer that cuts long words and names into pieces and takes digits and signs singly, as many BPE ones do."""
    return len(re.findall(r"\d|\b[a-z]{1,8}\b|[A-Za-z]{1,4}|[^\w\s]|\n+", text + prefix))


def words(text: str, prefix: str = "") -> int:
    """The tokens of a tokenizer that knows every word and number."""
    return len(re.findall(r"\w+|[^\w\s]", text + prefix))


def named(text: str) -> set[str]:
    """People, keys, towns and IDs: whatever a context may be asked about."""
    people = {f"{a} {b}" for a, b in re.findall(r"(?=\b([A-Z]\w+) ([A-Z]\w+))", text) if a in GIVEN and b in FAMILY}
    keys = set(re.findall(r'"(\w+ \w+)"', text)) | set(re.findall(r"the (\w+ \w+) house", text))
    return people | keys | {town for town in TOWNS if f"in {town} last" in text} | set(re.findall(r"\[ID: (\d+)\]", text))


def asked(task: Task, seed: int, length: int = 512, filler: int = 0) -> tuple[Question, Solution, str]:
    """A question, its solution, and the instruction before its context."""
    episode = task.episode(Random(seed), "eval", length)
    question = episode.question()
    passages = [*question.gold, *question.distractors]
    around = [episode.filler() for _ in range(filler)]
    return question, episode.solve(question, place(question, around, [0.99] * len(passages))), episode.intro


@pytest.mark.parametrize("name", TASKS)
def test_the_prompt_says_what_form_the_answer_has(name: str) -> None:
    question, _, intro = asked(TASKS[name], seed=1)
    assert re.search(FORM[name], intro.split("\n\n")[0])
    assert question.answer_prefix.strip()
    assert question.answer_prefix == question.answer_prefix.rstrip(), "a space at the end splits the answer's first token"


@pytest.mark.parametrize("name", SHOWN)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_worked_example_names_nothing_of_its_context(name: str, seed: int) -> None:
    (example,) = build(TASKS[name], Budget(900, words), 1, seed)
    *before, context, question = example.prompt.split("\n\n")
    shown = named("\n".join(before[1:]))
    assert shown
    assert not shown & named(f"{context}\n{question}")
    assert {half(name) for name in shown if " " in name} <= {"train"}
    assert not set(example.targets) & set(re.findall(r"\w+", before[-1].rsplit("\n", 1)[1])), "the shown answer is no answer"


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("json_kv", r'"\w+ \w+"'),
        ("rag_qa", r"\w+"),
        ("cite_facts", r"[\w ]+ owns [\w ]+ \[\d+\]\. [\w ]+ owns [\w ]+ \[\d+\]\[\d+\]\."),
        ("rerank_reports", r"\[ID: \d+\]( > \[ID: \d+\])+"),
    ],
)
def test_the_answer_that_is_shown_has_the_form_of_a_perfect_one(name: str, form: str) -> None:
    question, solution, intro = asked(TASKS[name], seed=4)
    shown = intro.rsplit("\n", 1)[1]
    assert shown.startswith(question.answer_prefix.strip())
    for answer in (shown.removeprefix(question.answer_prefix.strip()).strip(), solution.answer):
        assert re.fullmatch(form, answer)


def test_the_worked_reports_are_not_simply_ranked_as_they_stand() -> None:
    rankings = set()
    for seed in range(20):
        lines = asked(TASKS["rerank_reports"], seed)[2].split("\n")
        listed = [found for line in lines[3:6] for found in re.findall(r"\d+", line)]
        rankings.add(listed == re.findall(r"\d+", lines[-1]))
    assert rankings == {True, False}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("length", [512, 131_072])
def test_the_budget_holds_a_perfect_answer_in_words_and_in_pieces(name: str, length: int) -> None:
    task = TASKS[name]
    for seed in range(20):
        _, solution, _ = asked(task, seed, length, filler=3_000 if length > 512 else 3)  # thousands of documents have long numbers
        assert max(words(solution.answer), pieces(solution.answer)) < task.max_new_tokens


@pytest.mark.parametrize("name", TASKS)
def test_every_task_fits_512_tokens_in_pieces_and_in_a_chat(name: str) -> None:
    for seed in range(20):
        example, *_ = build(TASKS[name], Budget(512, lambda text, prefix: CHAT + pieces(text, prefix)), 1, seed)
        assert TASKS[name].score(example, example.answer) == dict.fromkeys(TASKS[name].metrics, 1.0)


@pytest.mark.parametrize("name", ["niah_mk", "niah_mv", "json_kv", "icl_coarse", "icl_fine"])
def test_both_wordings_ask_for_the_same_facts(name: str) -> None:
    for seed in range(5):
        full, terse = (asked(tasks[name], seed, filler=5) for tasks in (TASKS, TERSE))
        assert full[0].gold == terse[0].gold
        assert full[1].targets == terse[1].targets


@pytest.mark.parametrize("name", [name for name in TASKS if name != "cite_facts"])  # sentences are read without a prefix
def test_an_answer_that_goes_on_from_the_prefix_is_perfect_too(name: str) -> None:
    task = TASKS[name]
    for example in build(task, Budget(900, words), 2, seed=6):
        prefix = example.answer_prefix.strip()
        rest = example.answer.removeprefix(prefix).strip()
        assert task.score(example, f"{prefix} {rest}") == dict.fromkeys(task.metrics, 1.0)
        assert task.score(example, prefix)[task.metrics[0]] == 0
