"""DPO training, in this process. That it survives being killed is shown in test_methods."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, TrainerControl, TrainerState
from trl.trainer import utils as trl_utils

from harness.api import HarnessError
from retmask.options import parse_options
from retmask.pairs.pairing import PreferencePair, read_pairs, write_pairs
from retmask.training import train as train_module
from retmask.training import trainers
from retmask.training.encoded_pairs import Blocks
from retmask.training.launch import LOSSES, TrainConfig
from retmask.training.train import at_chance, cast_files, disk_is_full, train
from tests.disks import largest_file

CHOSEN, REJECTED = "The door was wet.", "Nobody knew the map."


@pytest.fixture
def config(tmp_path: Path, checkpoint: Path) -> TrainConfig:
    """Twelve pairs, of which half come as tokens."""
    text = [PreferencePair(f"Near the river {'again ' * index}", CHOSEN, REJECTED) for index in range(6)]
    ids = [replace(pair, chosen_ids=(40, 41, 42, 1), rejected_ids=(50, 51)) for pair in text]
    write_pairs(text + ids, tmp_path / "pairs.jsonl")
    paths = {"model": str(checkpoint), "pairs": str(tmp_path / "pairs.jsonl"), "output": str(tmp_path / "out")}
    return TrainConfig(**paths, learning_rate=1e-3, batch_size=4, micro_batch_size=2, epochs=3.0, seed=3)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(path).state_dict())


def test_training_learns_the_preference_and_leaves_an_ordinary_checkpoint(config: TrainConfig, checkpoint: Path) -> None:
    said: list[str] = []
    before_training = trl_utils._use_triton
    facts = train(config, said.append)
    assert trl_utils._use_triton is before_training
    output = Path(config.output)
    assert facts["first_loss"] == pytest.approx(math.log(2), abs=1e-3)  # policy and reference are the same model
    assert facts["final_loss"] < 0.6
    assert facts["final_reward_accuracy"] == 1.0
    assert (facts["pairs"], facts["overlong"], facts["steps"], facts["resumed_from_step"]) == (12, 0, 9, 0)
    assert sorted(path.name for path in output.iterdir()) == ["curve.jsonl", "facts.json", "model"]
    assert json.loads((output / "facts.json").read_text()) == facts
    curve = [json.loads(line) for line in (output / "curve.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == list(range(1, 10))
    assert curve[-1]["learning_rate"] < curve[2]["learning_rate"]
    assert said[-1].startswith("training: step 9 of 9, loss 0.")
    tokenizer = AutoTokenizer.from_pretrained(output / "model")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(checkpoint).chat_template
    after, before = weights(output / "model"), weights(checkpoint)
    assert after.keys() == before.keys()
    assert any(not torch.equal(after[name], before[name]) for name in before)


def test_micro_batches_and_the_answers_only_head_do_not_change_the_result(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    train(config)
    monkeypatch.setattr(trainers, "_answers_only", _as_trl_does)
    whole = replace(config, micro_batch_size=4, output=f"{config.output}-whole")
    train(whole)
    one, other = weights(Path(config.output) / "model"), weights(Path(whole.output) / "model")
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-4, rtol=1e-4)


def test_weights_of_one_change_nothing_and_others_do(config: TrainConfig) -> None:
    pairs = [pair for pair in read_pairs(Path(config.pairs)) if pair.chosen_ids]
    finals = {}
    for name, chosen in (("even", ()), ("ones", (1.0,) * 4), ("first", (4.0, 0.0, 0.0, 0.0))):
        rejected = (1.0, 1.0) if chosen else ()
        write_pairs([replace(pair, chosen_weights=chosen, rejected_weights=rejected) for pair in pairs], Path(f"{config.pairs}-{name}"))
        one = replace(config, pairs=f"{config.pairs}-{name}", output=f"{config.output}-{name}", epochs=2.0)
        assert train(one)["first_loss"] == pytest.approx(math.log(2), abs=1e-3), "the reference is weighted too"
        finals[name] = weights(Path(one.output) / "model")
    for name, value in finals["even"].items():
        torch.testing.assert_close(value, finals["ones"][name], atol=1e-5, rtol=1e-5)
    assert any(not torch.allclose(value, finals["first"][name], atol=1e-5) for name, value in finals["even"].items())


def test_weights_stand_where_their_tokens_do_and_multiply_their_log_probabilities() -> None:
    rows = [
        {"prompt_ids": [1, 2], "chosen_ids": [3, 4], "rejected_ids": [5], "chosen_weights": [0.5, 1.5], "rejected_weights": [1.0]},
        {"prompt_ids": [6], "chosen_ids": [7], "rejected_ids": [8, 9, 10], "chosen_weights": [1.0], "rejected_weights": [0.0, 3.0, 0.0]},
    ]
    batch = trainers.WeightingCollator(pad_token_id=0).torch_call(rows)
    expected = [[0, 0, 0.5, 1.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 3, 0]]
    assert batch["token_weights"].tolist() == expected
    seen: list[set[str]] = []

    def model(**given: Any) -> dict[str, Any]:
        seen.append(set(given))
        return {"log_probs": -torch.ones(4, 3)}

    weighting, plain = trainers._weighting(model, batch)
    assert weighting(**plain)["log_probs"].sum(dim=1).tolist() == [-2.0, -1.0, -1.0, -3.0]
    assert seen == [set(batch) - {"token_weights"}]


class _as_trl_does:  # noqa: N801
    """A context that changes nothing."""

    def __init__(self, _device: str) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_bfloat16_model_stays_one(config: TrainConfig, tmp_path: Path, checkpoint: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    tokenizer.save_pretrained(tmp_path / "half")
    train(replace(config, model=str(tmp_path / "half"), epochs=1.0))
    trained = AutoModelForCausalLM.from_pretrained(Path(config.output) / "model", dtype="auto")
    assert trained.dtype == torch.bfloat16


def test_adapters_end_in_an_ordinary_checkpoint(config: TrainConfig, checkpoint: Path) -> None:
    facts = train(replace(config, lora_rank=4, learning_rate=1e-2))
    assert facts["final_loss"] < facts["first_loss"]  # type: ignore[operator]
    output = Path(config.output)
    after, before = weights(output / "model"), weights(checkpoint)
    assert after.keys() == before.keys()
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    projection = "model.layers.0.self_attn.o_proj.weight"
    change = torch.linalg.svdvals(after[projection] - before[projection])
    assert change[3] > 1e-4 > 10 * change[4]  # of rank 4
    ids = torch.tensor([[40, 41, 42]])
    merged = AutoModelForCausalLM.from_pretrained(output / "model")(ids).logits
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(checkpoint), output / "adapter")(ids).logits
    torch.testing.assert_close(merged, adapted, atol=1e-4, rtol=1e-4)


def test_chosen_answers_alone(config: TrainConfig) -> None:
    pairs = [{"prompt": f"Near the river {'again ' * index}", "chosen": CHOSEN} for index in range(8)]
    Path(config.pairs).write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    facts = train(replace(config, loss="sft", learning_rate=3e-3, epochs=10.0))
    assert facts["final_loss"] < 0.5 * facts["first_loss"]  # type: ignore[operator]
    assert "final_reward_accuracy" not in facts
    with pytest.raises(HarnessError, match=r"pairs\.jsonl, line 1: not a preference pair: it lacks rejected and has 'prompt', 'chosen'"):
        train(config)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(config: TrainConfig, loss: str) -> None:
    facts = train(replace(config, loss=loss, label_smoothing=0.1 if loss == "exo_pair" else 0.0, epochs=1.0))
    assert math.isfinite(facts["final_loss"])  # type: ignore[arg-type]
    assert (Path(config.output) / "model" / "model.safetensors").exists()


def test_settings_that_cannot_be_trained_with(config: TrainConfig) -> None:
    with pytest.raises(HarnessError, match="unknown loss 'sigmiod'; choose from sigmoid, hinge"):
        replace(config, loss="sigmiod")
    with pytest.raises(HarnessError, match="exo_pair needs a label_smoothing"):
        replace(config, loss="exo_pair")
    with pytest.raises(HarnessError, match=r"report_to = wandb: .*install"):
        train(replace(config, report_to="wandb"))


def test_curves_go_where_transformers_sends_them(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(trainers.arguments(replace(config, report_to="none"), 12).report_to) == set()
    assert trainers.arguments(replace(config, report_to="wandb, tensorboard"), 12).report_to == ["wandb", "tensorboard"]


def test_a_reference_with_other_weights_is_noticed(config: TrainConfig) -> None:
    watch = trainers.Watch(lambda _: None, beta=0.1)
    args = trainers.arguments(config, 12)
    with pytest.raises(HarnessError, match="policy and reference differ before the training has begun"):
        watch.on_log(args, TrainerState(global_step=1, max_steps=9), TrainerControl(), {"loss": 0.668, "rewards/margins": 0.208})
    watch.on_log(args, TrainerState(global_step=2, max_steps=9), TrainerControl(), {"loss": 0.6, "rewards/margins": 0.208})


def test_accuracy_that_stays_at_chance_is_said() -> None:
    learnt = [{"reward_accuracy": 0.5}, {"reward_accuracy": 0.5}, {"reward_accuracy": 0.9}, {"reward_accuracy": 0.8}]
    stuck = [{"reward_accuracy": 0.9}, {"reward_accuracy": 0.9}, {"reward_accuracy": 0.52}, {"reward_accuracy": 0.5}]
    assert at_chance(learnt, 64) is None
    assert "stayed at chance (0.51)" in str(at_chance(stuck, 64))
    assert at_chance([{"loss": 1.0}], 64) is None
    assert at_chance([{"reward_accuracy": 0.52}], 100_000) is None  # of so many pairs 52% is more than a coin gives
    assert "stayed at chance" in str(at_chance([{"reward_accuracy": 0.52}], 400))
    few = str(at_chance([{"reward_accuracy": 0.62}], 16))  # one step cannot show either
    assert "accuracy 0.62 in the last 16 comparisons: too few to tell from chance" in few


def test_a_full_disk_is_one_line_and_loses_nothing(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.json").write_text(json.dumps(asdict(config)))
    monkeypatch.setattr("sys.argv", ["retmask.training.train", "--config", str(tmp_path / "train.json")])
    with largest_file(60_000):
        code = train_module.main()
    assert code == 2
    error = f"error: no space left for {config.output}; free some and start the same command again"
    assert error in capfd.readouterr().err.splitlines()
    assert not (Path(config.output) / "model").exists()
    assert train_module.main() == 0
    assert weights(Path(config.output) / "model")


def test_the_trainers_process_takes_numbers_of_nearly_0_for_0(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    product: list[float] = []

    def stand_in(*_: object) -> None:
        product.append(float(torch.tensor([1e-39]) * torch.tensor([1.0])))

    (tmp_path / "train.json").write_text(json.dumps(asdict(config)))
    monkeypatch.setattr("sys.argv", ["retmask.training.train", "--config", str(tmp_path / "train.json")])
    monkeypatch.setattr(train_module, "train", stand_in)
    assert train_module.main() == 0
    assert product == [0.0]
    assert float(torch.tensor([1e-39]) * torch.tensor([1.0])) > 0, "and not after it"


def test_other_errors_are_no_full_disk() -> None:
    assert not disk_is_full(ValueError("out of luck"))
    assert not disk_is_full(FileNotFoundError(2, "No such file or directory"))
    assert disk_is_full(OSError(28, "No space left on device"))


def test_another_training_in_the_same_folder_starts_afresh(config: TrainConfig) -> None:
    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(config, checkpoint_share=0.01), stop)
    facts = train(replace(config, beta=0.2))
    assert facts["resumed_from_step"] == 0


def test_sharded_weights_come_back_to_the_base_models_format(tmp_path: Path, checkpoint: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    model.save_pretrained(tmp_path)
    cast_files(tmp_path, "bfloat16")
    assert AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").dtype == torch.bfloat16
    for name, value in weights(checkpoint).items():
        assert torch.equal(weights(tmp_path)[name], value.to(torch.bfloat16))


def test_a_single_step_trains(config: TrainConfig, checkpoint: Path) -> None:
    assert train(replace(config, batch_size=12, epochs=1.0))["steps"] == 1
    after, before = weights(Path(config.output) / "model"), weights(checkpoint)
    assert any(not torch.equal(after[name], before[name]) for name in before)


def test_long_pairs_are_an_error_that_names_the_option(config: TrainConfig) -> None:
    with pytest.raises(HarnessError, match=r"\d+ of 12 pairs have more than max_length = 20 tokens .*; raise max_length"):
        train(replace(config, max_length=20))


def test_a_few_long_pairs_are_left_out_and_counted(config: TrainConfig) -> None:
    facts = train(replace(config, max_length=20, max_overlong_share=0.5, epochs=1.0))
    assert facts["overlong"] > 0
    assert facts["pairs"] + facts["overlong"] == 12


def test_a_loss_that_is_not_a_number_stops_the_training(config: TrainConfig) -> None:
    with pytest.raises(HarnessError, match=r"the training (loss|gradient norm) is (nan|inf) at step \d+ of 9; lower learning_rate"):
        train(replace(config, learning_rate=1e30, warmup_ratio=0.0))
    assert not (Path(config.output) / "model").exists()


def test_any_batch_is_split_into_equal_parts(config: TrainConfig) -> None:
    facts = train(replace(config, batch_size=6, micro_batch_size=4, epochs=1.0))
    assert facts["steps"] == 2


def test_a_batch_that_cannot_be_split_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(HarnessError, match="batch_size = 5 cannot be split evenly among 2 processes; give a multiple of 2"):
        parse_options({"batch_size": 5, "parallel": "ddp", "processes": 2})
    assert parse_options({"batch_size": 6, "micro_batch_size": 4}).batch_size == 6


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((5, "{}"), (10, "{}"), (15, '{"cut of'), (20, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert train_module._last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert train_module._last_checkpoint(tmp_path / "none") is None


def blocks(epoch: int) -> Iterator[list[int]]:
    sizes = [17 * index % 23 for index in range(23)]
    order = Blocks(sizes, block=5, seed=1)
    order.set_epoch(epoch)
    drawn = list(order)
    yield from ([sizes[index] for index in drawn[start : start + 5]] for start in range(0, len(drawn), 5))


def test_an_epoch_takes_every_pair_in_full_steps_sorted_within_each() -> None:
    first, second = list(blocks(0)), list(blocks(1))
    assert all(block == sorted(block) and len(block) == 5 for block in first)
    taken = Counter(size for block in first for size in block)
    assert set(taken) == set(range(23))
    assert taken.total() == 25  # the last step is filled up with two pairs of the first
    assert first != second
    assert first == list(blocks(0))


def test_the_command_says_a_users_mistake_in_one_line(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exit_code(table: dict[str, Any]) -> int:
        (tmp_path / "train.json").write_text(json.dumps(table))
        monkeypatch.setattr("sys.argv", ["retmask.training.train", "--config", str(tmp_path / "train.json")])
        return train_module.main()

    assert exit_code(asdict(config) | {"lerning_rate": 1}) == 2
    assert capsys.readouterr().err.strip().endswith("unknown key 'lerning_rate'; did you mean 'learning_rate'?")
    assert exit_code(asdict(replace(config, pairs=str(tmp_path / "none")))) == 2
    assert capsys.readouterr().err.startswith("error: cannot read preference pairs")
