"""``--extra-tasks``: asked as lm-eval asks them, kept apart from the suite, resumable, and refused in one line. On the shipped model."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that tests.harness.* are found however pytest was started

from harness.api import HarnessError, Method, Outcome, RunContext
from harness.commands.root import main
from harness.engines.hf import HFBackend
from tests.harness.extratasks import write_tasks
from tests.harness.served import serving

SUITE = ("--model", "builtin", "--preset", "builtin", "--tasks", "niah_mk", "--lengths", "128", "--examples", "3")
ALL = "tiny,tiny_answer,tiny_text"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def evaluated(root: Path, folder: Path, *more: str | Path, tasks: str = ALL) -> Result:
    result = invoke("eval", *SUITE, "--output", root, "--extra-tasks", tasks, "--include-path", folder, *more)
    assert result.exit_code == 0, result.output
    return result


def figures(root: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    (path,) = root.glob("steps/extra-*/figures.json")
    return {(row["name"], row["metric"], row["filter"]): row for row in json.loads(path.read_text())["figures"]}


def refusal(result: Result) -> str:
    """The one line that was said."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("harness: ")]
    assert len(lines) == 1, result.output
    assert "Traceback" not in result.output
    return lines[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An evaluation with extra tasks, and what it printed."""
    root = tmp_path_factory.mktemp("run")
    return root, evaluated(root, folder).output


def test_the_figures_are_those_of_lm_eval_itself(finished: tuple[Path, str], folder: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from harness.models.lookup import resolve

    path = str(resolve("builtin").path)
    expected = simple_evaluate(
        model="hf",
        model_args={"pretrained": path, "device": "cpu", "dtype": "float32"},
        tasks=ALL.split(","),
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        batch_size=4,
    )["results"]
    found = figures(finished[0])
    assert len(found) == 8
    for (name, metric, filtered), row in found.items():
        assert row["value"] == pytest.approx(expected[name][f"{metric},{filtered}"], rel=1e-4)
        stderr = expected[name][f"{metric}_stderr,{filtered}"]
        assert row["stderr"] == (None if stderr == "N/A" else pytest.approx(stderr, rel=1e-4))
    assert found["tiny_text", "word_perplexity", "none"]["higher_is_better"] is False
    assert [row["name"] for row in found.values() if row["top"]] == ["tiny", "tiny_answer", *["tiny_text"] * 2]


def test_they_are_printed_and_stay_out_of_the_suites_scores(finished: tuple[Path, str]) -> None:
    root, said = finished
    assert "elsewhere: extra tasks" in said
    assert "word_perplexity" in said
    (path,) = root.glob("steps/eval-*/samples.parquet")
    assert set(pd.read_parquet(path)["task"]) == {"niah_mk"}


def test_every_document_is_kept_with_its_metrics(finished: tuple[Path, str]) -> None:
    (path,) = finished[0].glob("steps/extra-*/documents.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {task: sum(row["task"] == task for row in rows) for task in ("tiny_choice", "tiny_pick", "tiny_answer", "tiny_text")} == {
        "tiny_choice": 24,
        "tiny_pick": 8,
        "tiny_answer": 12,
        "tiny_text": 6,
    }
    choice = next(row for row in rows if row["task"] == "tiny_choice")
    assert set(choice["metrics"]) == {"acc", "acc_norm"}
    assert len(choice["answers"]) == 3


def test_what_can_change_the_figures_makes_a_new_step_and_nothing_else(finished: tuple[Path, str], folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished[0], root)
    copied = tmp_path / "moved"
    shutil.copytree(folder, copied)
    for path in copied.glob("*.yaml"):
        path.write_text(path.read_text().replace(str(folder), str(copied)))

    def steps() -> set[str]:
        return {path.name for path in root.glob("steps/extra-*") if path.is_dir()}

    before = steps()
    evaluated(root, copied, "--batch-tokens", "500")
    assert steps() == before, "another place of the same files, and another size of batches, change nothing"
    evaluated(root, copied, "--extra-limit", "2")
    assert len(steps()) == 2
    with (copied / "functions.py").open("a") as file:
        file.write("# changed\n")
    evaluated(root, copied, "--extra-limit", "2")
    assert len(steps()) == 3
    with (copied / "tiny_pick.jsonl").open("a") as file:
        file.write(json.dumps({"id": 8, "question": "More", "options": ["a", "b", "c"], "gold": 0}) + "\n")
    evaluated(root, copied, "--extra-limit", "2")
    assert len(steps()) == 4


def test_the_limit_takes_the_first_documents(folder: Path, tmp_path: Path) -> None:
    evaluated(tmp_path, folder, "--extra-limit", "2", tasks=str(folder / "tiny_pick.yaml"))
    (path,) = tmp_path.glob("steps/extra-*/documents.jsonl")
    assert [json.loads(line)["document"] for line in path.read_text().splitlines()] == [0, 1]


def test_what_was_answered_before_a_crash_is_not_asked_again(
    finished: tuple[Path, str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.engines.lm._WAVE", 10)
    asked: list[int] = []
    original = HFBackend.log_likelihoods

    def counted(self: HFBackend, requests: list[Any], longest: int, batch_tokens: int) -> list[tuple[float, bool]]:
        if sum(asked) > 50 and not resumed:
            raise HarnessError("the power is gone")
        asked.append(len(requests))
        return original(self, requests, longest, batch_tokens)

    monkeypatch.setattr(HFBackend, "log_likelihoods", counted)
    resumed = False
    arguments = ("eval", *SUITE, "--output", tmp_path, "--extra-tasks", ALL, "--include-path", folder)
    assert "the power is gone" in refusal(invoke(*arguments))
    before, resumed = sum(asked), True
    assert invoke(*arguments).exit_code == 0
    assert 50 < before < sum(asked) == 3 * (24 + 8), "every choice once"
    for key, row in figures(finished[0]).items():
        assert figures(tmp_path)[key]["value"] == pytest.approx(row["value"], rel=1e-4)


class Blurred(Method):
    """A method without training: noise on every weight."""

    name = "blurred"

    def run(self, context: RunContext) -> Outcome:
        def build(work: Path) -> dict[str, Any]:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            model = AutoModelForCausalLM.from_pretrained(context.model.path)
            noise = torch.Generator().manual_seed(context.training_seed)
            with torch.no_grad():
                for weight in model.parameters():
                    weight += 0.02 * torch.randn(weight.shape, generator=noise)
            model.save_pretrained(work / "model")
            AutoTokenizer.from_pretrained(context.model.path).save_pretrained(work / "model")
            return {}

        step = context.step("blur", {"model": context.model.digest, "seed": context.training_seed}, build)
        return Outcome(checkpoint=step.path / "model")


def test_a_run_says_what_the_training_cost_elsewhere(
    finished: tuple[Path, str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.methods.check_name", lambda name: None)
    monkeypatch.setattr("harness.methods.find_method", lambda name: Blurred())
    shutil.copytree(finished[0], tmp_path / "run")
    root = tmp_path / "run"
    arguments = ("run", *SUITE, "--output", root, "--method", "blurred")
    extra = ("--extra-tasks", ALL, "--include-path", folder)
    result = invoke(*arguments, *extra)
    assert result.exit_code == 0, result.output
    records = {(row["name"], row["metric"]): row for row in json.loads((root / "elsewhere.json").read_text())}
    assert records["tiny_text", "word_perplexity"]["delta"] != 0, "noise changes how likely a text is"
    for row in records.values():
        assert row["delta"] == pytest.approx(row["candidate"] - row["baseline"])
        assert row["low"] <= row["delta"] <= row["high"]
    assert records["tiny", "acc"]["documents"] == 32
    assert "elsewhere: extra tasks" in result.output
    assert "Elsewhere, blurred against the baseline" in result.output
    page = (root / "report.html").read_text()
    assert "<h2>Elsewhere</h2>" in page
    assert "Every task of the groups" in page
    assert "tiny_text" in (root / "comparison.md").read_text().replace("\\", "")
    assert "tiny" not in (root / "comparison.json").read_text(), "never among the benchmark's scores"
    manifest = json.loads((root / "manifest.json").read_text())
    assert len(manifest["extra"]) == 2
    with_extra = (root / "comparison.json").read_bytes()
    again = invoke("report", root)
    assert again.exit_code == 0, again.output
    assert "<h2>Elsewhere</h2>" in (root / "report.html").read_text()

    assert invoke(*arguments).exit_code == 0
    assert (root / "comparison.json").read_bytes() == with_extra
    assert not (root / "elsewhere.json").exists()
    assert "<h2>Elsewhere</h2>" not in (root / "report.html").read_text()


def test_a_plan_has_their_steps(finished: tuple[Path, str], folder: Path, tmp_path: Path) -> None:
    def states(root: Path) -> dict[str, str]:
        extra = ("--extra-tasks", ALL, "--include-path", folder)
        result = invoke("plan", *SUITE, "--output", root, "--json", "--no-probe", "--method", "retmask", *extra)
        assert result.exit_code == 0, result.output
        found = json.loads(result.output)
        assert any("extra tasks" in warning for warning in found["warnings"])
        return {step["name"]: step["state"] for step in found["steps"] if step["name"].startswith("extra")}

    assert states(tmp_path / "none") == {"extra: baseline": "to do", "extra: retmask": "to do"}
    assert states(finished[0]) == {"extra: baseline": "finished", "extra: retmask": "to do"}


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_server_answers_tasks_that_are_generated(folder: Path, tmp_path: Path, api: str) -> None:
    with serving() as server:
        evaluated(tmp_path, folder, "--backend", "served", "--url", server.url, "--served-api", api, tasks="tiny_answer")
        asked = [body for body in server.answered if body.get("stop") == ["a", "zz"]]
    assert len(asked) == 24, "12 documents, twice each"
    assert figures(tmp_path)["tiny_answer", "exact_match", "none"]["value"] >= 0


@pytest.mark.parametrize(
    ("tasks", "more", "words"),
    [
        ("tiny_choise", (), "did you mean tiny_choice"),
        ("nowhere.yaml", (), "no file nowhere.yaml"),
        ("tiny,tiny_pick", (), "tiny_pick twice"),
        ("tiny_choice", ("--backend", "served", "--url", "http://127.0.0.1:9/v1"), "log-likelihoods, which a server does not give"),
        ("tiny_choice", ("--think-tokens", "8"), "leave out --think-tokens"),
        ("humaneval", (), "runs the code that a model writes"),
        ("scripted.yaml", (), "runs code of its own"),
        ("broken.yaml", (), "is not the YAML of a task"),
        ("gone.yaml", (), "lm-eval cannot load it"),
        ("long.yaml", (), "document 0 of long has"),
        ("empty.yaml", (), "lm-eval cannot load it"),
    ],
)
def test_what_cannot_be_asked_is_one_line(folder: Path, tmp_path: Path, tasks: str, more: tuple[str, ...], words: str) -> None:
    script = tmp_path / "scripted"
    script.mkdir()
    (script / "scripted.py").write_text("raise SystemExit('the code of a data set ran')\n")
    base = (folder / "tiny_answer.yaml").read_text().replace("!function functions.first_word", "gold").replace("tiny_answer", "{name}")
    for name, data in {"gone": tmp_path / "gone.jsonl", "long": tmp_path / "long.jsonl", "empty": tmp_path / "empty.jsonl"}.items():
        (tmp_path / f"{name}.yaml").write_text(base.replace("{name}", name).replace(str(folder), str(tmp_path)))
        if name != "gone":
            data.write_text(json.dumps({"question": "so " * 140_000, "gold": "so"}) + "\n" if name == "long" else "")
    (tmp_path / "scripted.yaml").write_text(f"task: scripted\ndataset_path: {script}\ntest_split: test\ndoc_to_text: a\ndoc_to_target: b\n")
    (tmp_path / "broken.yaml").write_text("task: [unclosed\n")
    name = str(tmp_path / tasks) if tasks.endswith(".yaml") and tasks != "nowhere.yaml" else tasks
    result = invoke("eval", *SUITE, "--output", tmp_path / "run", "--extra-tasks", name, "--include-path", folder, *more)
    assert words in refusal(result)
    if tasks != "long.yaml":
        assert not list(tmp_path.glob("run/steps/generate-*")), "said before anything was generated"


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    result = invoke("eval", *SUITE, "--output", tmp_path, "--extra-tasks", "tiny", "--include-path", tmp_path / "none")
    assert "--include-path" in refusal(result)


def test_a_preset_can_name_them(folder: Path, tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    table = {"lengths": [256], "examples": 2, "tasks": ["niah_mk"], "extra_tasks": ["tiny_pick"], "extra_limit": 2}
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**table, "include_path": str(folder)}.items()]
    preset.write_text("[run]\n" + "\n".join(lines) + "\n")
    asked = ("eval", "--model", "builtin", "--preset", preset, "--output", tmp_path / "run")
    assert invoke(*asked).exit_code == 2, "its task files name Python, which a preset may not have run by itself"
    result = invoke(*asked, "--allow", "code")
    assert result.exit_code == 0, result.output
    assert figures(tmp_path / "run")["tiny_pick", "acc", "none"]["top"]


def test_an_answer_ends_at_its_stop_string_whatever_its_batch(folder: Path, tmp_path: Path) -> None:
    journals = []
    for batch in ("1", "100000"):
        evaluated(tmp_path / batch, folder, "--batch-tokens", batch, tasks="tiny_answer")
        (path,) = (tmp_path / batch).glob("steps/extra-*/answers.journal")
        records = [json.loads(line.partition("\t")[2]) for line in path.read_text().splitlines()]
        journals.append({record["id"]: record for record in records})
        assert len(records) == 24
        assert all("a" not in record["output"] for record in records)
        assert any(record["finish_reason"] == "stop" for record in records)
    assert journals[0] == journals[1]
