"""``harness import``: results in the formats that HELMET and lm-eval write become runs that compare."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.import_ import import_command
from harness.commands.root import HarnessGroup
from reports import samples
from reports.compare import CompareError, compare

HARNESS = HarnessGroup(commands={"import": import_command})
TIME = "2026-01-02T03-04-05.678901"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(HARNESS, ["import", *map(str, arguments)])


def table(root: Path) -> pd.DataFrame:
    """The samples table of a run directory, found through its manifest."""
    manifest = json.loads((root / "manifest.json").read_text())
    (key,) = manifest["evaluations"]
    return samples.read(root / "steps" / f"eval-{key[:12]}" / "samples.parquet")


def helmet_result(directory: Path, task: str, records: Sequence[Mapping[str, object]], *, length: int = 8192, model: str = "org/m") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    args = {"datasets": task, "input_max_length": length, "model_name_or_path": model, "generation_max_length": 20}
    path = directory / f"{task}_eval_in{length}.json"
    path.write_text(json.dumps({"args": args, "data": list(records), "averaged_metrics": {}}, indent=4))
    (directory / f"{path.name}.score").write_text("{}")
    return path


def nq(*outputs: str) -> list[dict[str, object]]:
    """Two questions, each at several depths."""
    return [
        {
            "id": f"q{number // 2}",
            "question": "Q",
            "answers": ["Rome"],
            "output": output,
            "input_len": 8000,
            "output_len": 4 + 16 * (number == 0),
        }
        for number, output in enumerate(outputs)
    ]


def test_helmet(tmp_path: Path) -> None:
    helmet_result(tmp_path / "m", "kilt_nq", nq("Rome", "Oslo", "Answer: Rome", "no"))
    helmet_result(tmp_path / "m", "json_kv", [{"answer": "8f", "question": "k", "output": "8f"}], length=131072)
    result = run("helmet", tmp_path / "m", "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    found = table(tmp_path / "run")
    rows = found[found["task"] == "kilt_nq"]
    assert list(rows["score"]) == [1, 0, 1, 0]
    assert list(rows["example_id"]) == ["q0-0", "q0-1", "q1-0", "q1-1"]
    assert list(rows["cluster"]) == ["q0", "q0", "q1", "q1"]
    assert list(rows["finish_reason"]) == ["length", "stop", "stop", "stop"]
    assert set(rows["metric"]) == {"substring_exact_match"}
    assert set(found["length"]) == {8192, 131072}
    assert set(found["category"]) == {"rag", "recall"}
    assert set(found["run"]) == {"org/m"}


def test_two_imported_runs_compare_and_different_questions_do_not(tmp_path: Path) -> None:
    helmet_result(tmp_path / "a", "kilt_nq", nq("Rome", "Rome", "Rome", "no"), model="a")
    helmet_result(tmp_path / "b", "kilt_nq", nq("no", "no", "Rome", "no"), model="b")
    helmet_result(tmp_path / "c", "kilt_nq", nq("no", "no", "Rome"), model="c")
    for name in "abc":
        assert run("helmet", tmp_path / name, "--output", tmp_path / f"run-{name}").exit_code == 0
    a, b, c = (table(tmp_path / f"run-{name}") for name in "abc")
    overall = next(each for each in compare(b, a, resamples=50) if each.scope == "overall" and each.length is None)
    assert overall.delta == pytest.approx(0.5)
    with pytest.raises(CompareError, match="suites"):
        compare(c, a)
    assert run("helmet", tmp_path / "a", "--mode", "strict", "--output", tmp_path / "strict").exit_code == 0
    with pytest.raises(CompareError, match="backends"):
        compare(b, table(tmp_path / "strict"))


def test_stored_scores_that_differ_are_told(tmp_path: Path) -> None:
    records = [{**record, "substring_exact_match": True} for record in nq("Rome", "Oslo")]
    helmet_result(tmp_path / "m", "kilt_nq", records)
    result = run("helmet", tmp_path / "m", "--output", tmp_path / "run")
    assert "1 of 2 stored values of substring_exact_match differ" in result.output


def test_citations_are_imported_with_a_judge(tmp_path: Path) -> None:
    record = {
        "question": "q",
        "docs": [{"title": "t", "text": "red drum"}],
        "qa_pairs": [{"short_answers": ["red"]}],
        "output": "Red drum [1].",
    }
    helmet_result(tmp_path / "m", "alce_asqa_30", [record, {**record, "output": ""}])
    without = run("helmet", tmp_path / "m", "--output", tmp_path / "without")
    assert "--judge" in without.output
    assert set(table(tmp_path / "without")["metric"]) == {"str_em"}
    judged = run("helmet", tmp_path / "m", "--judge", "exact-words", "--output", tmp_path / "run")
    assert "1 outputs without a sentence count as 0" in judged.output
    found = table(tmp_path / "run")
    assert found.groupby("metric")["score"].mean().to_dict() == {"str_em": 0.5, "citation_rec": 0.5, "citation_prec": 0.5}


@pytest.mark.parametrize("problem", ["no directory", "no results", "two models", "twice", "bad record", "damaged"])
def test_bad_helmet_results(tmp_path: Path, problem: str) -> None:
    directory = tmp_path / "m"
    words = [str(directory)]
    if problem != "no directory":
        directory.mkdir()
    if problem == "no results":
        (directory / "x.json").write_text('{"data": []}')
    if problem == "two models":
        helmet_result(directory, "kilt_nq", nq("x"))
        helmet_result(directory, "json_kv", nq("x"), model="other")
        words.append("other")
    if problem == "twice":
        path = helmet_result(directory, "kilt_nq", nq("x"))
        (directory / "again.json").write_text(path.read_text())
        words.append("kilt_nq at 8192")
    if problem == "bad record":
        helmet_result(directory, "kilt_nq", [*nq("x"), {"output": "x"}])
        words += ["data[1]", "'answers' is missing"]
    if problem == "damaged":
        path = helmet_result(directory, "kilt_nq", nq("x"))
        path.write_text(path.read_text()[:60])
        words.append("not valid JSON")
    result = run("helmet", directory, "--output", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1
    for word in words:
        assert word in result.output
    assert not (tmp_path / "run").exists()


def lm_eval_samples(directory: Path, task: str, rows: Sequence[Mapping[str, object]], *, time: str = TIME, **results: object) -> None:
    folder = directory / "org__m"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"samples_{task}_{time}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"results_{time}.json").write_text(json.dumps({"model_name": "org/m", "results": {}, **results}))


def sample(number: int, **values: object) -> dict[str, object]:
    metrics = [name for name in values if name not in ("doc", "filter")]
    row = {"doc_id": number, "doc": {"question": "Q"}, "target": "Rome", "doc_hash": f"h{number}", "filter": "none", "metrics": metrics}
    return {**row, "resps": [["Rome"]], "filtered_resps": ["Rome"], **values}


def test_lm_eval(tmp_path: Path) -> None:
    rows = [sample(0, exact_match=1.0, perplexity=[2.5, 3]), sample(1, exact_match=0.0, perplexity=[2.5, 3])]
    lm_eval_samples(tmp_path / "r", "kilt_nq_8k", rows)
    lm_eval_samples(tmp_path / "r", "kilt_nq_8k", [sample(0, exact_match=0.0)], time="2025-01-02T03-04-05.678901")
    result = run("lm-eval", tmp_path / "r", "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    found = table(tmp_path / "run")
    assert list(found["score"]) == [1, 0]
    assert set(found["task"]) == {"kilt_nq"}
    assert set(found["category"]) == {"rag"}
    assert set(found["length"]) == {8192}
    assert set(found["output"]) == {"Rome"}
    assert set(found["run"]) == {"org/m"}
    assert "metric perplexity is left out" in result.output


def test_results_named_after_the_output_path_and_samples_alone(tmp_path: Path) -> None:
    """``--output_path results/mine.json`` writes ``mine_TIME.json``; a colleague may send the samples without it."""
    folder = tmp_path / "r"
    lm_eval_samples(
        folder, "niah_mk_4096", [{"doc_id": 0, "doc": {}, "metrics": ["acc"], "acc": 1.0, "target": "x", "filtered_resps": ["x"]}]
    )
    (results,) = folder.rglob("results_*.json")
    results.rename(results.with_name(f"mine_{TIME}.json"))
    assert run("lm-eval", folder, "--output", tmp_path / "named").exit_code == 0
    next(folder.rglob("mine_*.json")).unlink()
    alone = run("lm-eval", folder, "--output", tmp_path / "alone")
    assert alone.exit_code == 2
    assert "--model-name" in alone.output
    assert run("lm-eval", folder, "--output", tmp_path / "alone", "--model-name", "theirs").exit_code == 0
    assert json.loads((tmp_path / "alone/manifest.json").read_text())["model"]["name"] == "theirs"


def test_what_lm_eval_itself_writes(tmp_path: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    from harness.evaluation.lmeval_tasks import include_path

    settings = {"tokenizer": "builtin", "examples": 4, "seed": 7}
    manager = TaskManager(include_path=str(include_path()), include_defaults=False, metadata=settings)
    tracker = EvaluationTracker(output_path=str(tmp_path / "r"))
    tasks = ["helmet_niah_mk_1k", "helmet_cite_facts_1k"]
    results = simple_evaluate(
        model="dummy", tasks=tasks, task_manager=manager, evaluation_tracker=tracker, log_samples=True, bootstrap_iters=0
    )
    written = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=written)
    for task in tasks:
        tracker.save_results_samples(task_name=task, samples=written[task])
    result = run("lm-eval", tmp_path / "r", "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    found = table(tmp_path / "run")
    assert set(zip(found["task"], found["metric"], strict=True)) == {
        ("niah_mk", "ruler_recall"), ("cite_facts", "str_em"), ("cite_facts", "citation_rec"), ("cite_facts", "citation_prec")
    }  # fmt: skip
    assert len(found) == 4 + 3 * 4
    assert set(found["length"]) == {1024}
    assert found["cluster"].nunique() == 4
    assert set(found["score"]) == {0}


def test_lm_evals_ruler_has_lengths_for_metrics(tmp_path: Path) -> None:
    rows = [sample(0, **{"4096": 1.0, "8192": -1.0}), sample(1, **{"4096": -1.0, "8192": 0.5})]
    lm_eval_samples(tmp_path / "r", "niah_multikey_2", rows)
    assert run("lm-eval", tmp_path / "r", "--output", tmp_path / "run").exit_code == 0
    found = table(tmp_path / "run")
    assert list(zip(found["length"], found["metric"], found["score"], strict=True)) == [
        (4096, "ruler_recall", 1),
        (8192, "ruler_recall", 0.5),
    ]


def test_lm_eval_filters_are_metrics_of_one_example(tmp_path: Path) -> None:
    rows = [sample(0, filter=name, exact_match=score) for name, score in (("strict-match", 0.0), ("flexible-extract", 1.0))]
    lm_eval_samples(tmp_path / "r", "gsm8k", rows)
    assert run("lm-eval", tmp_path / "r", "--length", "4k", "--output", tmp_path / "run").exit_code == 0
    found = table(tmp_path / "run")
    assert dict(zip(found["metric"], found["score"], strict=True)) == {"exact_match,strict-match": 0, "exact_match,flexible-extract": 1}
    assert set(found["category"]) == {"gsm8k"}


def test_documents_that_share_an_id_are_not_merged(tmp_path: Path) -> None:
    rows = [sample(n, doc={"id": name}, exact_match=score) for n, name, score in ((0, "a", 1.0), (1, "a", 0.0), (2, 0, 1.0), (3, 0, 1.0))]
    lm_eval_samples(tmp_path / "r", "longqa_4096", rows)
    result = run("lm-eval", tmp_path / "r", "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "4 rows of 1 task became 4 examples" in result.output
    found = table(tmp_path / "run").sort_values("example_id")
    assert found["example_id"].tolist() == ["0", "1", "2", "3"]
    assert found["cluster"].tolist() == ["a", "a", "0", "0"]
    assert set(found["metric"]) == {"exact_match"}


def test_filters_without_a_name_lose_no_score(tmp_path: Path) -> None:
    rows = [{name: value for name, value in sample(0, exact_match=score).items() if name != "filter"} for score in (0.0, 1.0)]
    lm_eval_samples(tmp_path / "r", "gsm8k", rows)
    assert run("lm-eval", tmp_path / "r", "--length", "4k", "--output", tmp_path / "run").exit_code == 0
    found = table(tmp_path / "run")
    assert dict(zip(found["metric"], found["score"], strict=True)) == {"exact_match": 0, "exact_match,2": 1}


@pytest.mark.parametrize(
    ("second", "words"),
    [({"doc_hash": "other"}, "document 0 is another one than in"), ({}, "document 0 is there already, in")],
)
def test_a_document_that_is_there_twice_is_one_line(tmp_path: Path, second: dict[str, object], words: str) -> None:
    lm_eval_samples(tmp_path / "r", "kilt_nq_8k", [sample(0, exact_match=1.0), {**sample(0, exact_match=0.0), **second}])
    result = run("lm-eval", tmp_path / "r", "--output", tmp_path / "run")
    assert result.exit_code == 2
    assert words in result.output
    assert "line 2" in result.output


def test_a_year_is_no_length_and_a_given_length_counts_first(tmp_path: Path) -> None:
    for year in (2022, 2023):
        lm_eval_samples(tmp_path / "r", f"exam_{year}", [sample(0, acc=1.0)])
    lm_eval_samples(tmp_path / "r", "niah_mk_4096", [sample(0, acc=1.0)])
    refused = run("lm-eval", tmp_path / "r", "--output", tmp_path / "run")
    assert refused.exit_code == 2
    assert "give it with --length" in refused.output
    assert run("lm-eval", tmp_path / "r", "--length", "2k", "--output", tmp_path / "run").exit_code == 0
    found = table(tmp_path / "run")
    assert set(zip(found["task"], found["length"], strict=True)) == {("exam_2022", 2048), ("exam_2023", 2048), ("niah_mk_4096", 2048)}


def test_samples_of_an_old_lm_eval_say_what_they_lack(tmp_path: Path) -> None:
    row = {name: value for name, value in sample(0, acc=1.0).items() if name != "metrics"}
    lm_eval_samples(tmp_path / "r", "copa", [row])
    result = run("lm-eval", tmp_path / "r", "--length", "2k", "--output", tmp_path / "run")
    assert result.exit_code == 2
    assert "has no list of metrics in its rows" in result.output


def test_thoughts_are_counted(tmp_path: Path) -> None:
    helmet_result(tmp_path / "r", "kilt_nq", nq("<think>Rome?</think>Oslo"))
    result = run("helmet", tmp_path / "r", "--output", tmp_path / "run")
    assert "outputs hold thoughts, which are read as answers" in " ".join(result.output.split())


def test_this_harness_s_own_tasks_keep_what_they_know(tmp_path: Path) -> None:
    example = {"id": "rag_qa-512-0000-1", "cluster": "rag_qa-512-0000", "task": "rag_qa", "category": "rag", "length": 512, "depth": 0.25}
    document = {"id": example["id"], "example": json.dumps({**example, "targets": ["cello"]})}
    lm_eval_samples(tmp_path / "r", "rag_qa_512", [sample(0, doc=document, substring_exact_match=1.0)])
    assert run("lm-eval", tmp_path / "r", "--output", tmp_path / "run").exit_code == 0
    (row,) = table(tmp_path / "run").to_dict("records")
    assert {name: row[name] for name in ("cluster", "depth", "length", "targets")} == {
        "cluster": "rag_qa-512-0000", "depth": 0.25, "length": 512, "targets": '["cello"]'
    }  # fmt: skip


@pytest.mark.parametrize("problem", ["nothing", "no results", "two models", "no length", "less is better", "bad line"])
def test_bad_lm_eval_results(tmp_path: Path, problem: str) -> None:
    directory = tmp_path / "r"
    directory.mkdir()
    words = [str(directory)]
    if problem == "no results":
        lm_eval_samples(directory, "kilt_nq_8k", [sample(0, exact_match=1.0)])
        next(directory.rglob("results_*")).unlink()
    if problem == "two models":
        lm_eval_samples(directory, "kilt_nq_8k", [sample(0, exact_match=1.0)])
        (directory / "results_x.json").write_text('{"model_name": "other"}')
        words.append("other")
    if problem == "no length":
        lm_eval_samples(directory, "gsm8k", [sample(0, exact_match=1.0)])
        words = ["line 1", "gsm8k", "--length"]
    if problem == "less is better":
        lm_eval_samples(directory, "kilt_nq_8k", [sample(0, ter=0.5)], higher_is_better={"kilt_nq_8k": {"ter": False}})
        words.append("ter")
    if problem == "bad line":
        lm_eval_samples(directory, "kilt_nq_8k", [sample(0, exact_match=1.0)])
        path = next(directory.rglob("samples_*"))
        path.write_text(path.read_text() + '{"doc_id": ')
        words = ["line 2", "not valid JSON"]
    result = run("lm-eval", directory, "--output", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1
    for word in words:
        assert word in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("tool", ["helmet", "lm-eval"])
def test_help_teaches_by_example(tool: str) -> None:
    assert f"harness import {tool}" in run(tool, "--help").output


@pytest.mark.parametrize("name", ["..", "../..", "/", "../../evil", "/tmp/evil", ".", ".hidden", "a\x00b", "..\\\\evil"])
def test_a_models_name_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    helmet_result(tmp_path / "m", "kilt_nq", nq("Rome"), model=name)
    before = set(tmp_path.rglob("*"))
    result = run("helmet", tmp_path / "m")
    assert result.exit_code == 0, result.output
    made = set(tmp_path.rglob("*")) - before
    assert {path.relative_to(tmp_path / "inner/runs").parts[:1] for path in made if path != tmp_path / "inner/runs"} - {()}
    assert not (tmp_path / "inner/runs/manifest.json").exists()
    assert len(list((tmp_path / "inner/runs").iterdir())) == 1
