"""`from retmask import detect`: the scores of heads for a notebook."""

from pathlib import Path
from typing import Any

import pytest

from harness.api import HarnessError
from retmask import MeasuredHeads, detect


@pytest.fixture(scope="module")
def measured() -> MeasuredHeads:
    return detect("builtin", lengths=["128"], trials=3, max_new_tokens=12)


def test_heads_are_a_table_and_a_map(measured: MeasuredHeads, tmp_path: Path) -> None:
    frame = measured.frame
    assert list(frame.columns) == ["layer", "head", "score"]
    assert frame["score"].is_monotonic_decreasing
    assert len(frame) == measured.scores.mean.size
    best = measured.top(2)
    assert list(best[0]) == frame.iloc[0][["layer", "head"]].tolist()
    assert "<svg" in measured.map(masked=best)._repr_svg_()
    measured.save(tmp_path / "heads.safetensors")
    assert (tmp_path / "heads.safetensors").is_file()


def test_heads_that_are_not_there_are_one_line(measured: MeasuredHeads) -> None:
    with pytest.raises(HarnessError, match=r"top\(\): k is -1; give at least 1"):
        measured.top(-1)
    with pytest.raises(HarnessError, match=r"no head \(99, 99\)"):
        measured.map(masked=[(0, 0), (99, 99)])


def test_a_checkpoint_without_its_best_heads(measured: MeasuredHeads, tmp_path: Path) -> None:
    place = measured.ablated(tmp_path / "worse", top_k=2)
    assert (place / "head_mask.json").is_file()
    with pytest.raises(HarnessError, match="is not empty"):
        measured.ablated(place, top_k=2)


def test_detection_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    detect("builtin", lengths=[128], trials=3, max_new_tokens=12)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(HarnessError, match="'long' is not a length"):
        detect("builtin", lengths=["long"])
    with pytest.raises(HarnessError, match="unknown protocol 'wu'"):
        detect("builtin", protocol="wu")


@pytest.mark.parametrize(
    "settings",
    [
        {"trials": 0},
        {"depths": 0},
        {"max_new_tokens": 0},
        {"trials": 2.5},
        {"seed": "x"},
        {"lengths": []},
        {"lengths": [-1]},
        {"device": 5},
    ],
)
def test_settings_that_cannot_be_are_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(HarnessError, match=rf"detect\(\): {next(iter(settings))}"):
        detect("builtin", **settings)


def test_one_length_is_a_length(measured: MeasuredHeads, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="5 tokens leave no room"):
        detect("builtin", lengths="5")
    with pytest.raises(HarnessError, match="cannot write"):
        measured.save(tmp_path)
