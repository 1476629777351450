"""The example package of a task: installed by pip, evaluated, reported, and asked by lm-eval's own command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.models.lookup import resolve

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([*pip, str(EXAMPLES / "boxes"), str(EXAMPLES / "shrink")], check=True, capture_output=True)
    return folder


def command(site: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(ROOT))), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, env=environment, check=False)


def test_a_task_of_thirty_lines_goes_from_pip_to_the_report(site: Path, tmp_path: Path) -> None:
    lines = [line for line in (EXAMPLES / "boxes" / "harness_boxes.py").read_text().splitlines() if line]
    assert len(lines) <= 30
    settings = ("--preset", "builtin", "--tasks", "boxes", "--lengths", "256", "--examples", "6", "--output", tmp_path / "run")
    done = command(site, "harness.commands.root", "run", "--model", "builtin", "--method", "shrink", "--set", "factor=0.5", *settings)
    assert done.returncode == 0, done.stderr
    assert "boxes" in (tmp_path / "run" / "report.html").read_text()
    again = command(site, "harness.commands.root", "report", tmp_path / "run", "--output", tmp_path / "again.html")
    assert again.returncode == 0, again.stderr


def test_lm_evals_own_command_asks_it_too(site: Path, tmp_path: Path) -> None:
    path = command(site, "harness.commands.root", "tasks", "path").stdout.strip()
    model = resolve("builtin").path
    arguments = ("--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu", "--limit", "3")
    asked = ("--include_path", path, "--tasks", "helmet_boxes_1k", "--metadata", json.dumps({"tokenizer": str(model), "examples": 3}))
    done = command(site, "lm_eval", *arguments, *asked, "--output_path", tmp_path / "results")
    assert done.returncode == 0, done.stderr[-2000:]
    (results,) = (tmp_path / "results").rglob("results_*.json")
    assert "found,none" in json.loads(results.read_text())["results"]["helmet_boxes_1k"]
