"""Every trial's tokens and scores as JSONL, so that anyone can recompute a score with other code."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.files import replacing

if TYPE_CHECKING:
    from retmask.heads.detectors import TrialResult


def dump(results: Sequence["TrialResult"], path: Path) -> None:
    """Write one trial a line; ``needle_end`` is exclusive, ``scores`` are layers x heads. The file appears whole or not at all."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for result in results:
            file.write(json.dumps(_record(result)) + "\n")


def _record(result: "TrialResult") -> dict[str, object]:
    trial = result.trial
    return {
        "prompt_ids": list(trial.prompt_ids),
        "needle_start": trial.needle_start,
        "needle_end": trial.needle_end,
        "generated_ids": list(result.generated_ids),
        "success": result.success,
        "scores": result.scores.tolist(),
        "length": trial.length,
        "depth": trial.depth,
        "realised_depth": trial.realised_depth,
        "recall": result.recall,
        "needle": trial.needle.text,
        "question": trial.needle.question,
        "target": trial.needle.answer,
        "answer": result.answer,
    }
