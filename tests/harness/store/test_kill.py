"""kill -9 at random moments through a whole run: nothing finished is lost or done twice, and the samples are those of a calm run."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that tests.harness.killing is found however pytest was started

from tests.harness.killing import rounds, undisturbed

ARGUMENTS = [
    *("run", "--model", "builtin", "--preset", "builtin", "--method", "retmask", "--tasks", "niah_mk,icl_coarse", "--lengths", "256"),
    *("--examples", "3", "--batch-tokens", "256", "--set", "prompts=16", "--set", "detection_trials=4", "--set", "batch_size=4"),
    *("--set", "detection_lengths=[256]", "--set", "max_new_tokens=16"),
]


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_runs_go_on_and_end_in_the_same_samples(tmp_path: Path, kills: int) -> None:
    samples, seconds = undisturbed(ARGUMENTS, tmp_path)
    assert len(samples) == 2
    tally = rounds(ARGUMENTS, tmp_path, samples, kills, seed=kills, longest=seconds)
    print(f"{tally}, an undisturbed run takes {seconds:.0f} s")
    assert tally.kills == kills
    assert tally.finished >= 1
    assert tally.generations
