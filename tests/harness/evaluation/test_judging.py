"""Prose that a model judges, from the command line: asked once, kept, read strictly, and never compared with another judge's scores."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.root import main
from harness.evaluation.judging import JOURNAL
from harness.store.journal import Journal
from reports import samples
from tests.harness.served import Server, serving
from tests.tasks.helmet.long_files import LONG_MAKERS, shorten

ASKED = ("--model", "builtin", "--data", "helmet", "--lengths", "8k", "--examples", "2", "--yes")
JUDGED = ("--tasks", "narrativeqa")


class JudgesServer(Server):
    """Answers every prompt of a judge as told, by what the prompt asks for."""

    said: dict[str, str]
    lost_on: str = ""
    """What a prompt says on which the judge says nothing of use."""

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = body["messages"][0]["content"]
        part = next(each for each in ("correctness", "sentence_count", "recall", "fluency") if f'"{each}"' in prompt)
        with self.lock:
            self.answered.append(body)
        lost = self.lost_on and self.lost_on in prompt
        message = {"role": "assistant", "content": "I liked it. Seven out of ten." if lost else self.said[part]}
        return {"choices": [{"finish_reason": "stop", "message": message}], "usage": {}}


GOOD = {
    "correctness": 'It agrees. {"fluency": 1, "correctness": 2}',
    "fluency": '{"fluency": 1}',
    "recall": 'Therefore {"recall": 1}',
    "sentence_count": '{"precision": 1, "sentence_count": 4}',
}


@pytest.fixture(scope="module")
def judge() -> Iterator[JudgesServer]:
    with serving(JudgesServer) as server:
        assert isinstance(server, JudgesServer)
        yield server


@pytest.fixture(autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, judge: JudgesServer) -> Path:
    root = tmp_path_factory.mktemp("published")
    shorten(monkeypatch)
    for make in LONG_MAKERS.values():
        make(root)
    monkeypatch.setenv("HARNESS_DATA", str(root))
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-judge")
    judge.said = dict(GOOD)
    judge.lost_on = ""
    judge.answered.clear()
    return root


def evaluate(output: Path, judge: JudgesServer, *more: str) -> Result:
    served = ("--judge-model", "shipped", "--judge-backend", "served", "--judge-url", judge.url)
    return CliRunner().invoke(main, ["eval", *ASKED, *JUDGED, *more, "--output", str(output), *served])


def newest(output: Path) -> Path:
    return max(output.glob("steps/eval-*/samples.parquet"), key=lambda path: path.stat().st_mtime)


def test_a_server_judges_and_its_grades_are_the_scores(tmp_path: Path, judge: JudgesServer) -> None:
    both = ("--tasks", "narrativeqa,infbench_sum_eng", "--examples", "1")
    result = evaluate(tmp_path, judge, *both)
    assert result.exit_code == 0, result.output
    table = samples.read(newest(tmp_path))
    assert table.set_index("metric")["score"].to_dict() == {
        "judged_score": pytest.approx(2 / 3),
        "judged_f1": pytest.approx(2 * 0.5 * 0.25 / 0.75),
    }
    assert set(table["parsed"]) == {"fluency 1, correctness 0.667", "fluency 1, recall 0.5, precision 0.25"}
    assert table["scorer"].str.match(r"parity-\d+ judged by shipped [0-9a-f]{12}$").all()
    assert {body["temperature"] for body in judge.answered} == {0.1}
    assert {body["max_tokens"] for body in judge.answered} == {2_048, 4_096}
    assert all("seed" in body for body in judge.answered)
    assert judge.keys[-1] == "Bearer key-of-the-judge"
    asked = len(judge.answered)
    (folder,) = tmp_path.glob("steps/judge-*")
    assert len(Journal(folder / JOURNAL, read_only=True).finished) == asked
    again = evaluate(tmp_path, judge, *both)
    assert again.exit_code == 0, again.output
    assert len(judge.answered) == asked, "everything is reused"


def test_tasks_that_nobody_judges_stand_beside_those_that_are(tmp_path: Path, judge: JudgesServer) -> None:
    result = evaluate(tmp_path, judge, "--tasks", "narrativeqa,infbench_choice_eng", "--examples", "1")
    assert result.exit_code == 0, result.output
    table = samples.read(newest(tmp_path))
    judged = table["scorer"].str.contains("judged by")
    assert set(table.loc[judged, "metric"]) == {"judged_score"}
    assert "exact_match" in set(table.loc[~judged, "metric"])


def test_the_same_answers_are_judged_once_in_a_run(tmp_path: Path, judge: JudgesServer) -> None:
    assert evaluate(tmp_path, judge, "--examples", "1").exit_code == 0
    assert len(judge.answered) == 1
    both = evaluate(tmp_path, judge)
    assert both.exit_code == 0, both.output
    assert len({body["messages"][0]["content"] for body in judge.answered}) == len(judge.answered) == 2


def test_another_judge_behind_the_same_address_judges_anew(tmp_path: Path, judge: JudgesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(judge.answered)
    for root in ("org/a", "org/a", "org/b"):
        monkeypatch.setattr(judge, "about", {"id": "shipped", "owned_by": "vllm", "root": root})
        assert evaluate(tmp_path, judge, "--examples", "1").exit_code == 0
    assert len(judge.answered) - before == 2


def test_a_broken_off_judging_goes_on(tmp_path: Path, judge: JudgesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.engines.servers.client._FIRST_PAUSE", 0.01)
    judge.good_until = judge.admitted + 1
    try:
        broken = evaluate(tmp_path, judge, "--judge-generations", "3")
    finally:
        judge.good_until = None
    assert broken.exit_code == 2, broken.output
    kept = len(judge.answered)
    assert kept >= 1
    (folder,) = tmp_path.glob("steps/judge-*.work")
    assert len(Journal(folder / JOURNAL, read_only=True).finished) == kept, "each is on disk when it comes"
    assert evaluate(tmp_path, judge, "--judge-generations", "3").exit_code == 0
    assert len(judge.answered) == 6, "two answers, three verdicts each, none asked for twice"


def test_several_verdicts_are_averaged(tmp_path: Path, judge: JudgesServer) -> None:
    assert evaluate(tmp_path, judge, "--examples", "1", "--judge-generations", "3", "--judge-tokens", "64").exit_code == 0
    assert len({body["seed"] for body in judge.answered}) == len(judge.answered)
    assert {body["max_tokens"] for body in judge.answered} == {64}
    (folder,) = tmp_path.glob("steps/judge-*")
    assert {name.rpartition("#")[2] for name in Journal(folder / JOURNAL, read_only=True).finished} == {"1", "2", "3"}


def test_a_verdict_that_cannot_be_read_is_a_row_without_a_score(tmp_path: Path, judge: JudgesServer) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert evaluate(whole, judge).exit_code == 0
    judge.lost_on = next(body["messages"][0]["content"] for body in judge.answered).partition("Question: ")[2].partition("\n")[0]
    result = evaluate(torn, judge)
    assert result.exit_code == 0, result.output
    assert "1 of 2 scores are missing" in result.output
    written = pd.read_parquet(newest(torn))
    assert sorted(written["score"].isna()) == [False, True]
    assert set(written["unreadable"]) == {"", "the verdict on answer cannot be read: it holds no JSON object"}
    table = samples.read(newest(torn))
    assert len(table) == 1
    assert samples.unreadable(table) == [
        ("narrativeqa", 8_192, "judged_score", str(written.loc[written["score"].isna(), "example_id"].item()))
    ]
    compared = CliRunner().invoke(main, ["compare", str(whole), str(torn)])
    assert compared.exit_code == 0, compared.output
    assert "1 example is left out on all sides" in " ".join(compared.output.split())


def test_two_judges_are_never_compared(tmp_path: Path, judge: JudgesServer) -> None:
    for name, tokens in (("a", "64"), ("b", "128")):
        assert evaluate(tmp_path / name, judge, "--judge-tokens", tokens).exit_code == 0
    compared = CliRunner().invoke(main, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--allow-mismatch", "scorer"])
    assert compared.exit_code == 2
    assert "same judge" in compared.output


def test_a_model_on_this_machine_judges(tmp_path: Path, files: Path) -> None:
    arguments = ["eval", *ASKED, *JUDGED, "--examples", "1", "--output", str(tmp_path), "--judge-model", "builtin"]
    result = CliRunner().invoke(main, [*arguments, "--judge-tokens", "16"])
    assert result.exit_code == 2, "the shipped model cannot judge"
    assert "none of the verdicts of builtin can be read" in result.output
    (folder,) = tmp_path.glob("steps/judge-*")
    assert len(Journal(folder / JOURNAL, read_only=True).finished) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--judge-url", "http://localhost:1/v1"), "--judge-model"),
        (("--judge-model", "x", "--judge-backend", "served"), "--judge-url go together"),
        (("--judge-model", "builtin", "--tasks", "infbench_qa_eng"), "none of the tasks is judged by a model"),
        (("--judge-model", "builtin", "--stop-early", "--against", "x"), "--stop-early needs scores"),
        (("--judge-model", "nowhere/at-all/ever"), "no model at"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(main, ["eval", *ASKED, *JUDGED, *arguments, "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert words in result.output
    assert not (tmp_path / "steps").exists()


def test_key_points_are_asked_for_before_anything_is_generated(tmp_path: Path, files: Path) -> None:
    (files / "infbench/longbook_sum_eng_keypoints.jsonl").unlink()
    result = CliRunner().invoke(main, ["eval", *ASKED, "--tasks", "summ", "--judge-model", "builtin", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "key points" in result.output
    assert not (tmp_path / "steps").exists()


def test_a_preset_does_not_choose_where_prompts_go(tmp_path: Path) -> None:
    preset = tmp_path / "theirs.toml"
    settings = {"judge_model": "x", "judge_backend": "served", "judge_url": "http://evil.example/v1"}
    preset.write_text("[run]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    result = CliRunner().invoke(main, ["eval", *ASKED, *JUDGED, "--preset", str(preset), "--output", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "--allow-url evil.example" in result.output
