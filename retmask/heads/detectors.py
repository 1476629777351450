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
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, Protocol

from harness.api import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from retmask.heads.detect import TrialResult
    from retmask.heads.trial_scoring import Rules
    from retmask.heads.trials import Trial

_GROUP: Final = "retmask.detectors"


class Detector(Protocol):
    """What scores heads."""

    name: str

    def measure(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        trials: "Sequence[Trial]",
        rules: "Rules",
        say: Callable[[str], None],
    ) -> "list[TrialResult]":
        """One result for each trial, in their order, with scores [layers, heads], 0 or more."""


def find_detector(name: str) -> Detector:
    """The installed detector called ``name``. HarnessError lists what there is."""
    for point in entry_points(group=_GROUP, name=name):
        try:
            detector: Detector = point.load()()
        except Exception as error:
            raise HarnessError(f"detector {name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}") from error
        return detector
    raise HarnessError(f"unknown detector {name!r}; installed: {', '.join(detector_names()) or 'none'}")


def detector_names() -> list[str]:
    """Names of the installed detectors."""
    return sorted({point.name for point in entry_points(group=_GROUP)})
