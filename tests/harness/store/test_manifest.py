"""A run's manifest: what is written is read, an earlier one lacks nothing that is needed, a later one is refused in words."""

from pathlib import Path

import pytest

from harness.files import DamagedError, write_sealed
from harness.store.manifest import ModelRecord, RunManifest, StepRecord

WHOLE = RunManifest(
    command="harness eval --model m",
    model=ModelRecord("m", "/models/m", "ab"),
    methods=("retmask",),
    config={"seeds": [1, 2], "tasks": []},
    versions={"python": "3.11"},
    environment={"cpus": 2},
    started=1.5,
    seconds=2.0,
    suite={"digest": "cd"},
    evaluations=("k0", "k1"),
    samples=("s0", None),
    extra=("e0",),
    references=("r0",),
    steps=(StepRecord("eval", "k0", 1.0, True),),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    WHOLE.write(tmp_path)
    assert RunManifest.read(tmp_path) == WHOLE
    assert WHOLE.suite_digest == "cd"
    assert WHOLE.config_seeds() == (1, 2)
    assert set(WHOLE.asked()) == {"command", "model", "methods", "config", "versions", "environment", "started"}


def test_what_an_earlier_version_did_not_write_is_empty(tmp_path: Path) -> None:
    write_sealed(tmp_path / "manifest.json", {"command": "harness eval", "model": {"name": "m"}, "evaluations": ["k"]})
    found = RunManifest.read(tmp_path)
    assert (found.model.name, found.evaluations, found.references, found.started) == ("m", ("k",), (), None)


def test_a_later_version_is_refused_in_words(tmp_path: Path) -> None:
    write_sealed(tmp_path / "manifest.json", {**WHOLE.as_json(), "manifest": 2})
    with pytest.raises(DamagedError, match="is of version 2 and this harness knows 1: use the harness that made it"):
        RunManifest.read(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("command", 3, "text"),
        ("started", "today", "a number"),
        ("config", [], "a table"),
        ("steps", {}, "a list"),
        ("evaluations", [1], "a list of texts"),
        ("model", "m", "a table"),
    ],
)
def test_a_field_of_another_kind_is_named(field: str, value: object, kind: str, tmp_path: Path) -> None:
    write_sealed(tmp_path / "manifest.json", {**WHOLE.as_json(), field: value})  # type: ignore[dict-item]
    with pytest.raises(DamagedError, match=f"manifest.json: {field} is not {kind}"):
        RunManifest.read(tmp_path)
