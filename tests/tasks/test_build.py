"""Examples: within budget, gold present, at the depth claimed, the same on every machine."""

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.build import Budget, BudgetError, build
from tasks.example import Task
from tasks.suite import TASKS, worded
from tasks.wording import WORDINGS, Wording
from tasks.world import World

LENGTHS = (512, 2_048)
EVERY = [pytest.param(task, id=f"{wording}-{name}") for wording in WORDINGS for name, task in worded(wording).items()]
WITH_GOLD = [
    pytest.param(task, id=f"{wording}-{name}") for wording in WORDINGS for name, task in worded(wording).items() if "icl" not in name
]
each_wording = pytest.mark.parametrize("wording", WORDINGS)


def count(text: str, prefix: str = "") -> int:
    """A tokenizer good enough for tests: words and signs."""
    return len(re.findall(r"\w+|[^\w\s]", text + prefix))


def context_of(prompt: str) -> str:
    """What stands between the instruction with its worked examples and the question."""
    return prompt.split("\n\n")[-2]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("task", EVERY)
def test_prompt_and_answer_fill_the_length_to_within_a_passage(task: Task, length: int) -> None:
    for example in build(task, Budget(length, count), 6, seed=1):
        used = count(example.prompt, example.answer_prefix) + task.max_new_tokens
        assert used <= length
        assert used >= length - 60, "room for another passage was left empty"


@pytest.mark.parametrize("task", WITH_GOLD)
def test_every_gold_answer_is_in_the_context(task: Task) -> None:
    for example in build(task, Budget(1_024, count), 6, seed=2):
        assert all(target in context_of(example.prompt) for target in example.targets)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(["niah_mk", "json_kv"]), wording=st.sampled_from(WORDINGS))
def test_the_gold_is_unique_and_at_the_depth_claimed(seed: int, name: str, wording: Wording) -> None:
    examples = list(build(worded(wording)[name], Budget(768, count), 3, seed=seed))
    for example in examples:
        (gold,) = example.targets
        assert example.prompt.count(gold) == 1
        context = context_of(example.prompt)
        assert context.index(gold) / len(context) == pytest.approx(example.depth, abs=0.06)
    for third, example in enumerate(examples):
        assert third / 3 - 0.07 <= example.depth <= (third + 1) / 3 + 0.07


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), wording=st.sampled_from(WORDINGS))
def test_one_document_holds_the_fact_at_the_depth_claimed(seed: int, wording: Wording) -> None:
    for example in build(worded(wording)["rag_qa"], Budget(1_024, count), 3, seed=seed):
        *_, context, question = example.prompt.split("\n\n")
        (value,) = example.targets
        person = next(name for name in re.findall(r"\(Title: (\w+ \w+)\)", context) if name in question)
        assert f"(Title: {person})" not in example.prompt.removesuffix(f"{context}\n\n{question}")
        about = [line for line in context.split("\n") if f"(Title: {person})" in line]
        assert len(about) == 2, "the gold, and a document on the right person with the wrong fact"
        (gold,) = [line for line in about if re.search(rf"\b{value}\b", line)]  # a flute is no lute
        assert context.count(gold) == 1
        assert context.index(gold) / len(context) == pytest.approx(example.depth, abs=0.02)


@each_wording
def test_every_graded_report_is_there_once(wording: Wording) -> None:
    for example in build(worded(wording)["rerank_reports"], Budget(1_024, count), 6, seed=4):
        golds = example.meta["grades"]
        assert isinstance(golds, dict)
        assert golds
        assert all(example.prompt.count(f"[ID: {gold}]") == context_of(example.prompt).count(f"[ID: {gold}]") == 1 for gold in golds)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), wording=st.sampled_from(WORDINGS))
def test_a_claim_stands_in_one_document_or_follows_from_two_together(seed: int, wording: Wording) -> None:
    for example in build(worded(wording)["cite_facts"], Budget(1_024, count), 3, seed=seed):
        documents = context_of(example.prompt).split("\n")
        support = example.meta["support"]
        assert isinstance(support, dict)
        for fact, (entry,) in support.items():
            holders = [number for number, document in enumerate(documents, 1) if fact in document]
            assert holders == ([] if isinstance(entry, list) else [entry])
        ((claim, (both,)),) = [(fact, entries) for fact, entries in support.items() if isinstance(entries[0], list)]
        first, second = (documents[number - 1] for number in both)
        owner, house = claim.partition(" owns ")[0], re.search(r"stands in the (.+?) house", first)
        assert house
        assert f"belongs to {owner}." in first
        assert f"stands in the {house[1]} house." in second
        one_alone = re.sub(r"\[\d+\](?=\[)", "", example.answer)  # the second fact's first citation goes
        assert TASKS["cite_facts"].score(example, one_alone)["citation_rec"] == 0.5


def test_a_question_appears_early_in_the_middle_and_late_under_one_cluster() -> None:
    examples = list(build(TASKS["rag_qa"], Budget(1_024, count), 6, seed=0))
    assert [example.cluster for example in examples] == [examples[0].cluster] * 3 + [examples[3].cluster] * 3
    questions = [example.prompt.rsplit("\n\n", 1)[1] for example in examples]
    assert len(set(questions)) == 2
    assert len({example.id for example in examples}) == 6


def test_the_same_seed_gives_the_same_examples_and_more_of_them_begin_alike() -> None:
    few, many, other = (
        [example.prompt for example in build(TASKS["cite_facts"], Budget(512, count), n, seed)] for n, seed in ((3, 0), (6, 0), (3, 1))
    )
    assert few == many[:3]
    assert few != other


@pytest.mark.parametrize("task", EVERY)
def test_a_perfect_answerer_scores_1_and_an_empty_one_0(task: Task) -> None:
    for example in build(task, Budget(1_024, count), 3, seed=3):
        assert task.score(example, example.answer) == dict.fromkeys(task.metrics, 1.0)
        assert task.score(example, f"Answer: {example.answer}\nSo it is.")[task.metrics[0]] == 1.0
        assert task.score(example, "") == dict.fromkeys(task.metrics, 0.0)


def test_a_length_without_room_for_the_gold_is_an_error_that_says_so() -> None:
    with pytest.raises(BudgetError, match="ask for a longer one"):
        list(build(TASKS["rerank_reports"], Budget(150, count), 1, seed=0))


def test_names_do_not_run_out() -> None:
    world = World(Random(0), "eval")
    keys = [world.key() for _ in range(250_000)]  # more than three words can name: a million tokens of JSON
    assert len(set(keys)) == len(keys)


def test_long_contexts_keep_names_apart() -> None:
    (example, *_) = build(TASKS["json_kv"], Budget(32_768, count), 1, seed=0)
    keys = re.findall(r'"([^"]+)": "', example.prompt)
    assert len(keys) == len(set(keys)) > 2_000
