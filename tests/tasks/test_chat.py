"""Training prompts: plenty, different, and apart from the evaluation."""

import re

from tasks.build import Budget, build
from tasks.chat import instructions
from tasks.suite import TASKS
from tasks.words import FAMILY, GIVEN
from tasks.world import half


def names_in(text: str) -> set[str]:
    """People, and the keys of codes."""
    people = re.findall(r"(\w+) (\w+)", text) + re.findall(r"\w+ (\w+) (\w+)", text)
    keys = re.findall(r"codes? for the (\w+) (\w+)", text)
    return {f"{a} {b}" for a, b in people if a in GIVEN and b in FAMILY} | {f"{a} {b}" for a, b in keys}


def test_instructions_are_distinct_and_repeatable() -> None:
    prompts = instructions(200, seed=5)
    assert len(set(prompts)) == 200
    assert prompts == instructions(200, seed=5)
    assert prompts != instructions(200, seed=6)


def test_what_is_trained_on_is_never_asked_in_the_evaluation() -> None:
    trained = set().union(*(names_in(prompt) for prompt in instructions(400, seed=1)))
    assert trained
    assert {half(name) for name in trained} == {"train"}
    asked: set[str] = set()
    for name in ("rag_qa", "niah_mk"):
        for example in build(TASKS[name], Budget(512, lambda text, prefix: len((text + prefix).split())), 30, seed=1):
            asked |= names_in(example.prompt.rsplit("\n\n", 1)[1])
    assert asked
    assert {half(name) for name in asked} == {"eval"}
    assert not trained & asked
