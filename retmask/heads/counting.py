"""Needle trials until enough of them count: a trial in which the needle was not found says nothing about heads.

The trials come in rounds, each with as many as the share found so far makes likely to be enough. Trials and rounds follow from the seed
and from the answers alone, so that the same model always gets the same ones; a finished round is on disk before the next begins.
"""

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.api import HarnessError
from retmask.heads.scores import write_atomically
from retmask.heads.trials import Trial
from tasks.files import open_bytes

if TYPE_CHECKING:
    from retmask.heads.detectors import TrialResult

#: With fewer trials that count, one more or less moves a head's score by a twentieth and more.
FEW: Final = 20
#: How many times the trials asked for there may be, at most.
MOST: Final = 10


@dataclass(frozen=True)
class Counting:
    """How many trials have to count, and where they come from."""

    wanted: int
    trials: int
    """For each length, in the first round."""
    build: Callable[[int, int], Sequence[Trial]]
    """Trials ``first`` to ``first + number`` of every length."""
    folder: Path | None = None
    """Where finished rounds are kept, for a run that is killed."""

    def __post_init__(self) -> None:
        if self.wanted < 1:
            raise HarnessError(f"{self.wanted} trials are to count; ask for at least 1, better 30")

    def measure(
        self, ask: Callable[[Sequence[Trial]], Sequence["TrialResult"]], say: Callable[[str], None] = lambda _: None
    ) -> list["TrialResult"]:
        """Measure in rounds; the results of all. Where the trials are used up first, ``say`` gets that."""
        results: list[TrialResult] = []
        first, number, most = 0, self.trials, MOST * self.trials
        while number:
            results += self._round(ask, first, number)
            first += number
            found = sum(result.success for result in results)
            number = min(self._more(found, len(results), first), most - first)
        if found < self.wanted:
            say(
                f"heads: {found} of {len(results)} trials count and {self.wanted} were wanted; no more than {MOST} times the trials asked "
                "for are tried: choose shorter lengths, or needles that the model finds (--needles)"
            )
        return results

    def _more(self, found: int, asked: int, each: int) -> int:
        """Trials of each length for the next round: as many as would do at the share found so far, at most twice what there are."""
        missing = self.wanted - found
        if missing <= 0:
            return 0
        return min(math.ceil(missing * each / found), 2 * each) if found else each

    def _round(self, ask: Callable[[Sequence[Trial]], Sequence["TrialResult"]], first: int, number: int) -> Sequence["TrialResult"]:
        trials = self.build(first, number)
        path = None if self.folder is None else self.folder / f"round-{first}-{number}.npz"
        if path is not None and path.is_file():
            return _read(path, trials)
        results = ask(trials)
        if path is not None:
            _write(path, results)
        return results


def roughness(counted: int, trials: int) -> str | None:
    """Say what to think of scores from ``counted`` of ``trials`` trials, if they are few."""
    if counted >= FEW:
        return None
    if counted == trials:
        return f"heads: {trials} trials are few, so the scores are rough: have more (--trials)"
    return (
        f"heads: only {counted} of {trials} trials count, so the scores are rough: have more (--counted 30, or more --trials), shorter "
        "contexts (--lengths), or needles that the model finds (--needles)"
    )


def _write(path: Path, results: Sequence["TrialResult"]) -> None:
    said = json.dumps([[list(result.generated_ids), result.answer, result.recall] for result in results])
    data = io.BytesIO()
    np.savez(data, scores=np.stack([result.scores for result in results]), said=np.array(said))
    write_atomically(path, data.getvalue())


def _read(path: Path, trials: Sequence[Trial]) -> list["TrialResult"]:
    """HarnessError for a file that does not hold these trials' results."""
    from retmask.heads.detectors import TrialResult

    try:
        with np.load(open_bytes(path), allow_pickle=False) as file:
            scores, said = file["scores"], json.loads(str(file["said"]))
        pairs = zip(trials, said, scores, strict=True)
        return [TrialResult(trial, tuple(ids), answer, recall, each) for trial, (ids, answer, recall), each in pairs]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(f"{path} is damaged ({error}); delete it to have its trials asked again") from None
