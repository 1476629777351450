"""What a plan says that detection takes, against the tokens that then go through the model."""

from dataclasses import replace

import pytest
import torch

from harness.builtin import MODEL_DIR
from harness.models.lookup import resolve
from retmask.heads.components import score_units
from retmask.heads.detect import detect
from retmask.heads.detectors import find_detector
from retmask.heads.masks import HEADS
from retmask.heads.trials import build_trials, evenly
from retmask.model import load_model, load_tokenizer
from retmask.options import parse_options
from retmask.workload import masking

LENGTH, TRIALS = 256, 4


@pytest.mark.parametrize(
    ("detector", "components"),
    [("query", HEADS), ("causal", HEADS), ("attribution", HEADS), ("greedy", HEADS), ("copy", "layers"), ("copy", "mlp")],
)
def test_what_a_detector_reads_is_about_what_the_plan_says(detector: str, components: str) -> None:
    options = parse_options({
        "detection_lengths": [LENGTH], "detection_trials": TRIALS, "detector": detector, "components": components, "top_k": 4,
    })  # fmt: skip
    planned = masking("retmask", replace(options, prompts=8), resolve("builtin"))[0]
    assert planned.new_tokens == 0

    model, tokenizer = load_model(MODEL_DIR, "float32", "cpu"), load_tokenizer(MODEL_DIR)
    read = 0

    def count(_module: object, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal read
        read += output.shape[0] * output.shape[1] * (3 if output.requires_grad else 1)

    model.model.layers[0].register_forward_hook(count)
    trials = build_trials(tokenizer, [LENGTH], TRIALS, evenly(TRIALS), seed=1)
    if components == HEADS:
        detect(model, tokenizer, trials, "", detector=find_detector(detector))
    else:
        score_units(model, tokenizer, trials, "", components)
    assert 0.6 < planned.prefill_tokens / read < 1.6


def test_copying_is_planned_as_written_answers() -> None:
    options = parse_options({"detection_lengths": [LENGTH], "detection_trials": TRIALS, "detection_max_new_tokens": 10, "top_k": 4})
    planned = masking("retmask", replace(options, prompts=8), resolve("builtin"))[0]
    assert (planned.prompts, planned.prefill_tokens, planned.new_tokens) == (TRIALS, TRIALS * LENGTH, TRIALS * 10)


def test_an_audit_and_weights_are_counted() -> None:
    few = {"detection_lengths": [LENGTH], "detection_trials": TRIALS, "prompts": 8, "max_new_tokens": 6}
    plain = masking("retmask", parse_options({**few, "top_k": 4}), resolve("builtin"))
    audited = masking("retmask", parse_options({**few, "heads": "auto"}), resolve("builtin"))
    weighed = masking("retmask", parse_options({**few, "top_k": 4, "token_weights": "disagreement"}), resolve("builtin"))
    steps = [work.step for work in plain]
    assert [work.step for work in audited] == ["heads", "audit", *steps[1:]]
    assert [work.step for work in weighed] == [*steps[:-2], "weights", *steps[-2:]]
    (audit,), (weights,) = ([work for work in each if work.step == step] for each, step in ((audited, "audit"), (weighed, "weights")))
    assert audit.prefill_tokens > 5 * plain[0].prefill_tokens
    assert weights.prompts == 4 * 8
