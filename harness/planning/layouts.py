"""Where a step's model goes on hardware of several devices, what each of them then holds, and how long the step takes.

Training: ``none`` (one device), ``ddp`` (a whole copy each), ``zero1``, ``zero2``, ``zero3`` and ``fsdp`` (optimizer; and gradients; and
weights divided). Everything else: ``tensor`` (each layer divided; vLLM) and ``pipeline`` (layers in turn: vLLM, or ``--device all`` of
transformers, which holds more and is no faster).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Final

from harness.api import Json, Work
from harness.models.footprint import width
from harness.planning.blueprint import Blueprint
from harness.planning.hardware import READING, SENDING, TRAINING, WRITING, Hardware

TRAININGS: Final = ("none", "ddp", "zero1", "zero2", "zero3", "fsdp")
_FLOAT: Final = 4
#: Copies of the logits in float32 that a training step holds: forward, log-softmax, gradient.
_LOGIT_COPIES: Final = 3
#: Tokens of a prompt that go through the model at a time, for what they take meanwhile.
_CHUNK: Final = 4096
#: Seconds that a layer of a pass takes however little there is to compute: starting its operations one by one.
_LAYER: Final = 0.5e-3
#: What an update reads and writes of each trained parameter, bytes: weight, gradient and two moments in float32, some of them twice.
_UPDATE: Final = 28
#: Tokens of a training sequence where nothing is known of them.
_SEQUENCE: Final = 512


@dataclass(frozen=True)
class Layout:
    """Devices, and how a step's model is divided among them."""

    kind: str
    devices: int

    def __str__(self) -> str:
        return "one device" if self.devices == 1 else f"{self.kind} {self.devices}"


@dataclass(frozen=True)
class Placed:
    """One step in one layout: bytes on the fullest device, and seconds."""

    layout: Layout
    weights: int
    cache: int
    optimizer: int
    """Gradients, moments and whatever copies the layout keeps of them."""
    activations: int
    """Logits among them."""
    seconds: float

    @property
    def total(self) -> int:
        """Bytes on the fullest device."""
        return self.weights + self.cache + self.optimizer + self.activations

    def fits(self, hardware: Hardware) -> bool:
        """Say whether the devices hold it."""
        return self.total <= hardware.usable

    def as_json(self, hardware: Hardware) -> dict[str, Json]:
        """Give everything, and whether it fits."""
        return {**asdict(self), "layout": str(self.layout), "total": self.total, "fits": self.fits(hardware)}


def layouts(work: Work, blueprint: Blueprint, devices: int) -> Iterator[Layout]:
    """List the layouts of a step on so many devices, one device first."""
    yield Layout("none", 1)
    if devices == 1:
        return
    if work.train_tokens:
        yield from (Layout(kind, devices) for kind in TRAININGS[1:])
        return
    shape = blueprint.shape
    counts = [count for count in range(2, devices + 1) if devices % count == 0]
    if work.step != "heads":  # detection looks inside the model, which transformers alone lets it
        yield from (Layout("tensor", count) for count in counts if shape.heads % count == 0 and shape.vocabulary % count == 0)
    yield from (Layout("pipeline", count) for count in counts if count <= shape.layers)


def place(work: Work, layout: Layout, blueprint: Blueprint, hardware: Hardware, dtype: str, *, recomputed: bool = False) -> Placed:
    """Place one step. ``dtype`` is what is computed in; ``recomputed``: with gradient checkpointing."""
    train = _train if work.train_tokens else _run
    return train(work, layout, blueprint, hardware, dtype, recomputed)


def _run(work: Work, layout: Layout, blueprint: Blueprint, hardware: Hardware, dtype: str, _: bool) -> Placed:
    shape, parts = blueprint.shape, layout.devices
    cache_parts = min(parts, shape.kv_heads) if layout.kind == "tensor" else parts
    weights = ceil(shape.weight_bytes(dtype) / parts)
    cache = ceil(shape.kv_bytes(work.in_flight, dtype) / cache_parts)
    chunk = min(_CHUNK, max(work.in_flight, 1))
    rows = ceil(work.new_tokens / work.passes) if work.passes else 1
    wide = max(2 * blueprint.inner, 4 * shape.hidden) * width(dtype)
    return Placed(
        layout, weights, cache, 0, chunk * wide + rows * shape.vocabulary * _FLOAT, _running(work, layout, blueprint, hardware, dtype)
    )


