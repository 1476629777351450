"""The path of the methods that mask heads (RetMask, arXiv 2601.11020, section 3).

Measure the heads, choose a mask, sample from the intact and from the masked model, train with DPO to prefer the intact one's answers. The
methods differ in which heads they mask, so the head scores and the chosen answers are shared steps.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from harness.api import Artifact, HarnessError, Json, Method, Model, Outcome, RunContext, Work
from retmask import stages
from retmask.heads import masks
from retmask.heads.masks import HEADS, HeadMask
from retmask.heads.scores import HeadScores
from retmask.methods.contrast import contrasted_count
from retmask.methods.effect import of_masking
from retmask.methods.measuring import Masked, audited_count, heads_after, measured_heads, measured_units
from retmask.methods.outcome import as_table, prompts_alone, shown, summary
from retmask.options import AUTO, DISAGREEMENT, Options, parse_options
from retmask.stages import derive
from retmask.training.launch import SFT
from retmask.workload import masking


class HeadMasking(Method):
    """The path that the plugins share. Implements :class:`harness.api.StagedMethod`."""

    settings = Options
    drawn: ClassVar[bool] = True
    """Whether its mask is another for another training seed."""

    def choose(self, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
        """Choose the heads to ablate, given the retrieval heads ``target``."""
        raise NotImplementedError

    def check(self, options: Mapping[str, Json]) -> None:
        """Raise HarnessError for an option that does not exist or has the wrong type."""
        parse_options(options)

    def settled(self, options: Mapping[str, Json]) -> Mapping[str, Json]:
        """Give the options that decide something, with every default."""
        return of_masking(parse_options(options))

    def plan(self, options: Mapping[str, Json], model: Model) -> list[Work]:
        """Say what each step has to compute, for ``harness plan``."""
        return masking(self.name, parse_options(options), model, drawn=self.drawn)

    def prepare(self, context: RunContext) -> None:
        """Measure the heads and choose the mask. HarnessError if there is none: too few heads, or none like the retrieval heads.

        Likewise if the model is to write instructions and cannot, or what the method is to be given is not there.
        """
        options = parse_options(context.options)
        stages.check_inputs(context.model, options, chosen_only=options.loss == SFT)
        stages.check_count(context.model, options)
        if not options.pairs_from:
            self._masked(context, options)

    def run(self, context: RunContext) -> Outcome:
        """Train a model that prefers its own answers to those it gives without the masked heads."""
        options = parse_options(context.options)
        masked = None if options.pairs_from else self._masked(context, options)
        pairs = self._pairs(context, options, masked)
        trained = stages.trained(context, options, pairs)
        if masked is None:
            return Outcome(checkpoint=trained.path / "model", facts=summary(None, None, pairs, trained), instructions=shown(pairs))
        if options.components != HEADS:
            return Outcome(checkpoint=trained.path / "model", facts=summary(masked, None, pairs, trained), instructions=shown(pairs))
        after = heads_after(context, options, trained)
        return Outcome(
            checkpoint=trained.path / "model",
            facts=summary(masked, after, pairs, trained),
            head_scores=as_table(masked.scores),
            head_scores_after=None if after is None else as_table(after),
            masked_heads=tuple((head.layer, head.head) for head in masked.mask.heads),
            instructions=shown(pairs),
        )

    def prompts(self, context: RunContext) -> Artifact:
        """Make the instructions alone."""
        return prompts_alone(context)

    def pairs(self, context: RunContext) -> Artifact:
        """Make the pairs alone."""
        options = parse_options(context.options)
        return self._pairs(context, options, None if options.pairs_from else self._masked(context, options))

    def train(self, context: RunContext) -> Artifact:
        """Make the pairs and the training."""
        return stages.trained(context, parse_options(context.options), self.pairs(context))

    def _masked(self, context: RunContext, options: Options) -> Masked:
        measured = measured_units(context, options) if options.components != HEADS else measured_heads(context, options)
        scores = HeadScores.load(measured.path / "heads.safetensors")
        top_k, facts = self._count(context, options, measured)
        target = masks.retrieval(scores, top_k=top_k, threshold=options.threshold if top_k is None else None)
        try:
            mask = self.choose(scores, target, derive(context.training_seed, self.name))
        except HarnessError as error:
            raise HarnessError(f"{self.name}: {error}") from None
        idle = 0 if self.drawn else sum(float(scores.mean[head]) == 0 for head in mask.heads)
        idle_facts: dict[str, Json] = {"masked though they score 0": idle} if idle else {}
        return Masked(scores, replace(mask, strength=options.strength, component=options.components), {**facts, **idle_facts})

    def _count(self, context: RunContext, options: Options, measured: Artifact) -> tuple[int | None, dict[str, Json]]:
        """The number of heads to mask, None where the threshold decides, and what is to be said of it."""
        if options.contrast:
            return contrasted_count(context, options, measured)
        return audited_count(context, options, measured) if options.heads == AUTO else options.top_k, {}

    def _pairs(self, context: RunContext, options: Options, masked: Masked | None) -> Artifact:
        if masked is None:
            return stages.given(context, options, chosen_only=options.loss == SFT)
        kept = f" at strength {masked.mask.strength:g}" if masked.mask.strength else ""
        context.say(
            f"{self.name}: {len(masked.mask.heads)} of {len(masked.scores.heads())} {masks.UNITS[masked.mask.component]} masked{kept}"
        )
        if idle := masked.facts.get("masked though they score 0"):
            context.say(f"warning: {idle} of these score 0, masked for their place alone; lower top_k, or have more detection_trials")
        with stages.sampler(context, options) as engine:
            prompts = stages.instructions(context, options, engine)
            chosen = stages.responses(context, options, prompts, "chosen", engine, None)
            rejected = stages.responses(context, options, prompts, f"rejected-{self.name}", engine, masked.mask)
        pairs = stages.paired(context, options, prompts, chosen, rejected)
        return stages.weighted(context, options, pairs, masked.mask) if options.token_weights == DISAGREEMENT else pairs
