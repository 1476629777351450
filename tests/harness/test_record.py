"""What a command says before it takes a finished run's place."""

from pathlib import Path

import pytest

from harness.record import gives_way
from harness.store.manifest import ModelRecord, RunManifest


def manifest(model: str, *methods: str) -> RunManifest:
    return RunManifest("harness run", ModelRecord(model, model, model), methods, {})


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (manifest("mine", "retmask", "randmask"), ""),
        (manifest("mine", "randmask", "retmask", "sft"), ""),
        (manifest("mine", "retmask"), "(mine: retmask, randmask)"),
        (manifest("mine"), "(mine: retmask, randmask)"),
        (manifest("other", "retmask", "randmask"), "(mine: retmask, randmask)"),
    ],
)
def test_a_finished_run_gives_way_with_a_word(later: RunManifest, said: str, tmp_path: Path) -> None:
    assert gives_way(tmp_path, later) == ""
    manifest("mine", "retmask", "retmask", "randmask").write(tmp_path)
    line = gives_way(tmp_path, later)
    assert (said in line, bool(line)) == (True, bool(said))
    (tmp_path / "manifest.json").write_text("damaged")
    assert gives_way(tmp_path, later) == ""
