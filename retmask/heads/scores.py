"""Retrieval scores of attention heads: what a detector measured, and how concentrated it is.

    >>> import numpy as np
    >>> scores = HeadScores("", np.array([[[0.5, 0.0], [0.0, 0.25]]], np.float32), (TrialFacts(success=True),))
    >>> scores.at_least(0.3), scores.zero, scores.top(1)
    (1, 0.5, [(Head(layer=0, head=0), 0.5)])

The score of a head in one trial is the share of the needle's tokens that it copied (Wu et al., arXiv 2404.15574, section 2); the
score of a head is the mean over the trials that count, those whose answer was right (RetMask, arXiv 2601.11020, section 3.1).
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from harness.api import HarnessError, Json
from tasks.files import replacing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Scores: TypeAlias = "NDArray[np.float32]"
_FORMAT: Final = "retmask-heads-1"


class Head(NamedTuple):
    """One attention (query) head; both indices count from 0."""

    layer: int
    head: int


@dataclass(frozen=True)
class TrialFacts:
    """What is known of a trial beside its scores. Published score files hold none of it but success."""

    success: bool
    length: int | None = None
    """Tokens the prompt was asked to have."""
    prompt_tokens: int | None = None
    """Tokens the prompt has; at most ``length``."""
    depth: float | None = None
    """Where the needle was asked to be: 0 the haystack's start, 1 its end."""
    realised_depth: float | None = None
    """Where the nearest sentence boundary put it."""
    recall: float | None = None
    """ROUGE-1 recall of the answer, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class HeadScores:
    """Scores of every head of a model in every trial."""

    model_digest: str
    per_trial: Scores
    """float32 [trials, layers, heads], each in [0, 1]; above 1 only where the published scoring counts a token twice."""
    trials: tuple[TrialFacts, ...]
    detector: str = "copy"
    """What measured them: the name of an entry point of ``retmask.detectors``."""
    protocol: str = ""
    """The trials' layout: ``grid``, ``paper`` or ``parity``; empty where the file does not say."""

    def __post_init__(self) -> None:
        import numpy as np

        if self.per_trial.ndim != 3 or len(self.per_trial) != len(self.trials):
            raise ValueError(f"{len(self.trials)} trials do not fit scores of shape {self.per_trial.shape}")
        if not np.isfinite(self.per_trial).all():
            raise ValueError("head scores must be finite numbers")
        if not any(trial.success for trial in self.trials):
            raise HarnessError("no trial found its needle, so there are no retrieval scores; try shorter lengths or another model")

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, heads per layer)."""
        return self.per_trial.shape[1], self.per_trial.shape[2]

    @cached_property
    def counted(self) -> Scores:
        """The successful trials only: float32 [counted trials, layers, heads]."""
        return self.per_trial[[trial.success for trial in self.trials]]

    @cached_property
    def mean(self) -> "NDArray[np.float64]":
        """The score of each head, float64 [layers, heads]: the mean over the trials that count."""
        import numpy as np

        mean: NDArray[np.float64] = self.counted.mean(axis=0, dtype=np.float64)
        return mean

    def heads(self) -> list[Head]:
        """List every head, layer by layer."""
        layers, heads = self.shape
        return [Head(layer, head) for layer in range(layers) for head in range(heads)]

    def ranked(self) -> list[tuple[Head, float]]:
        """List every head with its score, highest first; equal scores in the order of the layers."""
        scored = [(head, float(self.mean[head])) for head in self.heads()]
        return sorted(scored, key=lambda pair: (-pair[1], pair[0]))

    def top(self, k: int) -> list[tuple[Head, float]]:
        """List the k heads with the highest scores."""
        return self.ranked()[:k]

    def at_least(self, threshold: float) -> int:
        """Count how many heads score ``threshold`` or more."""
        return int((self.mean >= threshold).sum())

    @property
    def zero(self) -> float:
        """Share of heads that never copied a needle token."""
        return float((self.mean == 0).mean())

    @property
    def max(self) -> float:
        """The highest score."""
        return float(self.mean.max())

    @property
    def gini(self) -> float:
        """Gini coefficient of the head scores: 0 when all are equal, near 1 when one head has everything."""
        import numpy as np

        values = np.sort(self.mean.ravel())
        total = values.sum()
        if total == 0:
            return 0.0
        ranks = np.arange(1, len(values) + 1)
        return float((2 * (ranks * values).sum() / total - (len(values) + 1)) / len(values))

    @property
    def hoyer(self) -> float:
        """Hoyer's sparsity, (√n - l1/l2) / (√n - 1): 0 when all are equal, 1 when one head has everything (Hoyer 2004, JMLR 5)."""
        import numpy as np

        values = self.mean.ravel()
        norm = float(np.linalg.norm(values))
        if norm == 0 or len(values) == 1:
            return 0.0
        root = float(np.sqrt(len(values)))
        return float((root - values.sum() / norm) / (root - 1))

    def summary(self) -> dict[str, Json]:
        """Give the figures of ``harness heads show --json``."""
        layers, heads = self.shape
        return {
            "heads": layers * heads,
            "layers": layers,
            "heads_per_layer": heads,
            "trials": len(self.counted),
            "at_least": {"0.05": self.at_least(0.05), "0.1": self.at_least(0.1)},
            "zero": self.zero,
            "gini": self.gini,
            "hoyer": self.hoyer,
            "max": self.max,
            "top": [[head.layer, head.head, score] for head, score in self.top(10)],
        }

    def save(self, path: Path) -> None:
        """Write one safetensors file whose header holds the trial facts; it appears whole or not at all."""
        import numpy as np
        from safetensors.numpy import save

        facts = {
            "model_digest": self.model_digest,
            "detector": self.detector,
            "protocol": self.protocol,
            "trials": [asdict(trial) for trial in self.trials],
        }
        metadata = {_FORMAT: json.dumps(facts)}  # a single key: safetensors writes several in any order
        write_atomically(path, save({"scores": np.ascontiguousarray(self.per_trial)}, metadata=metadata))

    @classmethod
    def load(cls, path: Path) -> "HeadScores":
        """Read what :meth:`save` wrote. HarnessError for a missing file or one of another kind."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if _FORMAT not in metadata:
                    raise HarnessError(f"{path} is a safetensors file, but not one of head scores")
                per_trial: Scores = file.get_tensor("scores")
            facts = json.loads(metadata[_FORMAT])
            trials = tuple(TrialFacts(**trial) for trial in facts["trials"])
            texts = {name: str(facts.get(name, default)) for name, default in (("detector", "copy"), ("protocol", ""))}
            return cls(str(facts["model_digest"]), per_trial, trials, **texts)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise HarnessError(f"cannot read head scores from {path}: {error}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, and its folder."""
    with replacing(path) as partial:
        partial.write_bytes(data)
