"""Training with trl: ``python -m retmask.training.train --config FILE``, alone or behind ``accelerate launch``.

FILE is a JSON object with the fields of :class:`retmask.training.launch.TrainConfig`. Interrupted and started again, it goes on from the
last complete checkpoint. It writes ``model/`` (safetensors and tokenizer), ``adapter/`` for LoRA, ``curve.jsonl`` and, last,
``facts.json``.
"""

import argparse
import errno
import hashlib
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import PartialState
from datasets import load_from_disk
from transformers import AutoConfig, PreTrainedTokenizerBase

from harness.api import HarnessError, Json
from harness.options import parse_table
from harness.screen.terminal import echo
from retmask.model import load_model, load_tokenizer
from retmask.training import trainers
from retmask.training.encoded_pairs import Stored, store, stored
from retmask.training.launch import FOLLOW_STDIN, USER_ERROR, TrainConfig
from retmask.training.trainers import AnyTrainer, Watch
from tasks.files import LARGEST_TEXT, read_bytes, read_text, replacing, write_text

_CURVE: Final = {
    "loss": "loss",
    "rewards/accuracies": "reward_accuracy",
    "rewards/margins": "margin",
    "mean_token_accuracy": "token_accuracy",
    "learning_rate": "learning_rate",
}
#: Fields that change speed and memory, not the result.
#: Where chance alone strays from one half by more, that a reward accuracy looks like chance says nothing of what was learnt.
_TELLING: Final = 0.1
_SPEED: Final = ("output", "micro_batch_size", "gradient_checkpointing", "checkpoint_share", "report_to", "device")
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def train(config: TrainConfig, say: Callable[[str], None] = lambda _: None) -> dict[str, Json]:
    """Train, write the results below ``config.output`` and return the facts.

    HarnessError for pairs that are too long, a batch size that cannot be split, a loss that is not a number, and a full disk.
    """
    started = time.monotonic()
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    trainers.arguments(config, pairs=1)  # decides which devices there are, and refuses a batch that cannot be split
    rows = _shared_rows(config)
    if PartialState().is_main_process:
        _forget_other_training(config, output)
    PartialState().wait_for_everyone()
    tokenizer = load_tokenizer(Path(config.model))
    model = load_model(Path(config.model), trainers.base_dtype(config), "cpu")
    args = trainers.arguments(config, rows.count)
    with trainers.trainer(config, args, model, tokenizer, load_from_disk(str(rows.path)), Watch(say, config.beta, _to_log)) as trainer:
        resumed = _last_checkpoint(output / "checkpoints")
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    _publish(trainer, tokenizer, config)
    facts = _facts(trainer, config, rows, resumed, time.monotonic() - started)
    if trainer.accelerator.is_main_process:
        for warning in facts["warnings"] if isinstance(facts["warnings"], list) else []:
            say(f"warning: {warning}")
        write_text(output / "curve.jsonl", "".join(json.dumps(point) + "\n" for point in _curve(trainer.state.log_history)))
        write_text(output / "facts.json", json.dumps(facts, indent=2) + "\n")
        for leftover in ("checkpoints", rows.path.name):
            shutil.rmtree(output / leftover, ignore_errors=True)
    return facts


def _to_log(line: str) -> None:
    """A line of ``train.log``, which is where standard error goes (:func:`retmask.training.launch.launch`)."""
    echo(line, err=True)


def _shared_rows(config: TrainConfig) -> Stored:
    """The rows, encoded by one process and read by all."""
    state = PartialState()
    if state.is_main_process:
        store(config)
    state.wait_for_everyone()
    return stored(config)


def _forget_other_training(config: TrainConfig, output: Path) -> None:
    """Checkpoints of another training in the same folder are no place to go on from."""
    values = {name: value for name, value in asdict(config).items() if name not in _SPEED}
    pairs = hashlib.sha256(read_bytes(config.pairs, LARGEST_TEXT)).hexdigest()
    identity = hashlib.sha256(json.dumps([values, pairs], sort_keys=True).encode()).hexdigest()
    file = output / "checkpoints" / "identity"
    if not file.exists() or read_text(file) != identity:
        shutil.rmtree(file.parent, ignore_errors=True)
        file.parent.mkdir(parents=True)
        write_text(file, identity)


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is complete: the trainer's state is the last file written."""
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(read_text(path))
    except ValueError:
        return False
    return True


