"""trl's trainers on tokens that are ready, in our order. The only module that imports trl."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from harness.api import HarnessError
from harness.screen.progress import Clock
from retmask.training.encoded_pairs import Blocks
from retmask.training.launch import SFT, STAMP, TrainConfig, micro_batch

#: Nats by which the log-probability of a mean answer may differ between two computations of it in bfloat16.
_SAME = 0.5
#: Columns of rows whose tokens count differently, and what a batch calls them.
_WEIGHTS = ("chosen_weights", "rejected_weights")
_TOKEN_WEIGHTS = "token_weights"

AnyTrainer: TypeAlias = "PreferenceTrainer | ChosenTrainer"


def arguments(config: TrainConfig, pairs: int) -> DPOConfig | SFTConfig:
    """Make the trainer's settings for so many pairs. HarnessError for a batch that cannot be split among the processes."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro = micro_batch(config.batch_size, config.micro_batch_size, processes)
    on_cpu = config.device.startswith("cpu")
    steps = math.ceil(pairs / config.batch_size) * config.epochs
    shared: dict[str, Any] = {
        "output_dir": str(Path(config.output) / "checkpoints"),
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": on_cpu,
        "bf16": config.dtype == "bfloat16",
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": config.min_learning_rate_ratio},
        "warmup_steps": math.floor(config.warmup_ratio * steps),  # rounded up, one step alone would have a learning rate of 0
        "weight_decay": config.weight_decay,
        "adam_beta2": config.adam_beta2,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": config.batch_size // (micro * processes),
        "gradient_checkpointing": config.gradient_checkpointing,
        "max_length": None,
        "save_steps": max(1, round(config.checkpoint_share * steps)),
        "save_total_limit": 2,  # the newest may be cut short by a crash
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "dataloader_pin_memory": not on_cpu,
        "disable_tqdm": True,
        "report_to": [name.strip() for name in config.report_to.split(",")],
    }
    if config.loss == SFT:
        return SFTConfig(**shared, dataset_kwargs={"skip_prepare_dataset": True}, packing=False)
    return DPOConfig(
        **shared,
        beta=config.beta,
        loss_type=[config.loss],
        label_smoothing=config.label_smoothing,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=micro * 4,
    )


@contextmanager
def trainer(
    config: TrainConfig,
    args: DPOConfig | SFTConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    watch: "Watch",
) -> Iterator[AnyTrainer]:
    """Make the trainer of ``config.loss``, ready to train for the length of the block.

    ``rows`` as in :mod:`retmask.training.encoded_pairs`.
    """
    kind: Any = ChosenTrainer if config.loss == SFT else PreferenceTrainer
    with _answers_only(config.device), _whole_before_divided():
        try:
            made: AnyTrainer = kind(
                model=model,
                args=args,
                train_dataset=rows,
                processing_class=tokenizer,
                peft_config=_adapters(config),
                callbacks=[watch],
                **_collator(rows, tokenizer),
            )
        except (RuntimeError, ImportError, ValueError) as error:
            if config.report_to != "none" and "install" in str(error).lower():
                raise HarnessError(f"report_to = {config.report_to}: {str(error).strip().partition(chr(10))[0]}") from error
            raise
        made.remove_callback(PrinterCallback)
        yield made


