"""Evaluated methods, and what a report says of variants: options of their own, and an option of which several values were tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harness.api import Artifact, Json, Model, Outcome
from harness.methods import Chosen

Scores = tuple[tuple[float, ...], ...]
"""Of heads, layer by layer."""
#: Figures of a method that tell how much it silenced.
_MASKED: Final = "masked heads"


@dataclass(frozen=True)
class Candidate:
    """A method's model, evaluated."""

    name: str
    outcome: Outcome
    """Of the first training seed."""
    samples: Artifact
    trained: Model
    repeats: tuple[Artifact, ...] = ()
    """Samples of the other training seeds."""
    extra: tuple[Artifact, ...] = ()
    """The extra tasks of every training seed; empty if there are none."""
    method: Chosen | None = None
    """The method with its options."""

    @property
    def evaluations(self) -> tuple[Artifact, ...]:
        """The samples of every training seed."""
        return (self.samples, *self.repeats)


def own_options(candidate: Candidate) -> dict[str, Json]:
    """Give, for the report's figures of a variant, the options that it has of its own; nothing for a plain method."""
    options = {} if candidate.method is None else candidate.method.variant.options
    return {"options of its own": ", ".join(f"{name} = {value}" for name, value in sorted(options.items()))} if options else {}


def instructions(outcomes: Mapping[str, Outcome]) -> dict[str, Json]:
    """Give the first instructions of the first method, and those of methods that were trained on others."""
    trained = {name: each.instructions for name, each in outcomes.items() if each.instructions}
    first = next(iter(trained.values()), ())
    others: dict[str, Json] = {name: list(each) for name, each in trained.items() if each != first}
    return {"instructions": list(first), **({"other_instructions": others} if others else {})}


def is_mapped(outcome: Outcome, scores: Scores | None) -> bool:
    """Say whether its masked heads belong on the map of these scores: a variant with another detector has other scores."""
    return bool(outcome.masked_heads) and outcome.head_scores in (None, scores)


def unmapped(outcomes: Mapping[str, Outcome], scores: Scores | None) -> list[Json]:
    """Name the methods that masked something which is not on the map of these scores; none where there is no map."""
    masking = [name for name, each in outcomes.items() if each.masked_heads or any(fact.startswith("masked ") for fact in each.facts)]
    return [name for name in masking if scores is not None and not is_mapped(outcomes[name], scores)]


def named(candidates: Sequence[Candidate]) -> dict[str, Json]:
    """Give each label's whole name, for what identifies a report; empty where no method has options of its own."""
    methods = {each.name: each.method for each in candidates if each.method is not None}
    return {label: str(method.variant) for label, method in methods.items() if method.variant.options}


def studies(candidates: Sequence[Candidate]) -> list[Json]:
    """Find the options that one method or several were tried with different numbers for, and nothing else of them changed.

    For each: ``option``, ``lines`` (method -> label -> value) and ``masked`` (label -> heads).
    """
    found: dict[str, dict[str, Json]] = {}
    for method in dict.fromkeys(each.method.variant.method for each in candidates if each.method is not None):
        settled = {each.name: each.method.settled for each in candidates if each.method and each.method.variant.method == method}
        option = _only_difference(list(settled.values()))
        if option:
            found.setdefault(option, {})[method] = {label: options[option] for label, options in settled.items()}
    masked = {each.name: each.outcome.facts.get(_MASKED) for each in candidates}
    return [_study(option, lines, masked) for option, lines in found.items()]


def _study(option: str, lines: dict[str, Json], masked: Mapping[str, Json]) -> Json:
    labels = [label for line in lines.values() if isinstance(line, dict) for label in line]
    return {"option": option, "lines": lines, "masked": {label: masked[label] for label in labels if isinstance(masked[label], int)}}


def _only_difference(settled: Sequence[Mapping[str, Json]]) -> str:
    """The one option, a number in each, in which they differ; "" if there is none."""
    names = {name for options in settled for name in options if any(other.get(name) != options[name] for other in settled)}
    if len(names) != 1:
        return ""
    (name,) = names
    values = [options.get(name) for options in settled]
    return name if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) else ""
