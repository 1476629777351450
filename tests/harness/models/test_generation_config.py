"""Greedy answers are the model's own: a generation_config.json beside it changes none, and is not passed over in silence."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from harness.builtin import MODEL_DIR
from harness.commands.root import main
from harness.models import generation_config as decoding

ASKED = {
    "max_new_tokens": 1,
    "max_time": 0.001,
    "min_length": 1000,
    "repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(40, 400)),
    "do_sample": True,
    "temperature": 2.0,
}


def model(path: Path, asked: dict[str, object]) -> Path:
    """The shipped model, whose file asks for more."""
    shutil.copytree(MODEL_DIR, path)
    file = path / decoding.FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **asked}))
    return path


def evaluated(path: Path, output: Path) -> tuple[str, pd.DataFrame, dict[str, object]]:
    """What was said, the outputs, and the facts of the step that generated them."""
    small = ("--lengths", "256", "--examples", "2", "--tasks", "niah_mk", "--preset", "builtin", "--device", "cpu")
    result = CliRunner().invoke(main, ["eval", "--model", str(path), *small, "--output", str(output)])
    assert result.exit_code == 0, result.output
    (samples,) = output.glob("steps/eval-*/samples.parquet")
    (manifest,) = output.glob("steps/generate-*/manifest.json")
    table = pd.read_parquet(samples)[["example_id", "output", "output_tokens", "finish_reason"]]
    return result.output, table, json.loads(manifest.read_text())["facts"]


def test_greedy_answers_are_the_models_whatever_its_file_asks_for(tmp_path: Path) -> None:
    said, plain, facts = evaluated(model(tmp_path / "plain", {}), tmp_path / "a")
    assert "set aside" not in said
    assert "set_aside" not in facts
    said, asked, facts = evaluated(model(tmp_path / "asked", ASKED), tmp_path / "b")
    pd.testing.assert_frame_equal(asked, plain)
    assert said.count("set aside") == 1
    assert "repetition_penalty = 3.0" in said
    assert facts["set_aside"] == ASKED


def test_what_asks_for_nothing_is_not_mentioned(tmp_path: Path) -> None:
    neutral = {"repetition_penalty": 1.0, "num_beams": 1, "min_length": 0, "suppress_tokens": None, "cache_implementation": "hybrid"}
    path = model(tmp_path / "model", neutral)
    assert decoding.set_aside(path) == {}
    assert decoding.notice(path) is None


@pytest.mark.parametrize(("asked", "changed"), [({}, False), ({"do_sample": True, "top_p": 0.9}, False), ({"suppress_tokens": [7]}, True)])
def test_a_steps_key_says_so_only_where_answers_may_have_been_others(tmp_path: Path, asked: dict[str, object], changed: bool) -> None:
    assert bool(decoding.inputs(model(tmp_path / "model", asked))) is changed