def _publish(trainer: AnyTrainer, tokenizer: PreTrainedTokenizerBase, config: TrainConfig) -> None:
    """Write ``model/`` in the number format that the base model came in; adapters are merged, and kept by themselves too."""
    partial, final = Path(config.output) / "model.partial", Path(config.output) / "model"
    dtype = AutoConfig.from_pretrained(config.model, trust_remote_code=False).dtype
    main = trainer.accelerator.is_main_process
    model: Any = trainer.model
    if main:
        shutil.rmtree(partial, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    if config.lora_rank:
        if main:
            model = trainer.accelerator.unwrap_model(model)
            model.save_pretrained(Path(config.output) / "adapter")
            whole: Any = trainers.merged(model)
            whole.config.use_cache = True
            if dtype is not None:
                whole.to(dtype)
            whole.save_pretrained(partial)
    else:
        if dtype is not None and not trainers.is_sharded(trainer):
            model.to(dtype)
        model.config.use_cache = True
        trainer.save_model(str(partial))
        if main and dtype is not None and trainers.is_sharded(trainer):
            cast_files(partial, str(dtype).removeprefix("torch."))
    if main:
        tokenizer.save_pretrained(partial)
        (partial / "training_args.bin").unlink(missing_ok=True)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)


def cast_files(folder: Path, dtype: str) -> None:
    """Rewrite a checkpoint's float weights in another number format: what sharded training saves is in the one it trained in."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    target = trainers.dtype_named(dtype)
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
            metadata = file.metadata()
        converted = {name: tensor.to(target) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        with replacing(path, durable=False) as partial:
            save_file(converted, partial, metadata)
    table = json.loads(read_text(folder / "config.json"))
    write_text(folder / "config.json", json.dumps({**table, "dtype": dtype}, indent=2) + "\n")


def _curve(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    logged = [entry for entry in history if "loss" in entry]
    return [{"step": entry["step"], **{name: entry[key] for key, name in _CURVE.items() if key in entry}} for entry in logged]


def _facts(trainer: AnyTrainer, config: TrainConfig, rows: Stored, resumed: Path | None, seconds: float) -> dict[str, Json]:
    """Short figures; the final ones are means over the last tenth of the steps, since one step of few pairs says little."""
    curve = _curve(trainer.state.log_history)
    last = curve[-max(1, len(curve) // 10) :]
    final: dict[str, Json] = {
        f"final_{name}": sum(point[name] for point in last) / len(last) for name in ("loss", "reward_accuracy", "margin") if name in last[0]
    }
    return {
        "pairs": rows.count,
        "overlong": rows.overlong,
        "steps": trainer.state.global_step,
        "processes": trainer.accelerator.num_processes,
        "first_loss": curve[0]["loss"],
        **final,
        "resumed_from_step": 0 if resumed is None else int(resumed.name.rpartition("-")[2]),
        "seconds": round(seconds, 1),
        "warnings": [text for text in (at_chance(curve, config.batch_size), _small(rows, config)) if text],
    }


def at_chance(curve: Sequence[dict[str, float]], batch_size: int) -> str | None:
    """Give a warning if the second half of the training tells chosen from rejected no better than a coin would, at two standard errors."""
    half = [point["reward_accuracy"] for point in curve[len(curve) // 2 :] if "reward_accuracy" in point]
    if not half:
        return None
    accuracy, error = sum(half) / len(half), math.sqrt(0.25 / (len(half) * batch_size))
    if accuracy > 0.5 + 2 * error:
        return None
    more = "raise learning_rate or epochs, or give more pairs"
    if 2 * error > _TELLING:
        return f"reward accuracy {accuracy:.2f} in the last {len(half) * batch_size} comparisons: too few to tell from chance; {more}"
    return f"reward accuracy stayed at chance ({accuracy:.2f}): the model did not learn to prefer the chosen answers; {more}"


def _small(rows: Stored, config: TrainConfig) -> str | None:
    if rows.count >= config.batch_size:
        return None
    return f"{rows.count} pairs are fewer than batch_size = {config.batch_size}: a step takes each of them several times"


def _follow_stdin() -> None:
    """End at once when whoever started this process is gone, however it went."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Read the configuration and train; a user's mistake is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m retmask.training.train", description="Training on preference pairs.")
    parser.add_argument("--config", type=Path, required=True, help="JSON object with the fields of retmask.training.launch.TrainConfig")
    path: Path = parser.parse_args().config
    if os.environ.get(FOLLOW_STDIN):
        _follow_stdin()
    try:
        config = parse_table(TrainConfig, _table(path), str(path))
        with _flushing():
            train(config, echo)
    except HarnessError as error:
        echo(f"error: {error}", err=True)
        return USER_ERROR
    except Exception as error:
        if not disk_is_full(error):
            raise
        echo(f"error: no space left for {config.output}; free some and start the same command again", err=True)
        return USER_ERROR
    return 0


@contextmanager
def _flushing() -> Iterator[None]:
    """Take numbers of nearly 0 (denormal ones) for 0 inside the block.

    A model that tells its pairs apart has many such probabilities, and they are slow: products of them took 40 times as long on a CPU.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise HarnessError(f"cannot read the configuration {path}: {error}") from error
    if not isinstance(table, dict):
        raise HarnessError(f"{path} does not hold a JSON object")
    return table


def disk_is_full(error: BaseException | None) -> bool:
    """Say whether a full disk, quota or file size limit is at the bottom of it.

    Libraries that write by themselves say so in words alone.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(os.strerror(code) in str(error) for code in _FULL) or "file write failed" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main())
