"""A baseline and the candidates that are held against it, asked in full or until their difference is known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.api import Artifact, HarnessError, Model
from harness.context import Run
from harness.evaluation.evaluate import evaluate, scoring, templates
from harness.evaluation.rounds import Rounds
from harness.store.find import Evaluation

if TYPE_CHECKING:
    import pandas as pd


def baseline_samples(against: Evaluation, suite: Artifact, run: Run) -> "pd.DataFrame":
    """Read the samples of ``against``; HarnessError, before anything is generated, if they cannot be compared with this evaluation."""
    from reports.generations import temperature
    from reports.stopping import stopping_of

    table, config = against.read(), run.config
    if (table["suite_digest"] != suite.facts["digest"]).any():
        raise HarnessError(
            f"--against {against.path}: evaluated on another suite; give the same --tasks, --lengths, --examples, --data and --seed, and a "
            "model with the same tokenizer"
        )
    if (table["backend"] != config.backend).any():
        raise HarnessError(f"--against {against.path}: evaluated by another backend; give --backend {table['backend'].iloc[0]}")
    if (table["template"] != table["task"].map(templates(suite, run.model, config.think_tokens))).any():
        raise HarnessError(
            f"--against {against.path}: its prompts were framed otherwise, or by another chat template; give the same --framing and "
            "--think-tokens"
        )
    if temperature(table) != config.temperature:
        raise HarnessError(f"--against {against.path}: its answers were written at another temperature; give --temperature "
                           f"{temperature(table):g}")  # fmt: skip
    mark = stopping_of(table)
    if mark is not None and not mark.complete:
        raise HarnessError(f"--against {against.path}: stopped early itself; name an evaluation of every example")
    return table


class InFull:
    """Every model is asked everything, the baseline first."""

    def __init__(self, run: Run, suite: Artifact) -> None:
        self._run, self._suite, self._scoring = run, suite, scoring(run.config)
        self._baseline = self.candidate(run.model)

    def candidate(self, model: Model) -> Artifact:
        return evaluate(self._run, model, self._suite, self._run.config, self._scoring)

    def baseline(self) -> Artifact:
        return self._baseline


class InRounds:
    """Every candidate is asked until its difference to the baseline is known, the baseline as much as its candidates need."""

    def __init__(self, run: Run, suite: Artifact, methods: Sequence[str]) -> None:
        self._model = run.model
        self._rounds = Rounds(run, suite, scoring(run.config), methods)
        self._blocks = 0

    def candidate(self, model: Model) -> Artifact:
        found, blocks = self._rounds.candidate(model, lambda blocks: self._rounds.asked(self._model, blocks))
        self._blocks = max(self._blocks, blocks)
        return found

    def baseline(self) -> Artifact:
        return self._rounds.baseline(self._model, self._blocks)
