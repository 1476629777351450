"""Starting a DPO training in a process of its own, and following it.

A separate process keeps trl and its global state out of the caller, gives the memory back when it ends, and is where ``accelerate
launch`` goes for several devices. Starting Python, torch and trl costs about ten seconds.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from harness.api import HarnessError, Json

USER_ERROR: Final = 2
"""Exit code of a mistake that the user can mend; the log's last line says which."""
FOLLOW_STDIN: Final = "RETMASK_FOLLOW_STDIN"
"""Environment variable: the trainer ends when its standard input does, so that it never outlives the command that started it."""


@dataclass(frozen=True)
class TrainConfig:
    """A DPO training. Defaults: RetMask (arXiv 2601.11020), section 4.1 and appendix A, where it names a value."""

    model: str
    """Directory of the model to start from, which is also the reference."""
    pairs: str
    """JSONL with ``prompt``, ``chosen`` and ``rejected`` in each line."""
    output: str
    """Directory for ``model/``, ``curve.jsonl``, ``facts.json`` and, while it runs, ``checkpoints/``."""
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    """``bfloat16`` computes in bfloat16 over float32 weights: at this learning rate, bfloat16 weights would not move."""
    learning_rate: float = 5e-7
    min_learning_rate_ratio: float = 0.1
    """The cosine ends at this share of the learning rate."""
    warmup_ratio: float = 0.1
    weight_decay: float = 0.1
    adam_beta2: float = 0.95
    beta: float = 0.1
    loss: str = "sigmoid"
    epochs: float = 2.0
    batch_size: int = 512
    """Pairs in an optimizer step, over all devices."""
    micro_batch_size: int = 8
    """Pairs in one forward pass on one device."""
    max_length: int = 4096
    """Most tokens of prompt and answer together."""
    max_overlong_share: float = 0.01
    """Pairs over ``max_length`` are left out up to this share, and an error beyond it. Nothing is truncated."""
    gradient_checkpointing: bool = False
    checkpoint_share: float = 0.1
    """A checkpoint after this share of the steps."""


def launch(
    config: TrainConfig, say: Callable[[str], None] = lambda _: None, launcher: Sequence[str] = (sys.executable,)
) -> dict[str, Json]:
    """Train in a subprocess and return its facts. Called again after an interruption, it goes on from the last checkpoint.

    ``launcher`` comes before ``-m retmask.train``, such as ``("accelerate", "launch", "--num_processes", "8")``.
    HarnessError says what the trainer said, and where its log is.
    """
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    table, log = output / "train.json", output / "train.log"
    table.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    command = [*launcher, "-m", "retmask.train", "--config", str(table)]
    with (
        log.open("ab") as errors,
        _start(command, errors, _environment(config)) as child,
    ):
        assert child.stdout is not None
        try:
            for line in child.stdout:
                say(line.rstrip())
            code = child.wait()
        except BaseException:
            child.kill()
            raise
    if code != 0:
        raise HarnessError(_why(code, log))
    facts: dict[str, Json] = json.loads((output / "facts.json").read_text(encoding="utf-8"))
    return facts


def _start(command: Sequence[str], errors: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment)


def _environment(config: TrainConfig) -> dict[str, str]:
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false", FOLLOW_STDIN: "1", **_one_gpu(config.device)}


def _one_gpu(device: str) -> dict[str, str]:
    """``cuda:1`` as the only visible GPU: a trainer that sees several in one process would split batches among them."""
    kind, _, index = device.partition(":")
    if kind != "cuda" or not index:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[int(index)] if visible else index}


def _why(code: int, log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    if code == USER_ERROR and last.startswith("error: "):
        return last.removeprefix("error: ")
    return f"training stopped with exit code {code}: {last} (all of it: {log})"
