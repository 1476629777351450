"""The terse wording: what the shipped model was trained on, without the form of an answer or a worked example.

    The text below hides some codes. Remember them.
    ...
    What is the code for the amber falcon?

That model knows 1,400 words and learned from its training what an answer looks like. Any other has to be told, so all tasks tell it by
themselves; these episodes hold the same facts under the same seed.
"""

from collections.abc import Sequence

from tasks import cite, icl, rag, recall, rerank
from tasks.example import Asked, Passage, Question, Solution


class Needles(recall.Needles):
    intro = "The text below hides some codes. Remember them."

    def ask(self, key: str) -> Asked:
        return f"What is the code for the {key}?" if self.values == 1 else f"What are all the codes for the {key}?", "\nAnswer:"

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        gold = [passage for passage in passages if passage in question.gold]
        return Solution(" ".join(passage.text for passage in gold), tuple(passage.tag for passage in gold))


class Json(recall.Json):
    instruction = "Below is a JSON object. Look up the value of a key."
    shots = 0

    def ask(self, key: str) -> Asked:
        return f'What is the value of the key "{key}"?', "\nValue:"

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        return Solution(question.gold[0].text, (question.gold[0].tag,))


class Documents(rag.Documents):
    instruction = "Use the documents to answer the question in a short sentence."
    shots = 0

    def ask(self, question: str) -> Asked:
        return question, "\nAnswer:"

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        value, statement = question.facts
        return Solution(statement, (value,))


class Cited(cite.Cited):
    instruction = "Answer from the documents in full sentences, and cite each document you use by its number in brackets."
    shots = 0

    def ask(self, person: str) -> Asked:
        return f"What does {person} own? Write one sentence for each thing.", "\nAnswer:"


class Reports(rerank.Reports):
    instruction = (
        "Rank the reports for a query, best first: first those that match its event, place and season, then event and place, "
        "then the place alone. Write [ID: ...] > [ID: ...] > [ID: ...]."
    )
    shots = 0

    def ask(self, wanted: str) -> Asked:
        return f"Query: {wanted}.", "\nRanking:"


class Shots(icl.Shots):
    intro = "Learn the labels from the examples, then label the last line with a number."

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        label, word = question.facts
        return Solution(f"the {word}. Label: {label}", (label,), self.difficulty(passages))
