"""The size of a mask by the contrast that it makes: so many heads that the wanted share of pairs differs.

Where retrieval is spread over many heads, the few that score highest can be silenced without changing an answer, and pairs that are alike
teach nothing. A pair differs here if intact and masked model write other tokens with the same random numbers, so that nothing differs but
for the mask. The mask takes heads in the order of their scores, and grows no further than the audit's bound on perplexity of short texts.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from harness.api import Artifact, HarnessError, Json, RunContext
from harness.models.footprint import number_format
from retmask import stages
from retmask.heads import masks
from retmask.heads.growing import Grown, largest, smallest
from retmask.heads.scores import HeadScores
from retmask.model import load_model, load_tokenizer
from retmask.options import Options
from retmask.pairs.responses import Sampling
from retmask.stages import derive, digest

FLUENCY_VERSION: Final = 1
CONTRAST_VERSION: Final = 1


def contrasted_count(context: RunContext, options: Options, measured: Artifact) -> tuple[int, dict[str, Json]]:
    """Choose the number of heads, and figures for the report. HarnessError if masking one head already breaks the bound on fluency, or no
    mask within it changes any answer.

    Where the wanted share is out of reach, the mask that comes nearest to it is taken, and that is said.
    """
    most = _fluent(context, options, measured)
    with stages.sampler(context, options) as engine:
        prompts = stages.instructions(context, options, engine)[: options.contrast_prompts]
        settings = Sampling(options.temperature, options.top_p, options.max_new_tokens, derive(context.seed, "contrast"))
        inputs: dict[str, Json] = {
            "version": CONTRAST_VERSION,
            "heads": measured.key,
            "wanted": options.contrast,
            "strength": options.strength,
            "most": most,
            "prompts": digest(prompts),
            "dtype": number_format(options.dtype, context.device, context.model.path),
            "sampler": options.sampler,
            **asdict(settings),
        }

        def build(work: Path) -> Mapping[str, Json]:
            scores = HeadScores.load(measured.path / "heads.safetensors")
            intact = engine.sample(prompts, settings, None, work / "intact.journal")

            def share(k: int) -> float:
                mask = replace(masks.retrieval(scores, top_k=k), strength=options.strength, component=options.components)
                masked = engine.sample(prompts, settings, mask, work / f"masked-{k}.journal")
                found = sum(one.ids != other.ids for one, other in zip(intact, masked, strict=True)) / len(prompts)
                context.say(f"contrast: {k} {masks.UNITS[options.components]} masked, {found:.0%} of {len(prompts)} answers differ")
                return found

            return _facts(smallest(_sizes(most), share, options.contrast))

        facts = context.step("contrast", inputs, build).facts
    k, share = facts["k"], facts["value"]
    assert isinstance(k, int)
    assert isinstance(share, float)
    if not share:
        raise HarnessError(
            f"[method]: contrast: none of {len(prompts)} answers changes under any mask of up to {most} {masks.UNITS[options.components]}, "
            "which is as many as the bound on fluency allows, so pairs would differ by chance alone; mask other components, or others by "
            "another detector or strength"
        )
    if share < options.contrast:
        context.say(f"warning: {_short(share, options, k, most)}")
    return k, {"share of answers that the mask changes": round(share, 3)}


def _short(share: float, options: Options, k: int, most: int) -> str:
    bound = f"more than {most} cannot be masked within the bound on fluency"
    units = masks.UNITS[options.components]
    return f"no mask changes {options.contrast:.0%} of the answers; that of {k} {units} changes {share:.0%}, and {bound}"


def _fluent(context: RunContext, options: Options, measured: Artifact) -> int:
    """The most heads under whose mask short texts are still predicted within the audit's bound."""
    dtype = number_format(options.dtype, context.device, context.model.path)
    seed = derive(context.seed, "fluency")

    def build(work: Path) -> Mapping[str, Json]:
        from retmask.heads.audit import AuditSettings, sizes
        from retmask.heads.lab import ShortTexts

        scores = HeadScores.load(measured.path / "heads.safetensors")
        texts = ShortTexts(load_model(context.model.path, dtype, context.device), load_tokenizer(context.model.path), seed)

        def growth(k: int) -> float:
            return texts.growth(replace(masks.retrieval(scores, top_k=k), strength=options.strength, component=options.components)).value

        bound = AuditSettings().fluency
        found = largest(sizes(len(scores.heads())), growth, bound)
        return {"bound": bound, **({"k": 0, "value": growth(1), "tried": []} if found is None else _facts(found))}

    inputs: dict[str, Json] = {
        "version": FLUENCY_VERSION,
        "heads": measured.key,
        "strength": options.strength,
        "seed": seed,
        "dtype": dtype,
    }
    facts = context.step("fluency", inputs, build).facts
    most = facts["k"]
    assert isinstance(most, int)
    if not most:
        grown = f"perplexity of short texts grow x{facts['value']:.2f}, beyond the bound of x{facts['bound']:g}"
        raise HarnessError(
            f"masking one of the {masks.UNITS[options.components]} makes {grown}, so no contrast is within it; leave contrast out, or "
            "give a strength nearer to 1"
        )
    return most


def _sizes(most: int) -> list[int]:
    """About seven numbers of heads up to the most, in even proportions."""
    return sorted({round(most ** (step / 6)) for step in range(7)})


def _facts(found: Grown) -> dict[str, Json]:
    return {"k": found.k, "value": float(found.value), "tried": [list(pair) for pair in found.tried]}
