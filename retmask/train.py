"""DPO training with trl: ``python -m retmask.train --config FILE``, alone or behind ``accelerate launch``.

The only module that imports trl. FILE is a JSON object with the fields of :class:`retmask.launch.TrainConfig`. Interrupted and
started again, it goes on from the last complete checkpoint. It writes ``model/`` (safetensors and tokenizer), ``curve.jsonl`` and,
last, ``facts.json``.
"""

import argparse
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import (
    AutoConfig,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from harness.api import HarnessError, Json
from retmask.launch import FOLLOW_STDIN, USER_ERROR, TrainConfig
from retmask.model import load_model, load_tokenizer
from retmask.options import parse_table
from retmask.pairs import read_pairs
from retmask.rows import Blocks, encode_pairs, fit, size

_CURVE = {"loss": "loss", "rewards/accuracies": "reward_accuracy", "rewards/margins": "margin", "learning_rate": "learning_rate"}


def train(config: TrainConfig, say: Callable[[str], None] = lambda _: None) -> dict[str, Json]:
    """Train, write the results below ``config.output`` and return the facts.

    HarnessError for pairs that are too long, a batch size that cannot be split, and a loss that is not a number.
    """
    started = time.monotonic()
    output = Path(config.output)
    tokenizer = load_tokenizer(Path(config.model))
    encoded = encode_pairs(tokenizer, read_pairs(Path(config.pairs)))
    rows, overlong = fit(encoded, config.max_length, config.max_overlong_share, config.pairs)
    model = load_model(Path(config.model), "float32", "cpu")
    resumed = _last_checkpoint(output / "checkpoints")
    with _answers_only(config.device):
        trainer = _Trainer(
            model=model,
            args=_arguments(config, len(rows)),
            train_dataset=Dataset.from_list([dict(row) for row in rows]),
            processing_class=tokenizer,
            callbacks=[_Watch(say)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    _publish(trainer, tokenizer, config)
    facts = _facts(trainer, rows, overlong, resumed, time.monotonic() - started)
    if trainer.accelerator.is_main_process:
        _write_curve(trainer.state.log_history, output / "curve.jsonl")
        (output / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(output / "checkpoints", ignore_errors=True)
    return facts


@contextmanager
def _answers_only(device: str) -> Iterator[None]:
    """On a CPU, let trl's fused LM head project the answers' positions only, as it does on a GPU.

    Otherwise it takes prompt and padding through some twenty passes over the vocabulary, to mask them afterwards.
    """
    trl_utils: Any = import_module("trl.trainer.utils")
    before = trl_utils._use_triton
    if device.startswith("cpu"):
        trl_utils._use_triton = lambda _device: True  # the name under which trl.trainer.utils asks whether shapes may vary
    try:
        yield
    finally:
        trl_utils._use_triton = before


def _arguments(config: TrainConfig, pairs: int) -> DPOConfig:
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro = min(config.micro_batch_size, max(1, config.batch_size // processes))
    if config.batch_size % (micro * processes):
        raise HarnessError(f"batch_size = {config.batch_size} is not a multiple of micro_batch_size x processes = {micro} x {processes}")
    on_cpu = config.device.startswith("cpu")
    steps = math.ceil(pairs / config.batch_size) * config.epochs
    return DPOConfig(
        output_dir=str(Path(config.output) / "checkpoints"),
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=on_cpu,
        bf16=config.dtype == "bfloat16",
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": config.min_learning_rate_ratio},
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        adam_beta2=config.adam_beta2,
        beta=config.beta,
        loss_type=[config.loss],
        num_train_epochs=config.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=config.batch_size // (micro * processes),
        gradient_checkpointing=config.gradient_checkpointing,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=micro * 4,
        max_length=None,
        save_steps=max(1, round(config.checkpoint_share * steps)),
        save_total_limit=2,  # the newest may be cut short by a crash
        logging_steps=1,
        logging_nan_inf_filter=False,
        dataloader_pin_memory=not on_cpu,
        disable_tqdm=True,
        report_to=[],
    )


class _Trainer(DPOTrainer):
    """trl's trainer on tokens that are ready, in our order, without the model card it writes with each checkpoint."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, *_: Any) -> Blocks:
        block = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        dataset: Any = self.train_dataset
        return Blocks([size(row) for row in dataset], block, self.args.seed)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        return


class _Watch(TrainerCallback):
    """Says how it goes, about ten times, and stops at a loss that is not a number."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                what = f"{name.replace('grad_', 'gradient ')} is {logs[name]} at step {state.global_step} of {state.max_steps}"
                raise HarnessError(f"the DPO {what}; lower learning_rate or set dtype to float32")
        if state.global_step % max(1, state.max_steps // 10) == 0:
            figures = f"loss {logs['loss']:.4f}, reward accuracy {logs['rewards/accuracies']:.2f}"
            self.say(f"dpo: step {state.global_step} of {state.max_steps}, {figures}")


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is complete: the trainer's state is the last file written."""
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _publish(trainer: _Trainer, tokenizer: PreTrainedTokenizerBase, config: TrainConfig) -> None:
    """Write ``model/`` in the number format that the base model came in."""
    partial, final = Path(config.output) / "model.partial", Path(config.output) / "model"
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    dtype = AutoConfig.from_pretrained(config.model).dtype
    model: Any = trainer.model
    if dtype is not None and not sharded:
        model.to(dtype)
    model.config.use_cache = True
    trainer.save_model(str(partial))
    if trainer.accelerator.is_main_process:
        tokenizer.save_pretrained(partial)
        (partial / "training_args.bin").unlink(missing_ok=True)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)


def _curve(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [{"step": entry["step"], **{name: entry[key] for key, name in _CURVE.items()}} for entry in history if "loss" in entry]


def _write_curve(history: Sequence[dict[str, float]], path: Path) -> None:
    path.write_text("".join(json.dumps(point) + "\n" for point in _curve(history)), encoding="utf-8")


def _facts(trainer: _Trainer, rows: Sequence[Any], overlong: int, resumed: Path | None, seconds: float) -> dict[str, Json]:
    """Short figures; the final ones are means over the last tenth of the steps, since one step of few pairs says little."""
    curve = _curve(trainer.state.log_history)
    last = curve[-max(1, len(curve) // 10) :]

    def final(name: str) -> float:
        return sum(point[name] for point in last) / len(last)

    return {
        "pairs": len(rows),
        "overlong": overlong,
        "steps": trainer.state.global_step,
        "first_loss": curve[0]["loss"],
        "final_loss": final("loss"),
        "final_reward_accuracy": final("reward_accuracy"),
        "final_margin": final("margin"),
        "resumed_from_step": 0 if resumed is None else int(resumed.name.rpartition("-")[2]),
        "seconds": round(seconds, 1),
    }


def _follow_stdin() -> None:
    """End at once when whoever started this process is gone, however it went."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Read the configuration and train; a user's mistake is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m retmask.train", description="DPO training on preference pairs.")
    parser.add_argument("--config", type=Path, required=True, help="JSON object with the fields of retmask.launch.TrainConfig")
    path: Path = parser.parse_args().config
    if os.environ.get(FOLLOW_STDIN):
        _follow_stdin()
    try:
        config = parse_table(TrainConfig, json.loads(path.read_text(encoding="utf-8")), str(path))
        train(config, lambda message: print(message, flush=True))
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
