"""Which heads to ablate: pure functions of the scores, a threshold or a count, and a seed.

Definitions after RetMask (arXiv 2601.11020), section 3.2 and its controls. Every draw uses a generator of its own, seeded by the
mask's name and seed, so that the same call gives the same mask on every machine and two kinds of mask with one seed are unrelated.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from harness.api import HarnessError, Json
from retmask.heads.scores import Head, HeadScores

#: What a mask is made of: attention heads, neurons of MLPs, or whole layers.
HEADS, MLP, LAYERS = COMPONENTS = ("heads", "mlp", "layers")
#: What one of them is called, in the plural.
UNITS: Final = {HEADS: "heads", MLP: "neurons", LAYERS: "layers"}
KINDS: Final = ("retrieval", "nonretrieval", "random", "layermatched")


@dataclass(frozen=True)
class HeadMask:
    """A set of heads to silence, or to weaken or strengthen."""

    name: str
    heads: tuple[Head, ...]
    """Sorted, each once."""
    seed: int | None = None
    """The seed of the draw; None where nothing was drawn."""
    strength: float = 0.0
    """What the heads' outputs are multiplied by; 0 silences them."""
    component: str = HEADS
    """One of :data:`COMPONENTS`. For others than heads, ``heads`` holds (layer, neuron), or (layer, 0)."""

    def __post_init__(self) -> None:
        if list(self.heads) != sorted(set(self.heads)):
            raise ValueError("the heads of a mask are sorted and distinct")

    def facts(self) -> dict[str, Json]:
        """Give what is special about it, for a manifest or a key; nothing for heads that are silenced."""
        component: dict[str, Json] = {} if self.component == HEADS else {"component": self.component}
        return {**({"strength": self.strength} if self.strength else {}), **component}

    def by_layer(self) -> dict[int, list[int]]:
        """Map each layer to its masked heads; layers without any are left out."""
        layers: dict[int, list[int]] = {}
        for layer, head in self.heads:
            layers.setdefault(layer, []).append(head)
        return layers


def _mask(name: str, heads: Iterable[Head], seed: int | None = None) -> HeadMask:
    return HeadMask(name, tuple(sorted(heads)), seed)


def retrieval(scores: HeadScores, *, threshold: float | None = None, top_k: int | None = None) -> HeadMask:
    """Choose the heads with a score of ``threshold`` or more, or the ``top_k`` highest. Exactly one of the two is given.

    HarnessError if that is no head (nothing would be contrasted) or every head (nothing would be left).
    """
    if (threshold is None) == (top_k is None):
        raise ValueError("give a threshold or a number of heads")
    total = len(scores.heads())
    if top_k is not None:
        if not 0 < top_k < total:
            raise HarnessError(f"cannot mask the top {top_k} heads of a model that has {total}; choose top_k from 1 to {total - 1}")
        return _mask("retrieval", (head for head, _ in scores.top(top_k)))
    assert threshold is not None
    chosen = [head for head, score in scores.ranked() if score >= threshold]
    if not chosen:
        raise HarnessError(f"no head scores {threshold:g} or more (the maximum is {scores.max:.3f}); lower threshold or set top_k")
    if len(chosen) == total:
        raise HarnessError(f"all {total} heads score {threshold:g} or more (the maximum is {scores.max:.3f}); raise threshold or set top_k")
    return _mask("retrieval", chosen)


def nonretrieval(scores: HeadScores, threshold: float, count: int, seed: int) -> HeadMask:
    """Draw ``count`` heads from those that score below ``threshold`` (the paper's Non-Retrieval-Mask)."""
    pool = [head for head in scores.heads() if scores.mean[head] < threshold]
    return _mask("nonretrieval", _draw(pool, count, "nonretrieval", seed, f"score below {threshold:g}"), seed)


def random_mask(shape: tuple[int, int], count: int, seed: int) -> HeadMask:
    """Draw ``count`` heads from all (the paper's Random-Mask). ``shape`` is (layers, heads per layer)."""
    layers, heads = shape
    pool = [Head(layer, head) for layer in range(layers) for head in range(heads)]
    return _mask("random", _draw(pool, count, "random", seed, "there are"), seed)


def layermatched(shape: tuple[int, int], like: HeadMask, seed: int) -> HeadMask:
    """Draw as many heads in each layer as ``like`` masks there, from that layer's other heads."""
    masked = set(like.heads)
    drawn: list[Head] = []
    for layer, count in sorted(Counter(head.layer for head in like.heads).items()):
        pool = [Head(layer, head) for head in range(shape[1]) if Head(layer, head) not in masked]
        drawn += _draw(pool, count, f"layermatched:{layer}", seed, f"are left in layer {layer}")
    return _mask("layermatched", drawn, seed)


def like(kind: str, scores: HeadScores, target: HeadMask, seed: int) -> HeadMask:
    """Draw the mask of a kind (:data:`KINDS`) with as many heads as ``target``, the retrieval heads."""
    if kind == "retrieval":
        return target
    if kind == "nonretrieval":
        return nonretrieval(scores, min(float(scores.mean[head]) for head in target.heads), len(target.heads), seed)
    if kind == "random":
        return random_mask(scores.shape, len(target.heads), seed)
    if kind == "layermatched":
        return layermatched(scores.shape, target, seed)
    raise ValueError(f"{kind!r} is no kind of mask; there are {', '.join(KINDS)}")


def _draw(pool: Sequence[Head], count: int, label: str, seed: int, which: str) -> list[Head]:
    if count > len(pool):
        raise HarnessError(f"cannot draw {count} control heads: only {len(pool)} {which}; raise threshold or lower top_k")
    return Random(f"{label}:{seed}").sample(pool, count)
