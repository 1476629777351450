"""Smaller-Model: another model writes the rejected answers (RetMask, arXiv 2601.11020)."""

from collections.abc import Mapping

from harness.api import Artifact, HarnessError, Json, Method, Model, Outcome, RunContext, Work
from harness.models.lookup import resolve
from retmask import stages
from retmask.methods.effect import without_mask
from retmask.methods.outcome import prompts_alone, shown, summary
from retmask.options import Options, parse_options
from retmask.training.launch import SFT
from retmask.workload import contrasting


class SmallerModel(Method):
    """Baseline: the rejected answers are a weaker model's (the paper's Smaller-Model). No heads are measured or masked."""

    name = "smaller-model"

    settings = Options

    def check(self, options: Mapping[str, Json]) -> None:
        """Raise HarnessError for an option that does not exist or has the wrong type, and if no other model is named."""
        parsed = parse_options(options)
        if not parsed.pairs_from and not parsed.rejected_model():
            raise HarnessError(f"{self.name}: name the model that writes the rejected answers, such as rejected_from = 'model NAME'")

    def settled(self, options: Mapping[str, Json]) -> Mapping[str, Json]:
        """Give the options that decide something, with every default."""
        return without_mask(parse_options(options))

    def plan(self, options: Mapping[str, Json], model: Model) -> list[Work]:
        """Say what each step has to compute, for ``harness plan``."""
        return contrasting(self.name, parse_options(options), model)

    def prepare(self, context: RunContext) -> None:
        """Raise HarnessError for instructions, pairs or another model that are not there."""
        options = parse_options(context.options)
        stages.check_inputs(context.model, options, chosen_only=options.loss == SFT)
        if not options.pairs_from:
            resolve(options.rejected_model())

    def run(self, context: RunContext) -> Outcome:
        """Train a model that prefers its own answers to the other model's."""
        options = parse_options(context.options)
        pairs = self.pairs(context)
        trained = stages.trained(context, options, pairs)
        return Outcome(checkpoint=trained.path / "model", facts=summary(None, None, pairs, trained), instructions=shown(pairs))

    def prompts(self, context: RunContext) -> Artifact:
        """Make the instructions alone."""
        return prompts_alone(context)

    def pairs(self, context: RunContext) -> Artifact:
        """Make the pairs alone."""
        self.check(context.options)
        options = parse_options(context.options)
        if options.pairs_from:
            return stages.given(context, options, chosen_only=options.loss == SFT)
        other = resolve(options.rejected_model())
        with stages.sampler(context, options) as engine:
            prompts = stages.instructions(context, options, engine)
            chosen = stages.responses(context, options, prompts, "chosen", engine, None)
        with stages.sampler(context, options, other) as engine:
            rejected = stages.responses(context, options, prompts, f"rejected-{self.name}", engine, None, other)
        return stages.paired(context, options, prompts, chosen, rejected, other)

    def train(self, context: RunContext) -> Artifact:
        """Make the pairs and the training."""
        return stages.trained(context, parse_options(context.options), self.pairs(context))
