"""A whole task plugin: which box holds a thing?   The lamp is in box 4017.   ...   Which box holds the lamp?   ->   4017"""

from collections.abc import Sequence
from random import Random

from tasks.example import Example, Passage, Question, Solution

THINGS = [f"{colour} {thing}" for colour in ("red", "blue", "green", "grey") for thing in ("lamp", "cup", "coat", "drum", "kite", "rope")]


class Room:
    intro = "Things are kept in boxes. Answer with the number of the box alone."

    def __init__(self, rng: Random) -> None:
        self.rng, self.things, self.boxes = rng, rng.sample(THINGS, len(THINGS)), rng.sample(range(1000, 9999), 8000)

    def question(self) -> Question:
        thing, box = self.things.pop(), str(self.boxes.pop())
        return Question(f"Which box holds the {thing}?", "\nBox:", (Passage(f"The {thing} is in box {box}.", tag=box),), facts=(box,))

    def filler(self) -> Passage:
        return Passage(f"The {self.rng.choice(self.things)} was once in box {self.boxes.pop()}, which is empty now.")

    def render(self, passages: Sequence[Passage]) -> str:
        return "\n".join(passage.text for passage in passages)

    def solve(self, question: Question, passages: Sequence[Passage]) -> Solution:
        return Solution(question.gold[0].tag, (question.gold[0].tag,))


class Boxes:
    name, category, metrics, max_new_tokens, placements = "boxes", "recall", ("found",), 12, 3

    def episode(self, rng: Random, split: str, length: int) -> Room:
        return Room(rng)

    def score(self, example: Example, output: str, mode: str = "strict") -> dict[str, float]:
        return {"found": float(example.targets[0] in output)}