def _collator(rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The argument for rows with weights; trl makes its own collator for others."""
    if _WEIGHTS[0] not in rows.column_names:
        return {}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return {"data_collator": WeightingCollator(pad_token_id=pad)}


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


@contextmanager
def _whole_before_divided() -> Iterator[None]:
    """Let trl compute reference log-probabilities before DeepSpeed has divided the model's weights (ZeRO stage 3).

    It gathers the LM head's parts and takes for granted that there are some; of a weight that is whole there is nothing to gather.
    """
    trl_utils: Any = import_module("trl.trainer.utils")
    before = trl_utils.maybe_gather_lm_head_ctx
    trl_utils.maybe_gather_lm_head_ctx = lambda *weights: before(*(each for each in weights if hasattr(each, "ds_status")))
    try:
        yield
    finally:
        trl_utils.maybe_gather_lm_head_ctx = before


def _adapters(config: TrainConfig) -> LoraConfig | None:
    if not config.lora_rank:
        return None
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def base_dtype(config: TrainConfig) -> str:
    """Choose the format of weights: float32 for those that are trained.

    Under adapters the base is frozen and takes the format that is computed in.
    """
    return config.dtype if config.lora_rank else "float32"


class _Ordered:
    """Pairs in the order of :class:`retmask.training.encoded_pairs.Blocks`, and no model card with each checkpoint."""

    args: Any
    train_dataset: Any

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, *_: Any) -> Blocks:
        block = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return Blocks(list(self.train_dataset["size"]), block, self.args.seed)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        return


class PreferenceTrainer(_Ordered, DPOTrainer):
    """Chosen against rejected; each token's log-probability times its weight, where tokens have weights."""

    def _set_signature_columns_if_needed(self) -> None:
        trl: Any = super()
        trl._set_signature_columns_if_needed()
        columns: Any = self._signature_columns
        self._signature_columns: Any = list(dict.fromkeys([*columns, *_WEIGHTS]))

    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        """Compute (chosen, rejected) log-probabilities under the reference, weighted."""
        trl: Any = super()
        return trl.compute_ref_log_probs(*_weighting(model, inputs))

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        trl: Any = super()
        return trl._compute_loss(*_weighting(model, inputs), return_outputs)


class WeightingCollator(DataCollatorForPreference):
    """Batches with ``token_weights`` [chosen and rejected rows, tokens] beside trl's columns; 0 for prompts and padding."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate."""
        batch: dict[str, Any] = super().torch_call(examples)
        found = torch.zeros(batch["input_ids"].shape)
        rows = [(each["prompt_ids"], each[name]) for name in _WEIGHTS for each in examples]
        for row, (prompt, weights) in zip(found, rows, strict=True):
            row[len(prompt) : len(prompt) + len(weights)] = torch.tensor(weights)
        return {**batch, _TOKEN_WEIGHTS: found}


def _weighting(model: Any, inputs: Any) -> tuple[Any, dict[str, Any]]:
    """The model with weighted log-probabilities, and the batch without the weights."""
    batch = dict(inputs)
    weights = batch.pop(_TOKEN_WEIGHTS, None)
    if weights is None:
        return model, batch

    def call(**given: Any) -> Any:
        outputs = model(**given)
        found = outputs.get("log_probs")
        if found is not None:
            outputs["log_probs"] = found * weights[:, 1:].to(found)
        return outputs

    return call, batch


class ChosenTrainer(_Ordered, SFTTrainer):
    """The chosen answers alone."""


#: Seconds after which something is said again.
_A_WHILE: Final = 60.0


class Watch(TrainerCallback):
    """Says how it goes and how long it takes yet, about ten times and each minute; every step goes to ``log``.

    It stops at a loss that is not a number.
    """

    def __init__(self, say: Callable[[str], None], beta: float, log: Callable[[str], None] = lambda _: None) -> None:
        self.say, self.beta, self.log = say, beta, log
        self._clock, self._said = Clock(0), time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._clock = Clock(state.max_steps, state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        if logs is None:
            return
        if state.is_world_process_zero:
            figures = ", ".join(f"{name} {value:.6g}" for name, value in logs.items() if isinstance(value, int | float))
            self.log(f"{time.strftime(STAMP)} step {state.global_step} of {state.max_steps}: {figures}")
        if "loss" not in logs:
            return
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                what = f"{name.replace('grad_', 'gradient ')} is {logs[name]} at step {state.global_step} of {state.max_steps}"
                raise HarnessError(f"the training {what}; lower learning_rate or set dtype to float32")
        self._same_at_first(state, logs.get("rewards/margins", 0.0))
        quiet = state.global_step % max(1, state.max_steps // 10) and time.monotonic() - self._said < _A_WHILE
        if state.is_world_process_zero and not quiet:
            self._said = time.monotonic()
            accuracy = logs.get("rewards/accuracies")
            figures = f"loss {logs['loss']:.4f}" + ("" if accuracy is None else f", reward accuracy {accuracy:.2f}")
            self.say(f"training: step {state.global_step} of {state.max_steps}, {figures}{self._clock.left(state.global_step)}")

    def _same_at_first(self, state: TrainerState, margin: float) -> None:
        """Before the first update policy and reference are one model, so that their rewards are 0 but for rounding."""
        if state.global_step == 1 and abs(margin) > _SAME * self.beta:
            raise HarnessError(
                f"policy and reference differ before the training has begun (margin {margin:.3f}), so some process has other weights; "
                "set fsdp_cpu_ram_efficient_loading to false in the accelerate configuration"
            )


def merged(model: Any) -> PreTrainedModel:
    """Multiply the adapters into the base model; changes ``model``."""
    whole: PreTrainedModel = model.merge_and_unload()
    return whole


def is_sharded(made: AnyTrainer) -> bool:
    """Say whether no process holds all the weights, or another library holds them."""
    return bool(made.is_fsdp_enabled or made.is_deepspeed_enabled)


def dtype_named(name: str) -> torch.dtype:
    """Find torch's dtype of that name."""
    found: torch.dtype = getattr(torch, name)
    return found
