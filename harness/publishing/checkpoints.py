"""A run's trained models, put where a person finds them, each with its card."""

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.api import Artifact, Json, Model, Outcome
from harness.context import Run
from harness.environment import versions
from harness.models.lookup import resolve
from harness.publishing.card import card, command
from harness.store import checkpoints


def publish(run: Run, trained: Sequence[tuple[str, int | None, Outcome, Model]], *, suite: str, finished: bool) -> list[Path]:
    """Put every trained model of the run into its ``models`` folder: (method, training seed if there are several, outcome, model).

    ``suite`` is the suite's digest, empty where nothing was evaluated.
    """
    about: dict[str, Json] = {"command": command(sys.argv), "base model's digest": run.model.digest}
    about |= ({"suite digest": suite} if suite else {}) | {name: each for name, each in versions(run.config.backend).items() if each}
    found = []
    for method, seed, outcome, model in trained:
        label = checkpoints.label(method, seed)
        text = card(method, label, run.model, outcome, run.config, run.root if finished else None, about)
        place = checkpoints.publish(run.root, label, outcome.checkpoint, model.digest, text, run.say)
        found += [] if place is None else [place]
    return found


def of_stage(run: Run, method: str, artifact: Artifact) -> None:
    """Put what ``harness train`` has trained there, unless a run has put it there already, with its scores."""
    outcome = Outcome(artifact.path / "model", artifact.facts)
    model = resolve(str(outcome.checkpoint))
    if all(each.digest != model.digest or each.label != checkpoints.label(method, None) for each in checkpoints.listed(run.root)):
        publish(run, [(method, None, outcome, model)], suite="", finished=False)
