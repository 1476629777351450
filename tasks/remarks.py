"""What a reader of a suite's scores has to know of its examples, counted while they are built.

    {"fewer": [{"task": "kilt_nq", "length": 8192, "examples": 3, "asked": 24}],
     "moved": [{"task": "kilt_nq", "length": 8192, "examples": 2}]}

``fewer`` names tasks whose files hold fewer examples than were asked for; ``moved`` those with prompts that had to lose so much that their
gold came to stand elsewhere (:attr:`tasks.helmet.fit.Fitted.moved`). A suite of which there is nothing to say has neither.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from tasks.example import Example

Place: TypeAlias = tuple[str, int]
"""Task and length."""
Remarks: TypeAlias = dict[str, list[dict[str, str | int]]]

#: In an example's ``meta``: its gold stands elsewhere than in the file, so that it has no depth.
MOVED: Final = "moved_gold"
NAMES: Final = ("fewer", "moved")


class Census:
    """Counts the examples that pass."""

    def __init__(self) -> None:
        self._found = Counter[Place]()
        self._moved = Counter[Place]()

    def watch(self, examples: Iterable[Example]) -> Iterator[Example]:
        """Pass the examples on."""
        for example in examples:
            self._found[example.task, example.length] += 1
            self._moved[example.task, example.length] += bool(example.meta.get(MOVED))
            yield example

    def remarks(self, asked: Mapping[Place, int]) -> Remarks:
        """Compare what has passed with the number of examples that were ``asked`` for."""
        fewer: list[dict[str, str | int]] = [
            {"task": place[0], "length": place[1], "examples": self._found[place], "asked": number}
            for place, number in asked.items()
            if self._found[place] < number
        ]
        moved: list[dict[str, str | int]] = [
            {"task": place[0], "length": place[1], "examples": number} for place, number in self._moved.items() if number
        ]
        return {name: rows for name, rows in zip(NAMES, (fewer, moved), strict=True) if rows}


def sentences(facts: Mapping[str, object]) -> list[str]:
    """Say a suite's remarks, one sentence each; ``facts`` may hold anything else besides."""
    said = []
    if fewer := _listed(facts, "fewer", "{examples} of {asked}"):
        said.append(f"fewer examples than asked for, because the files hold no more: {fewer}")
    if moved := _listed(facts, "moved", "{examples}"):
        said.append(f"examples whose gold came to the end because their prompt lost passages, left out of success by depth: {moved}")
    return said


def _listed(facts: Mapping[str, object], name: str, form: str) -> str:
    rows = facts.get(name)
    return ", ".join(f"{row['task']} at {row['length']} tokens {form.format(**row)}" for row in rows) if isinstance(rows, list) else ""
