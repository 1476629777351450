"""What a method hands back for the report: short figures, a table of scores, a few instructions."""

import json
from typing import Final

from harness.api import Artifact, Json, RunContext
from retmask import stages
from retmask.heads.detectors import COPY
from retmask.heads.masks import HEADS, UNITS, HeadMask
from retmask.heads.scores import HeadScores
from retmask.methods.measuring import Masked
from retmask.options import parse_options
from tasks.files import open_bytes, read_lines

#: Instructions that the report shows.
_SHOWN: Final = 10


def prompts_alone(context: RunContext) -> Artifact:
    options = parse_options(context.options)
    with stages.sampler(context, options) as engine:
        return stages.prompted(context, options, engine)


def as_table(scores: HeadScores) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(score) for score in layer) for layer in scores.mean)


def summary(masked: Masked | None, after: HeadScores | None, pairs: Artifact, trained: Artifact) -> dict[str, Json]:
    """Give short figures for the report."""
    facts: dict[str, Json] = {}
    if masked is not None:
        scores = masked.scores
        facts = {
            f"masked {UNITS[masked.mask.component]}": len(masked.mask.heads),
            UNITS[masked.mask.component]: len(scores.heads()),
            **({"detector": scores.detector} if scores.detector != COPY else {}),
            "trials": len(scores.counted),
            "max head score" if masked.mask.component == HEADS else "max score": round(scores.max, 3),
            "gini": round(scores.gini, 3),
            "hoyer": round(scores.hoyer, 3),
            **({"strength": masked.mask.strength} if masked.mask.strength else {}),
            **masked.facts,
        }
        if after is not None:
            facts |= score_changes(scores, after, masked.mask)
    for name, value in [*pairs.facts.items(), *trained.facts.items()]:
        if name == "warnings":
            if isinstance(value, list) and value:
                facts[name] = "; ".join([*([str(facts[name])] if name in facts else []), *map(str, value)])
        elif name != "pairs" or name not in facts:
            facts[name.replace("_", " ")] = value
    return facts


def shown(pairs: Artifact) -> tuple[str, ...]:
    """Give the first few instructions, each once."""
    found: dict[str, None] = {}
    with open_bytes(pairs.path / stages.PAIRS) as file:
        for line in read_lines(file, pairs.path / stages.PAIRS):
            found[json.loads(line)["prompt"]] = None
            if len(found) == _SHOWN:
                break
    return tuple(found)


def score_changes(before: HeadScores, after: HeadScores, mask: HeadMask) -> dict[str, Json]:
    """Give the mean change of the masked and of the other heads' scores (RetMask, arXiv 2601.11020, section 5)."""
    change = after.mean - before.mean
    chosen = [head for head in before.heads() if head in set(mask.heads)]
    others = [head for head in before.heads() if head not in set(mask.heads)]
    return {
        "masked heads' mean score change": round(sum(float(change[head]) for head in chosen) / len(chosen), 4),
        "other heads' mean score change": round(sum(float(change[head]) for head in others) / max(len(others), 1), 4),
    }
