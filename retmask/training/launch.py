"""Starting a training in a process of its own, or in several, and following it.

A separate process keeps trl and its global state out of the caller, gives the memory back when it ends, and is where ``accelerate
launch`` goes for several devices. Starting Python, torch and trl costs about ten seconds.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

from harness.api import HarnessError, Json
from harness.options import Within, check_ranges, near
from tasks.files import open_bytes, read_text

USER_ERROR: Final = 2
"""Exit code of a mistake that the user can mend; a line of the log that begins with ``error: `` says which."""
_MARK: Final = "error: "
STAMP: Final = "[%Y-%m-%d %H:%M:%S]"
"""How a step's line in the log begins (``time.strftime``)."""
FOLLOW_STDIN: Final = "RETMASK_FOLLOW_STDIN"
"""Environment variable: the trainer ends when its standard input does, so that it never outlives the command that started it."""
SFT: Final = "sft"
LOSSES: Final = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero"),
    *("apo_down", "discopop", "sigmoid_norm", SFT),
)
"""What ``loss`` can be: trl's preference losses, and maximum likelihood of the chosen answers (:data:`SFT`)."""
PARALLEL: Final = ("none", "ddp", "fsdp", "zero1", "zero2", "zero3")
"""What ``parallel`` can be, beside an accelerate configuration of the user's."""
_SHARDED: Final = ("fsdp", "zero3")
_CONFIGS: Final = Path(__file__).parent / "accelerate"


#: What the numbers of a training can be.
RANGES: Final = {
    "learning_rate": Within(0),
    "min_learning_rate_ratio": Within(0, 1),
    "warmup_ratio": Within(0, 1),
    "weight_decay": Within(0),
    "adam_beta2": Within(0, 1, below=True),
    "beta": Within(0, above=True),
    "label_smoothing": Within(0, 0.5, below=True),
    "lora_alpha": Within(1),
    "lora_dropout": Within(0, 1, below=True),
    "epochs": Within(0, above=True),
    "max_length": Within(1),
    "max_overlong_share": Within(0, 1),
    "checkpoint_share": Within(0, 1, above=True),
}

#: What ``report_to`` can name -> packages one of which it needs; none where it needs none.
REPORTS: Final[Mapping[str, tuple[str, ...]]] = {
    "none": (), "all": (), "kubeflow": (), "azure_ml": ("azureml",), "comet_ml": ("comet_ml",), "mlflow": ("mlflow",),
    "neptune": ("neptune",), "tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",),
    "codecarbon": ("codecarbon",), "clearml": ("clearml",), "dagshub": ("dagshub",), "flyte": ("flytekit",), "dvclive": ("dvclive",),
    "swanlab": ("swanlab",),
}  # fmt: skip


def check_report(report_to: str) -> None:
    """Raise HarnessError for a place for curves that transformers does not know, or whose package is not installed."""
    for name in (part.strip() for part in report_to.split(",")):
        if name not in REPORTS:
            raise HarnessError(f"[method]: report_to = {report_to!r}: unknown {name!r}; {near(name, list(REPORTS))}")
        packages = REPORTS[name]
        if packages and not any(find_spec(package) for package in packages):
            raise HarnessError(f"[method]: report_to = {report_to!r}: {packages[0]} is not installed; pip install {packages[0]}")


@dataclass(frozen=True)
class TrainConfig:
    """A training. Defaults: RetMask (arXiv 2601.11020), section 4.1 and appendix A, where it names a value."""

    model: str
    """Directory of the model to start from, which is also the reference."""
    pairs: str
    """JSONL with ``prompt``, ``chosen`` and ``rejected`` in each line."""
    output: str
    """Directory for ``model/``, ``curve.jsonl``, ``facts.json`` and, while it runs, ``checkpoints/``."""
    seed: int = 0
    """Of the order of pairs."""
    device: str = "cpu"
    """Torch device."""
    dtype: str = "float32"
    """``bfloat16`` computes in bfloat16 over float32 weights: at this learning rate, bfloat16 weights would not move."""
    learning_rate: float = 5e-7
    """Its highest, after the warm-up."""
    min_learning_rate_ratio: float = 0.1
    """The cosine ends at this share of the learning rate."""
    warmup_ratio: float = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.1
    """Of AdamW."""
    adam_beta2: float = 0.95
    """Of AdamW."""
    beta: float = 0.1
    """How strongly the loss holds the model to the one it started from; more is closer."""
    loss: str = "sigmoid"
    """``sigmoid`` (DPO), ``ipo``, ``hinge`` or another of trl's, or ``sft``: maximum likelihood of the chosen answers alone."""
    label_smoothing: float = 0.0
    """For the losses that know it (``exo_pair``, ``robust``, ``aot``)."""
    lora_rank: int = 0
    """Rank of the low-rank adapters (Hu et al., arXiv 2106.09685) on every linear layer but the LM head; 0 trains all weights."""
    lora_alpha: int = 16
    """Their scale is alpha / rank."""
    lora_dropout: float = 0.0
    """Share of their input that is left out in a step."""
    epochs: float = 2.0
    """How often each pair is seen."""
    batch_size: int = 512
    """Pairs in an optimizer step, over all devices."""
    micro_batch_size: int = 8
    """Most pairs in one forward pass on one device: as many go as divide its share of a batch."""
    max_length: int = 4096
    """Most tokens of prompt and answer together."""
    max_overlong_share: float = 0.01
    """Pairs over ``max_length`` are left out up to this share, and an error beyond it. Nothing is truncated."""
    gradient_checkpointing: bool = False
    """Less memory for more time."""
    checkpoint_share: float = 0.1
    """A checkpoint after this share of the steps."""
    report_to: str = "none"
    """Where transformers sends the curves beside ``curve.jsonl``, such as ``wandb`` or ``tensorboard``; several joined by commas."""

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise HarnessError(f"unknown loss {self.loss!r}; choose from {', '.join(LOSSES)}")
        if self.loss == "exo_pair" and not self.label_smoothing > 0:
            raise HarnessError("loss exo_pair needs a label_smoothing above 0; its authors recommend 0.001")
        if self.lora_rank < 0:
            raise HarnessError(f"lora_rank is {self.lora_rank}; give 0 to train all weights, or a rank such as 16")
        for name in ("batch_size", "micro_batch_size"):
            if getattr(self, name) < 1:
                raise HarnessError(f"{name} is {getattr(self, name)}; give at least 1 pair")
        check_ranges(self, RANGES)


