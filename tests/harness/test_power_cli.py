"""`harness power`: what more questions and seeds would find."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.cli import HarnessGroup
from harness.power_cli import power

MakeSamples = Callable[..., pd.DataFrame]
MakeRun = Callable[..., Path]


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(HarnessGroup(commands={"power": power}), ["power", *map(str, arguments)])


@pytest.fixture
def run(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> Path:
    suite = (("niah", "recall", ("em",)),)
    base = make_samples(suite=suite, questions=30, lengths=(512,), depths=1)
    return make_run(tmp_path / "run", base, retmask=make_samples(suite=suite, questions=30, lengths=(512,), depths=1, seed=1))


def test_more_questions_and_more_seeds_find_more(run: Path) -> None:
    result = harness(run, "--effect", "10", "--format", "json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["questions"] == [15, 30, 60, 120, 240]
    assert found["seeds"][0] == 1
    for column in range(len(found["seeds"])):
        chances = [row[column] for row in found["chances"]]
        assert chances[-1] >= chances[0]
    two, ten = found["chances"][-1][1], found["chances"][-1][-1]
    assert two < ten, "two seeds hardly show anything of a method"
    assert not found["known"]


def test_a_person_reads_what_to_buy_next(run: Path) -> None:
    said = " ".join(harness(run, "--effect", "10").output.split())
    assert "chance to find 10.0 points, retmask" in said
    assert "one seed does not show it" in said
    assert "buy those first" in said


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    result = harness(tmp_path / "none")
    assert result.exit_code == 2
    assert "no evaluation at" in result.output.strip().splitlines()[-1]
