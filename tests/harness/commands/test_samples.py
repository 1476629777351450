"""`harness samples`: the samples table with its prompts, in three formats."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.root import HarnessGroup
from harness.commands.samples import samples_command
from harness.store.steps import seal

MakeSamples = Callable[..., pd.DataFrame]
MakeRun = Callable[..., Path]


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(HarnessGroup(commands={"samples": samples_command}), ["samples", *map(str, arguments)])


@pytest.fixture
def run(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> Path:
    base = make_samples(questions=2).assign(output="=1+1\nnext, line")
    root = make_run(tmp_path / "run", base, retmask=base)
    suite = root / "steps" / "suite-1"
    suite.mkdir()
    keys = base.drop_duplicates(["task", "length", "example_id"])
    lines = []
    for row in keys.itertuples():
        prompt = f"{row.task} {row.length} {row.example_id}?"
        lines.append({"task": row.task, "length": row.length, "id": row.example_id, "prompt": prompt, "answer_prefix": "A:"})
    (suite / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    seal(suite, {"step": "suite", "facts": {"digest": "s"}})
    return root


def test_lines_of_json_with_the_prompt_of_each(run: Path) -> None:
    done = harness(f"{run}:retmask", "--with", "prompt", "--with", "answer_prefix", "--format", "jsonl")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 4 * 2 * 2 * 2
    assert all(row["prompt"] == f"{row['task']} {row['length']} {row['example_id']}?" for row in rows)
    assert {row["answer_prefix"] for row in rows} == {"A:"}
    assert rows[0]["output"] == "=1+1\nnext, line"


def test_csv_runs_no_formula_and_keeps_lines(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    assert harness(f"{run}:baseline", "--with", "prompt", "--output", file).exit_code == 0
    rows = list(csv.DictReader(io.StringIO(file.read_text(), newline="")))
    assert rows[0]["output"] == "'=1+1\nnext, line"
    assert rows[0]["prompt"].endswith("?")
    assert "prompt" not in harness(f"{run}:baseline").stdout.splitlines()[0].split(",")


def test_parquet_needs_a_file(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.parquet"
    assert harness(f"{run}:baseline", "--with", "prompt", "--output", file).exit_code == 0
    assert pd.read_parquet(file)["prompt"].notna().all()
    refused = harness(f"{run}:baseline", "--format", "parquet")
    assert refused.exit_code == 2
    assert "--output" in refused.output


def test_what_has_no_prompts_is_said(run: Path, tmp_path: Path) -> None:
    (file,) = sorted(run.glob("steps/eval-0*/samples.parquet"))
    assert harness(file).exit_code == 0
    alone = harness(file, "--with", "prompt")
    assert alone.exit_code == 2
    assert "name the run directory" in alone.output
    assert harness(run).exit_code == 2, "a run with several evaluations needs a name"
    odd = harness(f"{run}:baseline", "--output", tmp_path / "out.txt")
    assert odd.exit_code == 2
    assert ".jsonl" in odd.output
    examples = run / "steps" / "suite-1" / "examples.jsonl"
    examples.write_text("".join(examples.read_text().splitlines(keepends=True)[1:]))
    (run / "steps" / "suite-1" / "manifest.json").unlink()
    seal(run / "steps" / "suite-1", {"step": "suite", "facts": {"digest": "s"}})
    short = harness(f"{run}:baseline", "--with", "prompt")
    assert short.exit_code == 2
    assert "lacks example" in short.output
