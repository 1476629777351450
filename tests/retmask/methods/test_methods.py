"""The plugins, from options to a trained checkpoint, through a kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.api import Artifact, HarnessError, Json, Method
from harness.options import parse_table
from retmask.heads.scores import HeadScores, TrialFacts
from retmask.methods.controls import LayerMatched, NonRetMask, RandMask
from retmask.methods.retmask import RetMask
from retmask.methods.sft import Sft
from retmask.methods.smaller_model import SmallerModel
from retmask.options import Options
from retmask.pairs.pairing import PreferencePair, read_pairs, write_pairs
from retmask.stages import derive
from retmask.training.launch import TrainConfig
from retmask.training.train import train
from tests.retmask.directory import DirectoryContext
from tests.retmask.small import random_model, word_level

OPTIONS: dict[str, Json] = {
    "prompts": 40,
    "prompts_from": "generated",
    "threshold": 0.3,
    "detection_lengths": [120],
    "detection_trials": 2,
    "max_new_tokens": 6,
    "temperature": 1.0,
    "learning_rate": 1e-3,
    "epochs": 5.0,
    "batch_size": 4,
    "micro_batch_size": 4,
}
MEAN = [[0.9, 0.0, 0.1, 0.2], [0.0, 0.4, 0.0, 0.0]]


class Prepared(DirectoryContext):
    """A model of random weights finds no needle, so its heads come measured; all else runs."""

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        def measured(work: Path) -> None:
            HeadScores(self.model.digest, np.array([MEAN], np.float32), (TrialFacts(True),)).save(work / "heads.safetensors")

        return super().step(name, inputs, measured if name == "heads" else build)


class NoTraining(Prepared):
    """Stops before the costly step."""

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        if name in ("dpo", "sft"):
            raise StopIteration(json.dumps(inputs, sort_keys=True))
        return super().step(name, inputs, build)


def until_training(method: Method, root: Path, checkpoint: Path, **options: Json) -> tuple[NoTraining, str]:
    context = NoTraining(root, checkpoint, OPTIONS | options)
    with pytest.raises(StopIteration) as stop:
        method.run(context)
    return context, str(stop.value)


def wait_for(found: Callable[[], object], parent: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while not found():
        assert parent.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_heads_that_are_masked_though_they_score_nothing_are_told(words: Path, tmp_path: Path) -> None:
    context, _ = until_training(RetMask(), tmp_path, words, top_k=6, prompts=4)
    told = [line for line in context.said if "score 0" in line]
    assert told == ["warning: 2 of these score 0, masked for their place alone; lower top_k, or have more detection_trials"]
    context, _ = until_training(RetMask(), tmp_path, words, top_k=4, prompts=4)
    assert not [line for line in context.said if "score 0" in line]
    context, _ = until_training(RandMask(), tmp_path, words, top_k=6, prompts=4)
    assert not [line for line in context.said if "score 0" in line], "a control may draw any"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the trainer's process in /proc")
def test_a_killed_run_goes_on_to_the_same_model(words: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    until_training(RetMask(), root, words)
    command = [sys.executable, "-m", "tests.retmask.directory", str(root), str(words), json.dumps(OPTIONS), "RetMask"]
    parent = subprocess.Popen(command, cwd=Path(__file__).parents[3])
    wait_for(lambda: list(root.glob("dpo-*/checkpoints/checkpoint-*/trainer_state.json")), parent)
    trainer = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while alive(trainer):
        assert time.monotonic() < deadline, "the trainer outlived the command that started it"
        time.sleep(0.02)

    context = Prepared(root, words, OPTIONS)
    outcome = RetMask().run(context)
    assert [(artifact.name, artifact.reused) for artifact in context.artifacts] == [
        ("heads", True),
        ("prompts", True),
        ("chosen", True),
        ("rejected-retmask", True),
        ("pairs", True),
        ("dpo", False),
        ("heads", False),
    ]
    assert outcome.masked_heads == ((0, 0), (1, 1))
    assert outcome.head_scores == pytest.approx(np.array(MEAN), abs=1e-6)
    prompts = [pair.prompt for pair in read_pairs(context.artifacts[4].path / "pairs.jsonl")]
    assert outcome.instructions == tuple(prompts[:10])
    facts = outcome.facts
    assert (facts["masked heads"], facts["heads"], facts["trials"]) == (2, 8, 1)
    assert facts["pairs"] + facts["dropped empty"] + facts["dropped identical"] == 40
    assert facts["resumed from step"] > 0
    assert facts["final loss"] < facts["first loss"]

    table = json.loads((outcome.checkpoint.parent / "train.json").read_text())
    whole = replace(parse_table(TrainConfig, table, "train.json"), output=str(tmp_path / "whole"))
    train(whole)
    resumed, straight = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (outcome.checkpoint, tmp_path / "whole/model"))
    for name, value in straight.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-4, rtol=1e-4)


def test_methods_share_heads_and_chosen_answers(words: Path, tmp_path: Path) -> None:
    runs = [until_training(method, tmp_path, words) for method in (RetMask(), NonRetMask(), RandMask(), LayerMatched())]
    assert [[(artifact.name, artifact.reused) for artifact in context.artifacts] for context, _ in runs] == [
        [("heads", False), ("prompts", False), ("chosen", False), ("rejected-retmask", False), ("pairs", False)],
        [("heads", True), ("prompts", True), ("chosen", True), ("rejected-nonretmask", False), ("pairs", False)],
        [("heads", True), ("prompts", True), ("chosen", True), ("rejected-randmask", False), ("pairs", False)],
        [("heads", True), ("prompts", True), ("chosen", True), ("rejected-layermatched", False), ("pairs", False)],
    ]
    masked = [context.artifacts[3].manifest["inputs"]["masked"] for context, _ in runs]  # type: ignore[index, call-overload]
    assert masked[0] == [[0, 0], [1, 1]]
    assert len(masked[1]) == len(masked[2]) == 2
    assert all(MEAN[layer][head] < 0.3 for layer, head in masked[1])
    assert sorted(layer for layer, _ in masked[3]) == [0, 1]  # one in each layer, as the target has
    assert not set(map(tuple, masked[3])) & {(0, 0), (1, 1)}
    assert len({inputs for _, inputs in runs}) == 4  # their pairs differ, so their trainings do


def test_a_control_that_cannot_be_drawn_says_so_when_it_prepares(words: Path, tmp_path: Path) -> None:
    context = NoTraining(tmp_path, words, OPTIONS | {"threshold": 0.05})  # three of the four heads of layer 0
    with pytest.raises(HarnessError, match="layermatched: cannot draw 3 control heads: only 1 are left in layer 0"):
        LayerMatched().prepare(context)
    assert [artifact.name for artifact in context.artifacts] == ["heads"]
    RetMask().prepare(context)


def test_only_what_changes_a_result_changes_its_key(words: Path, tmp_path: Path) -> None:
    first, dpo = until_training(RetMask(), tmp_path, words)
    again, same = until_training(RetMask(), tmp_path, words, micro_batch_size=2, gradient_checkpointing=True)
    assert all(artifact.reused for artifact in again.artifacts)
    assert same == dpo
    warmer, _ = until_training(RetMask(), tmp_path, words, temperature=0.9)
    assert [artifact.reused for artifact in warmer.artifacts] == [True, True, False, False, False]
    deeper, other = until_training(RetMask(), tmp_path, words, beta=0.2)
    assert all(artifact.reused for artifact in deeper.artifacts)
    assert other != dpo
    assert first.artifacts[0].key == deeper.artifacts[0].key


def test_top_k_overrides_the_threshold(words: Path, tmp_path: Path) -> None:
    context, _ = until_training(RetMask(), tmp_path, words, top_k=1, threshold=0.99, prompts=4)
    assert context.artifacts[3].manifest["inputs"]["masked"] == [[0, 0]]  # type: ignore[index, call-overload]
    assert "retmask: 1 of 8 heads masked" in context.said


class Audited(NoTraining):
    """Its audit has chosen one head."""

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        def audited(work: Path) -> Mapping[str, Json]:
            return {"verdict": "concentrated", "k": 1, "reason": "because"}

        return super().step(name, inputs, audited if name == "audit" else build)


def test_an_audit_chooses_the_number_of_heads(words: Path, tmp_path: Path) -> None:
    for method in (RetMask(), LayerMatched()):
        context = Audited(tmp_path, words, OPTIONS | {"heads": "auto", "prompts": 4})
        with pytest.raises(StopIteration):
            method.run(context)
        assert [artifact.name for artifact in context.artifacts][:4] == ["heads", "audit", "prompts", "chosen"]
        assert f"{method.name}: 1 of 8 heads masked" in context.said
    assert context.artifacts[1].reused


def test_an_audit_that_finds_nothing_to_mask_stops_the_run(words: Path, tmp_path: Path) -> None:
    context = NoTraining(tmp_path, words, OPTIONS | {"heads": "auto"})
    with pytest.raises(HarnessError, match=r"no number of heads to mask \(nothing to mask: the model found the needle in none of 4 trials"):
        RetMask().run(context)
    assert [artifact.name for artifact in context.artifacts] == ["heads", "audit"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"heads": "most"}, "heads is 'most'; choose threshold"), ({"heads": "auto", "top_k": 3}, "leave out top_k = 3")],
)
def test_contradictory_options_are_refused(options: dict[str, Json], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        RetMask().check(options)


def test_a_model_that_finds_no_needle_stops_before_anything_is_trained(words: Path, tmp_path: Path) -> None:
    context = DirectoryContext(tmp_path, words, OPTIONS)
    with pytest.raises(HarnessError, match="found the needle in none of 2 trials"):
        RetMask().run(context)
    assert not list(tmp_path.glob("*/manifest.json"))


def test_a_misspelt_option_is_named(words: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"\[method\]: unknown key 'treshold'; did you mean 'threshold'\?"):
        RandMask().run(DirectoryContext(tmp_path, words, {"treshold": 0.1}))


def test_the_training_seed_repeats_training_and_draws_and_nothing_else(words: Path, tmp_path: Path) -> None:
    until_training(RetMask(), tmp_path, words)
    again = NoTraining(tmp_path, words, OPTIONS, training_seed=8)
    with pytest.raises(StopIteration):
        RetMask().run(again)
    assert all(artifact.reused for artifact in again.artifacts), "only its training differs"
    first, _ = until_training(RandMask(), tmp_path, words)
    redrawn = NoTraining(tmp_path, words, OPTIONS, training_seed=10)
    with pytest.raises(StopIteration):
        RandMask().run(redrawn)
    assert [artifact.reused for artifact in redrawn.artifacts[:3]] == [True, True, True]
    assert redrawn.artifacts[3].manifest["inputs"]["masked"] != first.artifacts[3].manifest["inputs"]["masked"]  # type: ignore[index, call-overload]


def test_the_report_says_how_the_heads_changed(words: Path, tmp_path: Path) -> None:
    class Changed(Prepared):
        """Training raised the masked heads' scores by 0.05, and nobody else's."""

        def step(
            self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
        ) -> Artifact:
            if name != "heads" or inputs["model"] == self.model.digest:
                return super().step(name, inputs, build)
            after = np.array([[[0.95, 0.0, 0.1, 0.2], [0.0, 0.45, 0.0, 0.0]]], np.float32)
            scores = HeadScores("", after, (TrialFacts(True),))
            return DirectoryContext.step(self, name, inputs, lambda work: scores.save(work / "heads.safetensors"))

    outcome = RetMask().run(Changed(tmp_path, words, OPTIONS | {"epochs": 1.0}))
    assert outcome.facts["masked heads' mean score change"] == pytest.approx(0.05, abs=1e-4)
    assert outcome.facts["other heads' mean score change"] == 0
    assert outcome.head_scores_after is not None
    assert outcome.head_scores_after[0][0] == pytest.approx(0.95)


def test_a_smaller_model_writes_what_is_rejected(words: Path, checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    random_model("Llama", layers=1).save_pretrained(other)
    word_level().save_pretrained(other)
    options = OPTIONS | {"rejected_from": f"model {other}", "epochs": 1.0}
    context = DirectoryContext(tmp_path, words, options)
    outcome = SmallerModel().run(context)
    assert [artifact.name for artifact in context.artifacts] == ["prompts", "chosen", "rejected-smaller-model", "pairs", "dpo"]
    assert outcome.head_scores is None
    pair = read_pairs(context.artifacts[3].path / "pairs.jsonl")[0]
    assert pair.chosen_ids
    assert pair.rejected_ids, "the two share a tokenizer"
    foreign = NoTraining(tmp_path, words, options | {"rejected_from": f"model {checkpoint}"})
    with pytest.raises(StopIteration):
        SmallerModel().run(foreign)
    pair = read_pairs(foreign.artifacts[3].path / "pairs.jsonl")[0]
    assert pair.chosen_ids
    assert not pair.rejected_ids, "another tokenizer's ids mean nothing to this one"


def test_sft_trains_on_the_chosen_answers_alone(words: Path, tmp_path: Path) -> None:
    context = DirectoryContext(tmp_path, words, OPTIONS)
    outcome = Sft().run(context)
    assert [artifact.name for artifact in context.artifacts] == ["prompts", "chosen", "pairs", "sft"]
    assert outcome.facts["final loss"] < outcome.facts["first loss"]
    shared, _ = until_training(RetMask(), tmp_path, words)
    assert [artifact.reused for artifact in shared.artifacts] == [False, True, True, False, False]


def test_pairs_of_the_users_own(words: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    write_pairs([PreferencePair(f"the door {index}", "wet", "the map") for index in range(4)], path)
    context = DirectoryContext(tmp_path, words, OPTIONS | {"pairs_from": str(path), "epochs": 1.0})
    assert RetMask().run(context).facts["pairs"] == 4
    assert [artifact.name for artifact in context.artifacts] == ["pairs", "dpo"]
    path.write_text("{}\n")
    with pytest.raises(HarnessError, match=r"mine\.jsonl, line 1: not a preference pair"):
        RetMask().run(context)


def test_prompts_of_the_evaluation_are_left_out_and_counted(words: Path, tmp_path: Path) -> None:
    chats = tmp_path / "chats.jsonl"
    copied = "the old ferry crossed the grey river twice before noon and nobody looked up"
    chats.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("Near the river", copied, "Nobody knew", "")))
    options = OPTIONS | {"prompts_from": str(chats), "prompts": 0}
    context = NoTraining(tmp_path, words, options, evaluated=[("rag", f"Passage 1: {copied}.")])
    with pytest.raises((StopIteration, HarnessError)):
        RetMask().run(context)
    facts = context.artifacts[1].manifest["facts"]
    assert isinstance(facts, dict)
    assert (facts["read"], facts["empty"], facts["contaminated"], facts["kept"]) == (4, 1, 1, 2)
    assert "prompts: 4 read, 1 empty, 1 contaminated, 2 kept" in context.said
    unguarded = NoTraining(tmp_path, words, options | {"contamination_words": 0}, evaluated=context.evaluated)
    with pytest.raises((StopIteration, HarnessError)):
        RetMask().run(unguarded)
    assert unguarded.artifacts[1].manifest["facts"]["kept"] == 3  # type: ignore[index, call-overload]


def test_pairs_that_are_all_identical_stop_with_what_was_sampled_kept(words: Path, tmp_path: Path) -> None:
    options = OPTIONS | {"temperature": 0.0, "rejected_from": f"model {words}", "prompts": 4}
    context = DirectoryContext(tmp_path, words, options)
    with pytest.raises(HarnessError, match=r"none of 4 prompts gave a usable pair \(.*4 identical.*\); mask more heads, raise temperature"):
        SmallerModel().run(context)
    assert [artifact.name for artifact in context.artifacts] == ["prompts", "chosen", "rejected-smaller-model"]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (SmallerModel(), {}, "smaller-model: name the model that writes the rejected answers"),
        (RetMask(), {"rejected_from": "modle x"}, "write 'mask', or 'model NAME'"),
        (RetMask(), {"loss": "sigmiod"}, "unknown loss 'sigmiod'"),
        (RetMask(), {"sampler": "vlm"}, "unknown sampler 'vlm'"),
        (RetMask(), {"tensor_parallel": 2}, "need sampler = vllm"),
        (RetMask(), {"sampler": "vllm", "tensor_parallel": 0}, "give at least 1"),
        (Sft(), {"n": 0}, "give at least 1 answer"),
        (RandMask(), {"parallel": "none", "processes": 4}, "processes = 4 needs parallel"),
    ],
)
def test_options_are_checked_before_anything_is_computed(method: Any, options: dict[str, Json], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        method.check(OPTIONS | options)


def test_defaults_are_the_papers() -> None:
    options = Options()
    assert (options.threshold, options.temperature, options.top_p) == (0.1, 0.6, 1.0)
    assert (options.learning_rate, options.min_learning_rate_ratio, options.warmup_ratio) == (5e-7, 0.1, 0.1)
    assert (options.weight_decay, options.adam_beta2, options.beta, options.epochs, options.batch_size) == (0.1, 0.95, 0.1, 2, 512)


def test_seeds_for_different_purposes_differ() -> None:
    assert len({derive(seed, purpose) for seed in range(50) for purpose in ("chosen", "rejected", "dpo")}) == 150
    assert derive(1, "dpo") == derive(1, "dpo") < 2**31
