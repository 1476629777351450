"""What a loader is asked for, and where its files are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from tasks.editions import NEWEST, Edition
from tasks.example import Example
from tasks.helmet.catalog import Dataset, files, megabytes
from tasks.helmet.fit import Count, Fitted, Piece
from tasks.helmet.records import DataError
from tasks.helmet.wordings import Wording
from tasks.references import Reference
from tasks.remarks import MOVED

#: Loaders whose records say which passages are gold.
ANCHORED: Final = frozenset({"ruler", "json_kv", "kilt"})


@dataclass(frozen=True)
class Request:
    """One dataset at one length."""

    dataset: Dataset
    length: int
    roots: tuple[Path, ...]
    count: Count
    examples: int
    """Questions, or records where each asks another question."""
    seed: int
    wording: Wording
    reference: Reference | None = None
    """Build prompts of a reference point instead; only for loaders of :data:`ANCHORED`."""
    edition: Edition = NEWEST
    """Of HELMET's draws."""

    def shown(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Choose the pieces that prompts are made of: all, or for the ceiling the gold ones, for the floor as many others.

        What worked examples need stands in each.
        """
        if self.reference is None:
            return pieces
        others = [index for index, piece in enumerate(pieces) if not (piece.gold or piece.needed)]
        replaced = set(others[: sum(piece.gold for piece in pieces)])
        ceiling = self.reference == "ceiling"
        return [piece for index, piece in enumerate(pieces) if piece.needed or (piece.gold if ceiling else index in replaced)]

    @property
    def size(self) -> int:
        """Pairs, passages or shots."""
        return self.dataset.size(self.length)

    @property
    def room(self) -> int:
        """Tokens for the prompt."""
        return self.length - self.dataset.max_new_tokens

    @property
    def title(self) -> str:
        """For messages: ``kilt_nq at 8192 tokens``."""
        return f"{self.dataset.name} at {self.length} tokens"

    def test_file(self) -> Path:
        """Find the file that holds the questions."""
        return self.find(self.dataset.test_file(self.length).path)

    def train_file(self) -> Path:
        """Find the file that demonstrations or shots come from."""
        return self.find(self.dataset.train)

    def find(self, path: str) -> Path:
        """Find ``path`` below the first root that has it, directly or under ``data/`` (as HELMET's archive unpacks)."""
        found = locate(self.roots, path)
        if found is None:
            raise DataError(missing(self.dataset, self.length, path, self.roots))
        return found

    def example(
        self,
        number: int,
        question: str,
        fitted: Fitted,
        *,
        prefix: str,
        targets: tuple[str, ...],
        answer: str,
        meta: Mapping[str, object],
        time: int = 1,
    ) -> Example:
        """Make an example from record ``number`` of the file. Examples of one question share a cluster, at every length and depth.

        A record that is asked more than once says which ``time`` this is.
        """
        again = f"-{time}" if time > 1 else ""
        return Example(
            id=f"{self.dataset.name}-{self.length}-{number:05d}{again}" + (f"-{self.reference}" if self.reference else ""),
            cluster=f"{self.dataset.name}-{sha256(question.encode()).hexdigest()[:12]}",
            task=self.dataset.name,
            category=self.dataset.category,
            length=self.length,
            prompt=fitted.prompt,
            answer_prefix=self.wording.joint + prefix,
            targets=targets,
            answer=answer,
            depth=fitted.depth,
            meta={
                **meta,
                "record": number,
                "dropped_passages": fitted.dropped_passages,
                "dropped_tokens": fitted.dropped_tokens,
                **({MOVED: True} if fitted.moved else {}),
            },
        )


def locate(roots: tuple[Path, ...], path: str) -> Path | None:
    """Find ``path`` below the first root that has it, or None."""
    places = (place for root in roots for place in (root / path, root / "data" / path))
    return next((place for place in places if place.is_file()), None)


def missing(dataset: Dataset, length: int, path: str, roots: tuple[Path, ...]) -> str:
    """Say in one line what is not there, which command fetches it, and how large it is."""
    size = megabytes(sum(file.size for file in files([dataset], [length])))
    where = " or ".join(str(root) for root in roots) or "any data directory"
    return (
        f"{path} is not in {where}; `harness data fetch --tasks {dataset.name} --lengths {length // 1024}k` gets it "
        f"(about {size}, estimated), and `harness data path DIR` names a copy on disk"
    )
