"""What more questions, generations or training seeds would buy: the chance to find an effect, by simulation over all three, what blurs a
difference now, and what a wanted precision takes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports.bootstrap import POWER
from reports.comparison import Comparison, percent, points
from reports.power import power
from reports.precision import SEEDS as MOST_SEEDS
from reports.precision import Offer, Shop, assumed
from reports.shape import Shape
from reports.variance import Components

_FACTORS: Final = (0.5, 1, 2, 4, 8)
SEEDS: Final = (1, 2, 3, 5, 10)
_MOST: Final = 8_000
_SIMULATIONS: Final = 200

Chances = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Doubt:
    """What blurs a mean, and what makes it clearer."""

    name: str
    parts: Components
    variances: dict[str, float]
    """What each source adds to the variance of the mean, as a claim about the method."""
    offers: tuple[Offer, ...]
    """What there is now, and twice as much of each."""
    best: Offer
    confidence: float = 0.95
    wanted: float | None = None
    """Half width of the interval that is wanted."""
    alone: dict[str, int | None] | None = None
    """How many of one thing that takes, the others as they are; None where no number does."""
    cheapest: tuple[Offer, ...] = ()
    """The fewest answers in all: for this checkpoint, where it is one, and for the method."""


@dataclass(frozen=True)
class Curve:
    """Chances to find an effect."""

    name: str
    effect: float
    questions: tuple[int, ...]
    seeds: tuple[int, ...]
    """1 is about a checkpoint alone; from 2 on, about the method."""
    chances: Chances
    """For each number of questions, for each number of seeds, with as many answers to a prompt as now."""
    of_questions: float
    """Variance of the overall difference that the questions cause."""
    of_generations: float | None
    """That sampled answers cause; None where one answer does not show it."""
    of_seeds: float
    """Variance of one training seed's difference."""
    known: bool
    """Whether seeds' variance was measured; if not, it is taken to be as large as the questions'."""
    generations: tuple[int, ...]
    """Numbers of answers to a prompt; one where more would change nothing, or nobody knows what."""
    by_generations: tuple[Chances, ...]
    """``chances`` for each of them."""
    doubt: Doubt


def doubt(name: str, parts: Components, examples: int, *, wanted: float | None = None, confidence: float = 0.95, against: int = 1) -> Doubt:
    """Take apart what blurs a mean over so many ``examples``, and look at what to buy; ``wanted`` is a half width, as a fraction of 1."""
    shop = Shop(parts, examples, confidence, against=against)
    found = Doubt(name, parts, shop.parts.parts(), tuple(shop.doubled()), shop.best(), confidence)
    if wanted is None:
        return found
    several = range(2, MOST_SEEDS + 1)
    asked = [shop.cheapest(wanted, [1])] if parts.seeds == 1 else []
    asked += [shop.cheapest(wanted, several)] if against else []
    return replace(found, wanted=wanted, alone=shop.alone(wanted), cheapest=tuple(each for each in asked if each is not None))


def curve(
    name: str,
    overall: Comparison,
    shape: Shape,
    effect: float,
    parts: Components,
    *,
    seeds: Sequence[int] = SEEDS,
    wanted: float | None = None,
) -> Curve:
    """Simulate the chances of a method's overall difference, whose variance ``parts`` take apart."""
    sizes = tuple(sorted({min(_MOST, max(6, round(overall.n_clusters * factor))) for factor in _FACTORS}))
    answers = max(1, round(parts.generations))
    options = (answers,) if parts.greedy or not parts.known else tuple(sorted({1, answers, 2 * answers, 4 * answers}))
    tables = {each: _chances(shape, effect, sizes, seeds, parts, each, answers) for each in options}
    now = parts.parts()
    return Curve(
        name,
        effect,
        sizes,
        tuple(seeds),
        tables[answers],
        now["questions"],
        now["generations"] if parts.known else None,
        assumed(parts).of_one_seed(parts.questions, parts.generations),
        parts.of_seeds is not None,
        options,
        tuple(tables.values()),
        doubt(name, parts, overall.n_examples, wanted=wanted, confidence=overall.confidence),
    )


def _chances(shape: Shape, effect: float, sizes: Sequence[int], seeds: Sequence[int], parts: Components, answers: int, now: int) -> Chances:
    """For each number of questions and seeds, with so many answers to a prompt, where there are ``now`` as many.

    A question's difference is taken to be as much smaller or larger as its standard deviation then is.
    """
    today, known = parts.per_question(), assumed(parts)
    rows = []
    for size in sizes:
        row = []
        for count in seeds:
            given = parts.generations if answers == now else answers
            trained = count if parts.of_seeds is not None else 1
            factor = math.sqrt(parts.per_question(given, trained) / today) if today > 0 else 1.0
            scaled = replace(shape, sizes=np.minimum(1.0, shape.sizes * factor))
            deviation = math.sqrt(known.of_one_seed(size, given))
            row.append(power(scaled, effect, size, _SIMULATIONS, None if count == 1 else (count, deviation)))
        rows.append(tuple(row))
    return tuple(rows)


