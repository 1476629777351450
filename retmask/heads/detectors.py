"""Detectors as plugins: the entry-point group ``retmask.detectors``.

A detector is a class without constructor arguments that says, for each trial, how much each head did:

    class LastToken:
        name = "last-token"

        def measure(self, model, tokenizer, trials, rules, say):
            with reading(model) as reader:
                looked_at = [reader.read(trial.prompt_ids, rows=1)[1] for trial in trials]   # [layers, heads, 1]
            hits = [(at >= trial.needle_start) & (at < trial.needle_end) for at, trial in zip(looked_at, trials)]
            return [TrialResult(trial, (), "", None, hit.float().mean(-1).numpy()) for trial, hit in zip(trials, hits)]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, Protocol

from harness.api import HarnessError

if TYPE_CHECKING:  # what options know of detectors is their names: numpy is not loaded for them
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from retmask.heads.scores import Scores, TrialFacts
    from retmask.heads.trial_scoring import TrialScoring
    from retmask.heads.trials import Trial


_GROUP: Final = "retmask.detectors"
#: The detector of the paper, and of methods that name none.
COPY: Final = "copy"


@dataclass(frozen=True, eq=False)
class TrialResult:
    """What the model did in one trial."""

    trial: "Trial"
    generated_ids: tuple[int, ...]
    """Up to and including the end-of-text token, if there was one; empty where a detector lets nothing be generated."""
    answer: str
    recall: float | None
    """ROUGE-1 recall of the needle's answer; None where there is no answer, and every trial counts."""
    scores: "Scores"
    """float32 [layers, heads]; zeros where the copy detector did not look, because the trial does not count."""

    @property
    def success(self) -> bool:
        """Whether the trial counts."""
        from retmask.heads.trial_scoring import SUCCESS

        return self.recall is None or self.recall > SUCCESS

    @property
    def facts(self) -> "TrialFacts":
        """What is kept beside the scores."""
        from retmask.heads.scores import TrialFacts

        trial = self.trial
        return TrialFacts(self.success, trial.length, len(trial.prompt_ids), trial.depth, trial.realised_depth, self.recall)


class Detector(Protocol):
    """What scores heads.

    Its ``version``, 1 where it has none, is raised when the same trials get other scores: finished steps are then measured anew.
    One that has no answers written may say what it does instead, for ``harness plan``: ``forced(heads)`` gives how many times it puts a
    trial's answer to a model of so many heads, a pass back counting as two.
    """

    name: str

    def measure(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        trials: "Sequence[Trial]",
        rules: "TrialScoring",
        say: Callable[[str], None],
    ) -> list[TrialResult]:
        """Give one result for each trial, in their order, with scores [layers, heads], 0 or more."""


def find_detector(name: str) -> Detector:
    """Find the installed detector called ``name``. HarnessError lists what there is."""
    for point in entry_points(group=_GROUP, name=name):
        try:
            detector: Detector = point.load()()
        except Exception as error:
            raise HarnessError(f"detector {name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}") from error
        return detector
    raise HarnessError(f"unknown detector {name!r}; installed: {', '.join(detector_names()) or 'none'}")


def version_of(name: str) -> int:
    """Tell the version of the detector called ``name``; the paper's own is known without loading anything."""
    return 1 if name == COPY else int(getattr(find_detector(name), "version", 1))


def detector_names() -> list[str]:
    """List the names of the installed detectors."""
    return sorted({point.name for point in entry_points(group=_GROUP)})
