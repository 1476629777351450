"""What a step takes, in seconds, from what it has to compute and how fast the model was found to be.

A prompt is read in time ``a·n + b·n²``, a batch written in steps of ``s + rows·(r + c·tokens before)`` (:mod:`harness.planning.speed`). A
training goes over each token as often as ``Work.train_passes`` says, with the output layer, which reading leaves out, for every answer's
token, and updates every parameter.
"""

from collections.abc import Collection
from typing import Final

from harness.api import Work
from harness.models.footprint import ModelShape
from harness.planning.speed import Speed

#: Starting up, in units of importing torch and transformers: the first such step of a command, and what a training imports each time.
_FIRST: Final = {"heads": 1.1, "chosen": 1.1, "generate": 1.2}
_ALWAYS: Final = {"dpo": 1.5, "sft": 1.5, "report": 0.5}
#: An update reads and writes weight, gradient and two moments some times over, where a step of decoding reads each weight once.
_UPDATE: Final = 10
#: Rows of a batch of which nothing is known.
_ROWS: Final = 8
#: Tokens of a sequence in training, about.
_SEQUENCE: Final = 256
#: Bytes that a disk takes in a second.
_DISK: Final = 500e6


def seconds(work: Work, speed: Speed, shape: ModelShape, before: Collection[str] = ()) -> float:
    """Estimate the seconds of a step that is computed from its beginning. ``before`` are the names of the command's earlier steps."""
    return _start(work.step, speed, before) + _reading(work, speed) + _writing(work, speed) + _training(work, speed, shape)


def _start(step: str, speed: Speed, before: Collection[str]) -> float:
    name = step.partition("-")[0]
    loads = speed.load if name in ("heads", "chosen", "generate", "dpo", "sft") else 0.0
    first = 0.0 if any(each.partition("-")[0] in _FIRST for each in before) else _FIRST.get(name, 0.0)
    return loads + speed.start * (first + _ALWAYS.get(name, 0.0))


def _reading(work: Work, speed: Speed) -> float:
    return work.prompts * speed.prefill(work.prefill_tokens / work.prompts) if work.prompts else 0.0


def _writing(work: Work, speed: Speed) -> float:
    if not work.new_tokens:
        return 0.0
    passes = work.passes or work.new_tokens / min(_ROWS, max(1, work.prompts))
    each = work.new_tokens / max(1, work.prompts)
    before = work.prefill_tokens / max(1, work.prompts) + each / 2
    return passes * speed.decode(work.new_tokens / passes, before)


def _training(work: Work, speed: Speed, shape: ModelShape) -> float:
    if not work.train_tokens:
        return 0.0
    layer = shape.vocabulary * shape.hidden
    output = 1 + layer / max(layer, shape.parameters - layer)
    passes = work.train_passes * work.train_tokens * output * speed.prefill(_SEQUENCE) / _SEQUENCE
    trained = shape.parameters if work.full_training else 0
    return passes + work.updates * _UPDATE * speed.step + work.checkpoints * trained * 12 / _DISK
