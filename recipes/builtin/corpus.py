"""What the shipped model learns from: conversations about generated contexts, and some text that needs no retrieval.

A conversation asks several questions about one context, so that one pass over a long text gives many answers to learn from:

    user:       The text below hides some codes. ... What is the code for the amber falcon?
    assistant:  483291
    user:       What is the code for the rusty anvil?
    assistant:  190355
"""

from collections.abc import Iterator
from random import Random
from typing import Final

from tasks.build import compose
from tasks.chat import context_free
from tasks.example import Task
from tasks.prose import sentence
from tasks.recall import NoteTask
from tasks.suite import TERSE

Turn = tuple[str, str]
"""What the user says, and the answer."""

#: Mean tokens of a filler passage, measured with the shipped tokenizer; only the mix of lengths depends on it.
_PASSAGE_TOKENS: Final = {
    "niah_mk": 12,
    "niah_mv": 12,
    "json_kv": 8,
    "note": 12,
    "rag_qa": 27,
    "cite_facts": 31,
    "rerank_reports": 30,
    "icl_coarse": 14,
    "icl_fine": 14,
}
_QUESTIONS: Final = {"rerank_reports": 4, "icl_coarse": 12, "icl_fine": 12}
LEARNED: Final[tuple[Task, ...]] = (*TERSE.values(), NoteTask())


def conversation(task: Task, rng: Random, length: int) -> list[Turn]:
    """Turns about one context of about ``length`` tokens."""
    episode = task.episode(rng, "train", length)
    per_passage = _PASSAGE_TOKENS[task.name]
    first = episode.question()
    bundle = max(1, len(first.gold) + len(first.distractors))
    wanted = max(1, min(_QUESTIONS.get(task.name, 8), length // (2 * bundle * per_passage)))
    questions = [first, *(episode.question() for _ in range(wanted - 1))]
    gold = [passage for question in questions for passage in (*question.gold, *question.distractors)]
    filler = [episode.filler() for _ in range(max(0, length // per_passage - len(gold)))]
    for passage in gold:
        filler.insert(rng.randint(0, len(filler)), passage)
    turns = [(compose(episode, filler, first), episode.solve(first, filler).answer)]
    turns += [(question.text, episode.solve(question, filler).answer) for question in questions[1:]]
    return turns


def chat(rng: Random) -> list[Turn]:
    """Several instructions that need no context."""
    return [context_free(rng) for _ in range(6)]


def prose(rng: Random, sentences: int) -> str:
    """Plain text for language modelling."""
    return " ".join(sentence(rng) for _ in range(sentences))


def texts(rng: Random, count: int) -> Iterator[str]:
    """Conversations and prose as plain text, to train a tokenizer on."""
    for number in range(count):
        task = LEARNED[number % len(LEARNED)]
        for user, answer in (*conversation(task, rng, 256), *chat(rng)):
            yield f"{user}\n {answer}"
        yield prose(rng, 4)
