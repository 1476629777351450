"""How fast a model reads and writes on this machine: a few seconds with transformers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.api import HarnessError, Model
from harness.footprint import ModelShape

if TYPE_CHECKING:
    from torch import Tensor

_SHORT, _LONG = 128, 1024
_ROWS: Final = 4
_NEW_TOKENS: Final = 16
#: A backward pass costs about two forward passes, and the reference's log-probabilities one more.
_TRAINING_PASSES: Final = 4


@dataclass(frozen=True)
class Speed:
    """What was measured."""

    per_token: float
    """Seconds of prefill that each token costs by itself."""
    per_token_squared: float
    """Seconds that attention adds for each pair of tokens."""
    new_tokens_per_second: float
    """Of a small batch."""

    def prefill_seconds(self, tokens: float) -> float:
        """Reading one prompt."""
        return self.per_token * tokens + self.per_token_squared * tokens**2

    @property
    def train_seconds_per_token(self) -> float:
        return _TRAINING_PASSES * self.prefill_seconds(_LONG) / _LONG


def measure(model: Model, shape: ModelShape, dtype: str, device: str) -> Speed:
    """Load the model and time two prefills and some decoding. Takes the loading and a few seconds."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model.path, dtype=getattr(torch, shape.resolved(dtype)), trust_remote_code=model.trust_remote_code
        )
        loaded.to(device)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        raise HarnessError(f"cannot load {model.path} for a probe: {str(error).strip().splitlines()[0]}; pass --no-probe") from None
    long = min(_LONG, shape.context or _LONG)
    short = min(_SHORT, max(1, long // 2))

    def ids(rows: int, tokens: int) -> "Tensor":
        return torch.arange(rows * tokens, device=device).reshape(rows, tokens) % shape.vocabulary

    def read(tokens: int) -> float:
        return _seconds(lambda: loaded(ids(1, tokens), logits_to_keep=1), device)

    def write(new: int) -> float:
        settings = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}
        return _seconds(lambda: loaded.generate(ids(_ROWS, short), **settings), device)

    with torch.inference_mode():
        reading = read(short), read(long)
        step = max(write(1 + _NEW_TOKENS) - write(1), 1e-6) / _NEW_TOKENS
    per_token, squared = fit(short, reading[0], long, reading[1])
    return Speed(per_token, squared, _ROWS / step)


def fit(short: int, short_seconds: float, long: int, long_seconds: float) -> tuple[float, float]:
    """(a, b) of seconds = a·n + b·n² through two measurements, neither negative.

    Where the longer prompt is not dearer for each token, as on a device that a short one does not fill, there is no square.
    """
    squared = (long_seconds / long - short_seconds / short) / (long - short)
    if squared <= 0:
        return long_seconds / long, 0.0
    per_token = short_seconds / short - squared * short
    return (per_token, squared) if per_token >= 0 else (0.0, long_seconds / long**2)


def _seconds(work: Callable[[], object], device: str) -> float:
    """The faster of two runs."""
    import torch

    best = float("inf")
    for _ in range(2):
        begun = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return best