def micro_batch(batch_size: int, most: int, processes: int = 1) -> int:
    """Find how many pairs go through a device at once: the largest number up to ``most`` that divides its share of a batch.

    HarnessError for a batch that cannot be split evenly among the processes.

    >>> micro_batch(6, 4), micro_batch(512, 8, processes=4), micro_batch(4, 8)
    (3, 8, 4)
    """
    if batch_size % processes:
        raise HarnessError(f"batch_size = {batch_size} cannot be split evenly among {processes} processes; give a multiple of {processes}")
    share = batch_size // processes
    return next(size for size in range(min(most, share), 0, -1) if share % size == 0)


def launcher(parallel: str, processes: int, lora_rank: int = 0) -> tuple[str, ...]:
    """Say what to put before ``-m retmask.training.train``. ``parallel`` is one of :data:`PARALLEL` or a file of ``accelerate config``.

    ``processes`` is the number of devices; 0 leaves it to the user's file. HarnessError for what cannot work.
    """
    if parallel == "none":
        if processes > 1:
            raise HarnessError(f"processes = {processes} needs parallel; choose from {', '.join(PARALLEL[1:])}")
        return (sys.executable,)
    path = Path(parallel)
    if parallel not in PARALLEL and not (path.suffix in (".yaml", ".yml") and path.is_file()):
        raise HarnessError(f"parallel = {parallel!r}: choose from {', '.join(PARALLEL)}, or give a .yaml file of `accelerate config`")
    if parallel.startswith("zero") and find_spec("deepspeed") is None:
        raise HarnessError(f"parallel = {parallel} needs DeepSpeed, which is not installed; pip install 'retmask-harness[deepspeed]'")
    if lora_rank and parallel in _SHARDED:
        raise HarnessError(f"lora_rank = {lora_rank} cannot be merged under parallel = {parallel}; use ddp, zero1 or zero2")
    shipped = parallel in PARALLEL
    config = str(_CONFIGS / f"{parallel}.yaml") if shipped else str(path)
    count = ("--num_processes", str(max(processes, 1))) if shipped or processes else ()
    port = ("--main_process_port", "0") if shipped else ()  # any free one
    return (sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, *count, *port)


def launch(config: TrainConfig, say: Callable[[str], None] = lambda _: None, command: Sequence[str] = (sys.executable,)) -> dict[str, Json]:
    """Train in a subprocess and return its facts. Called again after an interruption, it goes on from the last checkpoint.

    ``command`` comes before ``-m retmask.training.train`` (:func:`launcher`).
    HarnessError says what the trainer said, and where its log is.
    """
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    table, log = output / "train.json", output / "train.log"
    table.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    before = log.stat().st_size if log.exists() else 0
    with (
        log.open("ab") as errors,
        _start([*command, "-m", "retmask.training.train", "--config", str(table)], errors, _environment(config)) as child,
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
        raise HarnessError(_why(code, log, before))
    facts: dict[str, Json] = json.loads(read_text(output / "facts.json"))
    return facts


def _start(command: Sequence[str], errors: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment)


def _environment(config: TrainConfig) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false", FOLLOW_STDIN: "1", **_on(config.device)}


def _on(device: str) -> dict[str, str]:
    """For accelerate, which looks for GPUs by itself."""
    return {"ACCELERATE_USE_CPU": "true"} if device.startswith("cpu") else _one_gpu(device)


def _one_gpu(device: str) -> dict[str, str]:
    """``cuda:1`` as the only visible GPU: a trainer that sees several in one process would split batches among them."""
    kind, _, index = device.partition(":")
    if kind != "cuda" or not index:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[int(index)] if visible else index}


_STEP: Final = re.compile(r"\[\d{4}-[\d: -]+\] ")


def _why(code: int, log: Path, before: int) -> str:
    """What went wrong, from what this start wrote to the log. Behind accelerate the trainer's line is not the last."""
    with open_bytes(log) as file:
        file.seek(before)
        lines = [line for line in file.read().decode("utf-8", errors="replace").splitlines() if line.strip() and not _STEP.match(line)]
    said = next((line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)), None)
    if said is not None:
        return said
    return f"training stopped with exit code {code}: {lines[-1] if lines else 'it said nothing'} (all of it: {log})"
