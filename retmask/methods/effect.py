"""Which options decide something beside the others: variants that differ in none of these are one, and none is given the rest in vain."""

from collections.abc import Container
from dataclasses import asdict
from typing import Final

from harness.api import Json
from retmask.heads.masks import HEADS
from retmask.options import AUTO, Options
from retmask.pairs.contexts import CONTEXT
from retmask.training.launch import TrainConfig

#: Options of a mask that are not of its detection.
_MASK: Final = ("heads", "threshold", "top_k", "components", "contrast", "contrast_prompts", "strength", "detector", "token_weights")
#: Options of a training that takes its pairs as they are given.
_GIVEN: Final = ("pairs_from", "dtype", "parallel", "processes")
#: Options of a preference.
PREFERENCE: Final = ("beta", "loss", "label_smoothing", "rejected_from")
#: What is measured of heads alone.
_OF_HEADS: Final = ("detector", "heads_after", "detection_counted", "detection_max_new_tokens")


def of_masking(options: Options) -> dict[str, Json]:
    """Give the options of a method that masks, with every default, but for those that decide nothing beside the others."""
    idle = {"rejected_from"}
    if options.top_k is not None or options.contrast or options.heads == AUTO:
        idle.add("threshold")
    if not options.contrast:
        idle.add("contrast_prompts")
    if options.components != HEADS:
        idle |= {*_OF_HEADS}
    return _table(options, idle)


def without_mask(options: Options, idle: Container[str] = ()) -> dict[str, Json]:
    """Give the options of a method that masks nothing, likewise; ``idle`` are others that it has no use for."""
    return {
        name: value
        for name, value in _table(options, idle).items()
        if name not in _MASK and not name.startswith("detection_") and name != "heads_after"
    }


def _table(options: Options, idle: Container[str]) -> dict[str, Json]:
    used = {name: value for name, value in asdict(options).items() if name not in idle}
    if options.prompts_from != CONTEXT:
        used.pop("context_tokens")
    if options.pairs_from:
        kept = (*_GIVEN, *TrainConfig.__dataclass_fields__)
        used = {name: value for name, value in used.items() if name in kept}
    return used
