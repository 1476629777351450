"""docs/tasks.md shows the tasks as they are."""

import re
from pathlib import Path

import pytest

from tasks.build import Budget, build
from tasks.suite import EVERY, find

DOCS = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
#: Words and signs of the samples: enough for each task's passages and a few more.
LENGTHS = {
    "niah_mk": 220,
    "niah_mv": 260,
    "json_kv": 230,
    "rag_qa": 360,
    "cite_facts": 440,
    "rerank_reports": 420,
    "icl_coarse": 230,
    "icl_fine": 230,
    "story_one": 420,
    "story_two": 460,
    "story_order": 520,
    "story_summary": 560,
}


def sample(name: str) -> str:
    """A prompt with what its answer begins with, and a perfect answer, as the docs show them."""
    budget = Budget(LENGTHS[name], lambda text, prefix: len(re.findall(r"\w+|[^\w\s]", text + prefix)))
    (example,) = build(EVERY[name], budget, 1, seed=1)
    return f"```text\n{example.prompt}{example.answer_prefix}\n```\nA perfect answer: `{example.answer}`\n"


@pytest.mark.parametrize("name", EVERY)
def test_the_docs_show_a_real_prompt(name: str) -> None:
    shown = DOCS.partition(f"### `{name}`\n")[2].partition("\n### ")[0]
    assert sample(name) in shown


@pytest.mark.parametrize("name", EVERY)
def test_the_docs_give_the_metrics_and_the_budgets(name: str) -> None:
    (row,) = [line for line in DOCS.split("\n") if line.startswith("|") and f" `{name}` |" in line]
    *_, metrics, full, terse, _ = row.split("|")
    assert tuple(re.findall(r"`(.+?)`", metrics)) == EVERY[name].metrics
    assert (int(full), int(terse)) == (EVERY[name].max_new_tokens, find(name, "terse").max_new_tokens)
