"""Run directories that others made: listed, compared and shown, or refused in one line, and never at the cost of another run."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from harness.commands.root import main
from harness.files import write_sealed
from harness.store.steps import seal
from reports import samples
from tests.conftest import row, table
from tests.fuzz.hostile import changed, damaged, fuzz, texts, within

KEYS = ["0" * 64, "1" * 64]
MANIFEST: Mapping[str, Any] = {
    "command": "harness run",
    "model": {"name": "tiny", "path": "", "digest": "d"},
    "methods": ["m"],
    "config": {"tasks": ["recall"], "lengths": [512], "seeds": [1], "seed": 0, "resamples": 100, "confidence": 0.95},
    "suite": {"digest": "s", "examples": 6},
    "evaluations": KEYS,
    "steps": [{"name": "eval", "key": KEYS[0], "seconds": 1.5, "reused": False}],
    "versions": {"python": "3.11"},
    "started": 1.7e9,
    "seconds": 2.5,
    "references": None,
}
STEP: Mapping[str, Any] = {"step": "eval", "key": KEYS[0], "version": 1, "inputs": {}, "facts": {"examples": 6}, "seconds": 1.5}
COMMANDS = (
    ("runs", "list", "{folder}"),
    ("runs", "list", "{folder}", "--json"),
    ("runs", "show", "{run}"),
    ("runs", "verify", "{folder}"),
    ("runs", "gc", "{run}", "--dry-run"),
    ("compare", "{run}", "--resamples", "100"),
    ("compare", "{run}:baseline", "{run}:m@1", "--resamples", "100"),
    ("leaderboard", "{run}", "--resamples", "100"),
    ("report", "{run}", "--output", "{folder}/page.html"),
    ("reproduce", "{run}"),
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="fuzz-runs-"))
    run(path / "whole")
    yield path
    shutil.rmtree(path)


def run(root: Path) -> Path:
    """A finished run of one method."""
    shutil.rmtree(root, ignore_errors=True)
    for at, key in enumerate(KEYS):
        rows = [row(example_id=f"e{n}", cluster=f"q{n}", score=float((n + at) % 2)) for n in range(6)]
        step = root / "steps" / f"eval-{key[:12]}"
        step.mkdir(parents=True)
        samples.write(table(rows), step / "samples.parquet")
        seal(step, {**STEP, "key": key})
    write_sealed(root / "manifest.json", MANIFEST)
    return root


def survives_commands(folder: Path, root: Path, which: int) -> None:
    """A command ends well, or with one line; and the other run is listed all the same."""
    arguments = [each.format(folder=folder, run=root) for each in COMMANDS[which]]
    with within(60):
        result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 2), (result.exit_code, result.stderr)
    if result.exit_code == 2 and arguments[:2] != ["runs", "verify"]:
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("harness: ")]
        assert "nobody foresaw" not in line
    if arguments[:2] == ["runs", "list"]:
        assert result.exit_code == 0
        assert str(folder / "whole") in result.stdout


@fuzz
@given(changed(MANIFEST), st.integers(0, len(COMMANDS) - 1))
@example({**MANIFEST, "started": 1e308, "seconds": 1e308}, 0)
@example({**MANIFEST, "started": 10**400}, 0)
@example({**MANIFEST, "started": float("nan"), "steps": [{"key": [], "name": {}, "seconds": 1e308}]}, 2)
@example({**MANIFEST, "config": {**MANIFEST["config"], "confidence": 10**400}}, 8)
@example({**MANIFEST, "config": {**MANIFEST["config"], "resamples": 10**12}}, 8)
@example({**MANIFEST, "steps": [{}]}, 8)
@example({**MANIFEST, "suite": {"digest": []}}, 8)
def test_manifests_of_runs(folder: Path, manifest: Any, which: int) -> None:
    root = run(folder / "odd")
    try:
        write_sealed(root / "manifest.json", manifest)
    except (ValueError, RecursionError, TypeError, AttributeError):
        (root / "manifest.json").write_text("[]")
    survives_commands(folder, root, which)


@fuzz
@given(changed({**STEP, "files": {"samples.parquet": {"bytes": 1, "sha256": "0", "modified": 1}}}), st.integers(0, len(COMMANDS) - 1))
@example({**STEP, "files": {"/dev/zero": {"bytes": 0, "sha256": "0", "modified": 1}}}, 3)
@example({**STEP, "files": {"../../whole/manifest.json": {"bytes": 0, "sha256": "0"}}}, 0)
@example({**STEP, "seconds": 1e308, "files": {}}, 2)
def test_manifests_of_their_steps(folder: Path, manifest: Any, which: int) -> None:
    root = run(folder / "odd")
    try:
        write_sealed(root / "steps" / f"eval-{KEYS[0][:12]}" / "manifest.json", manifest)
    except (ValueError, RecursionError, TypeError, AttributeError):
        return
    survives_commands(folder, root, which)


@fuzz
@given(st.data(), st.integers(0, len(COMMANDS) - 1))
def test_files_of_runs(folder: Path, data: st.DataObject, which: int) -> None:
    """Damaged, gone, a folder or a pipe instead, and others that do not belong there."""
    import os

    root = run(folder / "odd")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for path in data.draw(st.lists(st.sampled_from(files), max_size=2, unique=True)):
        kind = data.draw(st.sampled_from(["damaged", "gone", "folder", "pipe", "device"]))
        content = path.read_bytes()
        path.unlink()
        if kind == "damaged":
            path.write_bytes(data.draw(damaged(content)))
        elif kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
    name = "".join(letter for letter in data.draw(texts)[:40] if letter not in "/\0") or "x"
    try:
        (root / "steps" / name).mkdir(exist_ok=True)
        (root / "steps" / f"{name[:20]}.work").write_text(json.dumps(name))
    except (OSError, UnicodeEncodeError):
        pass
    survives_commands(folder, root, which)
