"""On a GPU: the same scores as on the CPU, and the speed that large models need."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from retmask.heads.detect import run_trials
from retmask.heads.trials import build_trials, evenly
from tests.retmask.small import random_model

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_scores_are_those_of_the_cpu(tokenizer: PreTrainedTokenizerBase) -> None:
    trials = build_trials(tokenizer, [150, 230], 3, evenly(3), seed=5)
    model = random_model("Llama")
    on_cpu = run_trials(model, tokenizer, trials)
    torch.nn.Module.to(model, "cuda")
    for one, other in zip(on_cpu, run_trials(model, tokenizer, trials), strict=True):
        assert one.generated_ids == other.generated_ids
        assert np.array_equal(one.scores, other.scores)


@pytest.mark.slow
def test_ten_times_faster_than_the_published_loop_at_the_shape_of_llama_3_1_8b() -> None:
    command = [sys.executable, "benchmarks/detection.py", "--shape", "llama-3.1-8b", "--device", "cuda", "--dtype", "bfloat16"]
    done = subprocess.run(
        [*command, "--part", "loop", "--needles", "1", "--require", "10"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
