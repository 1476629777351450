"""SFT: train on the chosen answers alone."""

from collections.abc import Mapping
from dataclasses import replace

from harness.api import Artifact, Json, Method, Model, Outcome, RunContext, Work
from retmask import stages
from retmask.methods.effect import PREFERENCE, without_mask
from retmask.methods.outcome import prompts_alone, shown, summary
from retmask.options import Options, parse_options
from retmask.training.launch import SFT
from retmask.workload import chosen_alone


class Sft(Method):
    """Baseline: maximum likelihood of the model's own answers, with nothing rejected. What does the training itself do?"""

    name = "sft"

    settings = Options

    def check(self, options: Mapping[str, Json]) -> None:
        """Raise HarnessError for an option that does not exist or has the wrong type."""
        _settings(options)

    def settled(self, options: Mapping[str, Json]) -> Mapping[str, Json]:
        """Give the options that decide something, with every default."""
        return without_mask(_settings(options), PREFERENCE)

    def plan(self, options: Mapping[str, Json], model: Model) -> list[Work]:
        """Say what each step has to compute, for ``harness plan``."""
        return chosen_alone(_settings(options), model)

    def prepare(self, context: RunContext) -> None:
        """Raise HarnessError for instructions or answers that are not there."""
        stages.check_inputs(context.model, self._options(context), chosen_only=True)

    def run(self, context: RunContext) -> Outcome:
        """Train on the chosen answers."""
        pairs = self.pairs(context)
        trained = stages.trained(context, self._options(context), pairs)
        return Outcome(checkpoint=trained.path / "model", facts=summary(None, None, pairs, trained), instructions=shown(pairs))

    def prompts(self, context: RunContext) -> Artifact:
        """Make the instructions alone."""
        return prompts_alone(context)

    def pairs(self, context: RunContext) -> Artifact:
        """Make the chosen answers alone."""
        options = self._options(context)
        if options.pairs_from:
            return stages.given(context, options, chosen_only=True)
        with stages.sampler(context, options) as engine:
            prompts = stages.instructions(context, options, engine)
            chosen = stages.responses(context, options, prompts, "chosen", engine, None)
        return stages.chosen_alone(context, prompts, chosen)

    def train(self, context: RunContext) -> Artifact:
        """Make the chosen answers and the training."""
        return stages.trained(context, self._options(context), self.pairs(context))

    def _options(self, context: RunContext) -> Options:
        return _settings(context.options)


def _settings(options: Mapping[str, Json]) -> Options:
    return replace(parse_options(options), loss=SFT)