def _running(work: Work, layout: Layout, blueprint: Blueprint, hardware: Hardware, dtype: str) -> float:
    """Reading is bound by operations; a pass of writing reads the weights and every row's keys and values, and computes little."""
    shape = blueprint.shape
    together = layout.devices if layout.kind == "tensor" else 1
    length = work.prefill_tokens / max(1, work.prompts)
    reading = blueprint.forward(work.prefill_tokens, length, output=False) / (READING * hardware.flops * together)
    sent = 2 * shape.layers * shape.hidden * width(dtype) * 2 * (together - 1) / together  # a token's two sums in each layer
    reading += work.prefill_tokens * sent / (SENDING * hardware.link)
    if not work.new_tokens:
        return reading
    passes = work.passes or work.new_tokens / min(8, max(1, work.prompts))
    rows, before = work.new_tokens / passes, length + work.new_tokens / max(1, work.prompts) / 2
    read = (shape.weight_bytes(dtype) + rows * shape.kv_bytes(int(before), dtype)) / (WRITING * hardware.bandwidth * together)
    counted = blueprint.forward(rows, 2 * before) / (READING * hardware.flops * together)
    return reading + passes * (read + counted + rows * sent / (SENDING * hardware.link) + shape.layers * _LAYER)


def _train(work: Work, layout: Layout, blueprint: Blueprint, hardware: Hardware, dtype: str, recomputed: bool) -> Placed:
    shape, n = blueprint.shape, layout.devices
    own, gradients, optimizer = _divided(layout)
    trained = shape.parameters if work.full_training else 0
    held = _FLOAT if work.full_training else width(dtype)
    weights = ceil(shape.parameters * held * own)
    if own < 1:  # two layers and the output layer are whole while they are computed
        weights += held * (2 * (shape.parameters - shape.vocabulary * shape.hidden) // shape.layers + shape.vocabulary * shape.hidden)
    elif work.full_training and dtype != "float32":
        weights += width(dtype) * shape.parameters  # what autocast keeps of every weight
    logits = _LOGIT_COPIES * work.train_batch_tokens * shape.vocabulary * _FLOAT
    kept = blueprint.activations(work.train_batch_tokens, dtype, recomputed=recomputed)
    return Placed(
        layout, weights, 0, ceil(trained * (gradients + optimizer)), kept + logits, _training(work, n, layout, blueprint, hardware)
    )


def _divided(layout: Layout) -> tuple[float, float, float]:
    """Share of the weights on a device; bytes there of a parameter's gradient and of its optimizer state."""
    n, kind = layout.devices, layout.kind
    if kind == "none" or n == 1:
        return 1.0, 4.0, 8.0
    return {
        "ddp": (1.0, 8.0, 8.0),  # gradients once more, in the buckets that are sent
        "zero1": (1.0, 4.0, 12 / n),  # with a float32 copy of a device's share of the weights
        "zero2": (1.0, 4 / n, 12 / n),
        "zero3": (1 / n, 4 / n, 12 / n),
        "fsdp": (1 / n, 4 / n, 8 / n),
    }[kind]


def _training(work: Work, n: int, layout: Layout, blueprint: Blueprint, hardware: Hardware) -> float:
    """Operations, or what is sent meanwhile if that takes longer; and the updates."""
    shape = blueprint.shape
    operations = work.train_passes * blueprint.forward(work.train_tokens, _SEQUENCE) / (TRAINING * hardware.flops * n)
    whole = shape.parameters * _FLOAT * (n - 1) / n
    micro = work.train_tokens / max(1, work.train_batch_tokens) / n
    sent = 3 * whole * micro if layout.kind in ("zero3", "fsdp") else 2 * whole * work.updates
    moved = work.updates * _UPDATE * shape.parameters / (n if layout.kind not in ("none", "ddp") else 1)
    return max(operations, sent / (SENDING * hardware.link)) + (moved / (WRITING * hardware.bandwidth) if work.full_training else 0.0)


def nearest(work: Work, asked: Layout, blueprint: Blueprint, hardware: Hardware, dtype: str, *, recomputed: bool) -> Placed | None:
    """Find the layout with the fewest devices that fits, on this hardware or on more such devices (up to 1,024).

    Of several, that of the kind that was ``asked`` for, or else the fastest.
    """
    count = hardware.devices
    while count <= max(1024, hardware.devices):
        there = replace(hardware, devices=count)
        tried = [place(work, each, blueprint, there, dtype, recomputed=recomputed) for each in layouts(work, blueprint, count)]
        fitting = [each for each in tried if each.fits(there)]
        if fitting:
            return min(fitting, key=lambda each: (each.layout.devices, each.layout.kind != asked.kind, each.seconds))
        count *= 2
    return None
