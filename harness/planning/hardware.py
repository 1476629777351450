"""Hardware that need not be here: how many devices, how much each holds, and how fast it is said to be.

    8x80GiB                                                  eight devices of 80 GiB, at the rates below
    8x80GiB,flops=312T,memory=2.0T,link=300G                 with rates of their own
    1x16GiB,flops=124G,memory=10G                            a machine without a GPU

``flops`` is the peak rate of the number format that is computed in, operations a second; ``memory`` the bytes a second that a device reads
from its own memory, ``link`` those that it sends to others. What a peak is worth is :data:`TRAINING`, :data:`READING` and :data:`WRITING`.
"""

import re
from dataclasses import asdict, dataclass
from typing import Final

from harness.api import HarnessError, Json
from harness.models.footprint import GIB

#: Shares of the peak that are reached: of ``flops`` in training and in reading prompts, of ``memory`` in writing, of ``link`` always.
TRAINING, READING, WRITING, SENDING = 0.43, 0.5, 0.5, 0.7
#: Share of a device's memory that is there for the model: runtime, kernels and fragments take the rest.
USABLE: Final = 0.92
#: No device has more digits of anything.
_FIGURE: Final = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_FORM: Final = re.compile(rf"([1-9][0-9]{{0,4}})x({_FIGURE})(GiB|GB)")
_RATE: Final = re.compile(rf"({_FIGURE})([GTP])")
_SCALE: Final = {"G": 1e9, "T": 1e12, "P": 1e15}


@dataclass(frozen=True)
class Hardware:
    """So many equal devices. Rates as an H100 SXM's are stated, where none are given: dense bfloat16, HBM3, NVLink one way."""

    devices: int
    memory: int
    """Bytes of each."""
    flops: float = 989e12
    bandwidth: float = 3.35e12
    link: float = 450e9

    @property
    def usable(self) -> int:
        """Bytes of each that a model may take."""
        return int(USABLE * self.memory)

    @classmethod
    def parse(cls, text: str) -> "Hardware":
        """Read ``8x80GiB,flops=989T,memory=3.35T,link=450G``. HarnessError says what is wrong with it."""
        head, *rest = text.replace(" ", "").split(",")
        found = _FORM.fullmatch(head)
        if found is None:
            raise HarnessError(f"--hardware {text!r}: begin with devices and the memory of each, such as 8x80GiB")
        size = int(float(found[2]) * (GIB if found[3] == "GiB" else 1e9))
        if not size:
            raise HarnessError(f"--hardware {text!r}: a device without memory holds nothing")
        rates: dict[str, float] = {}
        for part in rest:
            name, _, value = part.partition("=")
            rate = _RATE.fullmatch(value)
            if name not in ("flops", "memory", "link") or rate is None or not float(rate[1]):
                raise HarnessError(f"--hardware {text!r}: {part!r} is no rate; write flops=989T, memory=3.35T or link=450G")
            key = "bandwidth" if name == "memory" else name
            if key in rates:
                raise HarnessError(f"--hardware {text!r}: {name} stands there twice; leave one out")
            rates[key] = float(rate[1]) * _SCALE[rate[2]]
        return cls(int(found[1]), size, **rates)

    def as_json(self) -> dict[str, Json]:
        """Give it with what its peaks are taken to be worth."""
        shares: dict[str, Json] = {"training": TRAINING, "reading": READING, "writing": WRITING, "sending": SENDING, "usable": USABLE}
        return {**asdict(self), "shares_of_peak": shares}
