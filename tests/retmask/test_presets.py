"""Every shipped preset's method table is one that the methods take; the papers' values are the papers'."""

import pytest

from harness.config import load_preset, preset_names
from harness.options import parse_table
from retmask.methods.retmask import RetMask
from retmask.options import Options
from retmask.training import launch

PAPERS = {"paper-llama-3.1": (0.1, 2048), "paper-qwen3": (0.05, 4096), "paper-olmo-3": (0.05, 2048)}


@pytest.fixture(autouse=True)
def _with_deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The papers' trainings need it; whether it is installed here is not what is asked."""
    monkeypatch.setattr(launch, "find_spec", lambda _: True)


@pytest.mark.parametrize("name", preset_names())
def test_the_methods_take_every_preset(name: str) -> None:
    RetMask().check(load_preset(name).options)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_values(name: str) -> None:
    options = parse_table(Options, load_preset(name).options, name)
    assert (options.threshold, options.max_new_tokens) == PAPERS[name]
    assert (options.temperature, options.top_p, options.n, options.rejected_from) == (0.6, 1.0, 1, "mask")
    assert len(options.detection_lengths) * options.detection_trials == 600
    assert (options.learning_rate, options.learning_rate * options.min_learning_rate_ratio) == pytest.approx((5e-7, 5e-8))
    assert (options.warmup_ratio, options.weight_decay, options.adam_beta2, options.beta) == (0.1, 0.1, 0.95, 0.1)
    assert (options.epochs, options.batch_size, options.loss, options.lora_rank, options.dtype) == (2, 512, "sigmoid", 0, "bfloat16")
    assert options.batch_size % (options.processes * options.micro_batch_size) == 0
    assert options.max_length > options.max_new_tokens
