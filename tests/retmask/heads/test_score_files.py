"""Published score files: read, written, and refused in words."""

import json
from pathlib import Path

import numpy as np
import pytest

from harness.api import HarnessError
from retmask.heads.score_files import export_published, import_published, read_scores

PUBLISHED = {"0-0": [0.0, 0.0, 0.0], "0-1": [0.25, 0.5, 0.75], "1-0": [0.0, 0.0, 0.3], "1-1": [1.0, 1.0, 1.9]}


def test_published_files_are_read_and_written(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(PUBLISHED))
    scores = import_published(tmp_path / "in.json", "digest")
    assert scores.per_trial.shape == (3, 2, 2)
    np.testing.assert_allclose(scores.mean, [[0, 0.5], [0.1, 1.3]], rtol=1e-6)
    summary = scores.summary()
    assert (summary["heads"], summary["trials"], summary["at_least"]) == (4, 3, {"0.05": 3, "0.1": 3})
    export_published(scores, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written.keys() == PUBLISHED.keys()
    assert written["0-1"] == PUBLISHED["0-1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected an object"),
        ("{", "cannot read"),
        ('{"a-b": [1]}', '"a-b" is no head'),
        ('{"0-0": [1, "x"]}', 'value of "0-0"'),
        ('{"0-0": [1], "1-1": [1]}', '"0-1" is missing'),
        ('{"0-0": [1], "0-1": [1, 2]}', "from 1 to 2"),
        ('{"0-0": [], "0-1": []}', "counted no trial"),
        ('{"0-0": [NaN]}', 'value of "0-0"'),
        ('{"0-0": [1], "999999999-999999999": [1]}', '"0-1" is missing'),
    ],
)
def test_a_broken_published_file_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(HarnessError, match=message) as error:
        import_published(tmp_path / "scores.json")
    assert "scores.json" in str(error.value)


def test_either_kind_of_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(PUBLISHED))
    read_scores(tmp_path / "in.json").save(tmp_path / "own.safetensors")
    assert np.array_equal(read_scores(tmp_path / "own.safetensors").per_trial, read_scores(tmp_path / "in.json").per_trial)
    with pytest.raises(HarnessError, match=r"cannot read head scores from .*missing"):
        read_scores(tmp_path / "missing")