def sentence(found: Curve) -> str:
    """Say what to buy next."""
    enough = [
        (size, given, count)
        for given, table in zip(found.generations, found.by_generations, strict=True)
        for size, row in zip(found.questions, table, strict=True)
        for count, chance in zip(found.seeds, row, strict=True)
        if count > 1 and chance >= POWER
    ]
    source = "as measured" if found.known else "taken to be as large as the questions', since one seed does not show it"
    parts = [
        f"{found.name}: an effect of {points(found.effect)} points.",
        f"Standard error from the questions {points(math.sqrt(found.of_questions))} points{_luck(found)}; one training seed varies by "
        f"{points(math.sqrt(found.of_seeds))} points ({source}).",
    ]
    if enough:
        size, given, count = min(enough, key=lambda each: (each[0] * each[1] * each[2], each))
        times = f", {given} answers to each," if len(found.generations) > 1 else ""
        parts.append(f"The least that finds it in {POWER:.0%} of experiments, as a claim about the method: {size:,} questions{times} with "
                     f"{count} seeds.")  # fmt: skip
    else:
        parts.append("Nothing in this table finds it as a claim about the method; look for a larger effect, or ask more of both.")
    return " ".join([*parts, *_advice(found.doubt)])


def _luck(found: Curve) -> str:
    if found.doubt.parts.greedy:
        return ""
    if found.of_generations is None:
        return " (with what sampling adds: one answer to a prompt does not show it; evaluate with --generations 2 or more)"
    return f", from the sampled answers {points(math.sqrt(found.of_generations))} points"


def _advice(found: Doubt) -> list[str]:
    """What twice as much of one thing would bring, and what the wanted precision takes."""
    whole = sum(found.variances.values())
    if not whole:
        return ["No question differed, so nothing is known of what blurs it: only more questions make that surer.", *_wanted(found)]
    shares = [f"{name} {each / whole:.0%}" for name, each in found.variances.items() if each or name != "generations"]
    most = max(found.variances, key=lambda name: found.variances[name])
    bought, now = found.best, found.offers[0]
    gain = f"standard error {points(now.error)} → {points(bought.error)} points"
    return [
        f"What blurs it (shares of the variance): {', '.join(shares)}. What blurs it most is the {most}.",
        f"Of all that is twice as much, {bought.what} would help most ({gain}): buy those first.",
        *_wanted(found),
    ]


def _wanted(found: Doubt) -> list[str]:
    """What the wanted precision takes, if one is wanted."""
    if found.wanted is None:
        return []
    about = f"this {'checkpoint' if found.parts.seeds == 1 else 'method'}"
    width = f"± {points(found.wanted)} points ({percent(found.confidence)} interval)"
    said = [f"For {width}, about {about}:"]
    if found.offers[0].half_width <= found.wanted:
        said.append(f"it is ± {points(found.offers[0].half_width)} already.")
    else:
        numbers = [f"{number:,} {name}" for name, number in (found.alone or {}).items() if number is not None]
        never = [name for name, number in (found.alone or {}).items() if number is None]
        said += [f"{', or '.join(numbers)}, the rest as it is."] if numbers else []
        said += [f"More {' or '.join(never)} alone would never be enough."] if never else []
    for offer in found.cheapest:
        whom = "this checkpoint" if offer.seeds == 1 else "the method"
        said.append(f"The fewest answers that bring it for {whom}: {_amount(offer)}, {offer.answers:,} answers in all.")
    if not found.cheapest:
        said.append("Nothing that was looked at brings it.")
    return [" ".join(said)]


def _amount(offer: Offer) -> str:
    return (
        f"{offer.questions:,} questions, {offer.generations:,} answer{'s' if offer.generations > 1 else ''} to each prompt, "
        f"{offer.seeds} training seed{'s' if offer.seeds > 1 else ''}"
    )


def terminal(found: Curve) -> RenderableType:
    """Make the chances, what blurs the difference, then what follows."""
    several = len(found.generations) > 1
    table = Table(title=Text(f"chance to find {points(found.effect)} points, {found.name}"))
    table.add_column("questions", justify="right")
    if several:
        table.add_column("answers", justify="right")
    for count in found.seeds:
        table.add_column("this checkpoint" if count == 1 else f"{count} seeds", justify="right")
    for at, size in enumerate(found.questions):
        for place, given in enumerate(found.generations):
            first = [f"{size:,}" if not place else "", *([str(given)] if several else [])]
            last = several and place == len(found.generations) - 1
            table.add_row(*first, *(f"{chance:.0%}" for chance in found.by_generations[place][at]), end_section=last)
    return Group(table, _offers(found.doubt), Text(sentence(found)))


def doubt_terminal(found: Doubt) -> RenderableType:
    """Make the same of an evaluation by itself."""
    return Group(_offers(found), Text(" ".join([f"{found.name}, its overall score.", *_advice(found)])))


def _offers(found: Doubt) -> Table:
    table = Table(title=Text(f"what twice as much would bring, {found.name} (points)"))
    for name in ("", "questions", "answers to each", "seeds", "answers in all", "standard error", f"± {percent(found.confidence)}"):
        table.add_column(name, justify="right" if name else "left")
    for each in found.offers:
        numbers = (f"{each.questions:,}", f"{each.generations:,}", f"{each.seeds}", f"{each.answers:,}")
        about = "" if each.seeds > 1 else " (checkpoint)"
        table.add_row(each.what, *numbers, points(each.error), points(each.half_width) + about)
    return table
