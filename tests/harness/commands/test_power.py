"""`harness power`: what more questions, generations and seeds would find, and what the other commands say of generations."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from harness.commands.check import check
from harness.commands.compare import compare
from harness.commands.leaderboard import leaderboard
from harness.commands.power import power
from harness.commands.report import report
from harness.commands.root import HarnessGroup
from harness.store.steps import seal
from reports.samples import write

MakeSamples = Callable[..., pd.DataFrame]
MakeRun = Callable[..., Path]


def harness(*arguments: str | Path) -> Result:
    commands = {"power": power, "compare": compare, "check": check, "leaderboard": leaderboard, "report": report}
    environment = {"GITHUB_STEP_SUMMARY": "", "COLUMNS": "160"}
    return CliRunner().invoke(HarnessGroup(commands=commands), list(map(str, arguments)), env=environment)


@pytest.fixture
def run(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> Path:
    suite = (("niah", "recall", ("em",)),)
    base = make_samples(suite=suite, questions=30, lengths=(512,), depths=1)
    return make_run(tmp_path / "run", base, retmask=make_samples(suite=suite, questions=30, lengths=(512,), depths=1, seed=1))


def test_more_questions_and_more_seeds_find_more(run: Path) -> None:
    result = harness("power", run, "--effect", "10", "--format", "json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["questions"] == [15, 30, 60, 120, 240]
    assert found["seeds"][0] == 1
    for column in range(len(found["seeds"])):
        chances = [row[column] for row in found["chances"]]
        assert chances[-1] >= chances[0]
    two, ten = found["chances"][-1][1], found["chances"][-1][-1]
    assert two < ten, "two seeds hardly show anything of a method"
    assert not found["known"]


def test_a_person_reads_what_to_buy_next(run: Path) -> None:
    said = " ".join(harness("power", run, "--effect", "10").output.split())
    assert "chance to find 10.0 points, retmask" in said
    assert "one seed does not show it" in said
    assert "buy those first" in said


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    result = harness("power", tmp_path / "none")
    assert result.exit_code == 2
    assert "no evaluation at" in result.output.strip().splitlines()[-1]


@pytest.fixture
def sampled(tmp_path: Path, make_samples: MakeSamples) -> Path:
    """As `harness run --method retmask --seeds 7,8 --generations 3 --temperature 0.7` leaves it: answers are right or wrong."""
    suite, root = (("niah", "recall", ("em",)),), tmp_path / "sampled"
    easy = make_samples(suite=suite, questions=40, lengths=(512,), depths=1)
    rng = np.random.default_rng(0)
    frames = []
    for number, shift in enumerate((0.0, 0.1, 0.2)):
        parts = [
            easy.assign(score=(rng.random(len(easy)) < easy["score"] + shift).astype(float), generation=g, temperature=0.7, output=f"{g}")
            for g in (1, 2, 3)
        ]
        frames.append(pd.concat(parts, ignore_index=True).assign(model_digest=f"m{number}"))
    keys = [f"{number}" * 64 for number in range(3)]
    for key, frame in zip(keys, frames, strict=True):
        write(frame, root / "steps" / f"eval-{key[:12]}" / "samples.parquet")
        seal(root / "steps" / f"eval-{key[:12]}", {"step": "eval", "key": key})
    manifest = {"model": {"name": "tiny"}, "methods": ["retmask"] * 2, "evaluations": keys, "config": {"seeds": [7, 8]}}
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def test_the_curve_is_over_questions_generations_and_seeds(sampled: Path) -> None:
    result = harness("power", sampled, "--effect", "20", "--precision", "5", "--format", "json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["generations"] == [1, 3, 6, 12]
    assert found["by_generations"][1] == found["chances"]
    shape = (4, len(found["questions"]), len(found["seeds"]))
    assert np.shape(found["by_generations"]) == shape
    assert np.mean(found["by_generations"][3]) > np.mean(found["by_generations"][0]), "more answers find more"
    assert found["known"]
    doubt = found["doubt"]
    assert doubt["parts"]["seeds"] == 2
    assert doubt["parts"]["of_shared_answers"] > 0
    assert set(doubt["variances"]) == {"questions", "generations", "training seeds"}
    assert [each["what"] for each in doubt["offers"]] == ["now", "twice the questions", "twice the generations", "twice the training seeds"]
    assert [each["answers"] for each in doubt["offers"]] == [360, 720, 720, 600]
    (best,) = doubt["cheapest"]
    assert best["half_width"] <= 0.05
    assert best["seeds"] >= 2


def test_a_person_reads_where_the_doubt_comes_from(sampled: Path) -> None:
    said = " ".join(harness("power", sampled, "--precision", "5").output.split())
    assert "from the sampled answers" in said
    assert "What blurs it (shares of the variance): questions" in said
    assert "what twice as much would bring, retmask" in said
    assert "For ± 5.0 points (95% interval), about this method:" in said
    assert "The fewest answers that bring it for the method:" in said


def test_one_evaluation_is_looked_at_by_itself(sampled: Path, run: Path) -> None:
    result = harness("power", f"{sampled}:retmask", "--precision", "5")
    assert result.exit_code == 0, result.output
    assert "retmask, its overall score." in result.output
    (found,) = json.loads(harness("power", f"{run}:baseline", "--format", "json").stdout)
    assert found["parts"]["greedy"]
    assert found["offers"][0]["answers"] == 30


def test_one_sampled_answer_does_not_show_what_sampling_adds(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> None:
    suite = (("niah", "recall", ("em",)),)
    tables = [
        make_samples(suite=suite, questions=30, lengths=(512,), depths=1, seed=seed).assign(generation=1, temperature=1.0)
        for seed in (0, 1)
    ]
    said = " ".join(harness("power", make_run(tmp_path / "once", tables[0], retmask=tables[1])).output.split())
    assert "one answer to a prompt does not show it; evaluate with --generations 2 or more" in said


def test_pass_at_k_can_be_compared(sampled: Path, run: Path) -> None:
    fast = ("--resamples", "200", "--format", "json")
    one, two = (json.loads(harness("compare", sampled, "--pass-at", k, *fast).stdout) for k in ("1", "2"))
    plain = json.loads(harness("compare", sampled, *fast).stdout)
    assert one["comparisons"][0]["baseline"] == pytest.approx(plain["comparisons"][0]["baseline"])
    assert two["comparisons"][0]["baseline"] > one["comparisons"][0]["baseline"]
    assert two["comparisons"][0]["n_seeds"] == 2
    assert two["notes"][0].startswith("Scores are pass@2: the chance that at least one of 2 sampled answers is right")
    refused = harness("compare", sampled, "--pass-at", "4")
    assert refused.exit_code == 2
    assert "takes 4 answers to each prompt, and some have 3" in refused.output
    assert "none here is" in harness("compare", run, "--pass-at", "1").output


def test_check_leaderboard_and_report_say_how_answers_were_written(sampled: Path) -> None:
    fast = ("--resamples", "200")
    checked = harness("check", "--baseline", f"{sampled}:baseline", "--candidate", f"{sampled}:retmask", *fast)
    for result in (checked, harness("leaderboard", sampled, *fast), harness("compare", sampled, *fast)):
        assert "3 answers to each prompt, sampled at temperature 0.7" in " ".join(result.output.split()), result.output
    assert harness("report", sampled).exit_code == 0
    page = (sampled / "report.html").read_text()
    assert "3 answers to each prompt, sampled at temperature 0.7" in page
    assert "[answer 2 of 3]" in page
