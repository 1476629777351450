"""Every trial's tokens and scores as JSONL, so that anyone can recompute a score with other code."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retmask.heads.detect import TrialResult


def dump(results: Sequence["TrialResult"], path: Path) -> None:
    """One trial a line; ``needle_end`` is exclusive, ``scores`` are layers x heads. The file appears whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        for result in results:
            file.write(json.dumps(_record(result)) + "\n")
    os.replace(partial, path)


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
