"""Several sampled answers to a prompt: seeded, journalled, resumed, reused, by every engine; and greedy answers as they were."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that tests.harness.served is found however pytest was started

from harness.api import HarnessError
from harness.commands.root import main
from harness.config import RunConfig, load_preset
from harness.engines import generations
from harness.engines.hf import HFBackend
from harness.engines.lm import Batch, Completion, Failed, Prompt
from harness.engines.options import EngineConfig
from harness.engines.vllm import VLLMBackend
from harness.store.journal import Journal
from tests.harness.served import serving

SMALL = ("--model", "builtin", "--preset", "builtin", "--tasks", "niah_mv,icl_coarse", "--lengths", "256", "--examples", "5")
WARM = ("--temperature", "1.3")


def evaluate(output: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["eval", *SMALL, "--output", str(output), *more])


def evaluated(output: Path, *more: str) -> pd.DataFrame:
    result = evaluate(output, *more)
    assert result.exit_code == 0, result.output
    key = json.loads((output / "manifest.json").read_text())["evaluations"][0]
    return pd.read_parquet(output / "steps" / f"eval-{key[:12]}" / "samples.parquet")


def steps(output: Path, name: str) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(output.glob(f"steps/{name}-*/manifest.json"))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sampled")


@pytest.fixture(scope="module")
def three(run: Path) -> pd.DataFrame:
    return evaluated(run, "--generations", "3", *WARM)


def outputs(table: pd.DataFrame) -> "pd.Series[str]":
    return table.set_index(["example_id", "metric", "generation"])["output"].sort_index()


def test_each_prompt_has_its_answers_as_a_level_of_the_table(three: pd.DataFrame) -> None:
    assert set(three["generation"]) == {1, 2, 3}
    assert set(three["temperature"]) == {1.3}
    assert (three.groupby(["example_id", "metric"])["generation"].nunique() == 3).all()
    assert three["example_id"].nunique() == 10
    assert (three.groupby("example_id")["output"].nunique() > 1).any(), "answers are sampled"


def test_answers_depend_on_no_batch(three: pd.DataFrame, tmp_path: Path) -> None:
    alone = evaluated(tmp_path, "--generations", "3", *WARM, "--batch-tokens", "1")
    pd.testing.assert_series_equal(outputs(three), outputs(alone))


def test_another_seed_draws_other_answers(three: pd.DataFrame) -> None:
    assert generations.draw_seed(1, "a#1") != generations.draw_seed(2, "a#1")
    seeds = {
        generations.draw_seed(42, generations.name(example, number)) for example in three["example_id"].unique() for number in (1, 2, 3)
    }
    assert len(seeds) == 30
    assert all(0 <= seed < 1 << 31 for seed in seeds)


def test_more_generations_later_keep_the_first(run: Path, three: pd.DataFrame) -> None:
    five = evaluated(run, "--generations", "5", *WARM)
    pd.testing.assert_series_equal(outputs(five[five["generation"] <= 3]), outputs(three))
    taken = [len(Journal(path).finished) for path in sorted(run.glob("steps/generate-*/generations.journal"))]
    assert sorted(taken) == [30, 50]
    fewer = evaluate(run, "--generations", "2", *WARM)
    assert fewer.exit_code == 0
    (two,) = [facts for each in steps(run, "generate") if isinstance(facts := each["facts"], dict) and facts["generations"] == 2]
    assert two["taken_over"] == two["examples"] == 20, "nothing is generated anew"


def test_a_broken_off_evaluation_goes_on_and_ends_in_the_same_answers(
    three: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = HFBackend.generate

    def breaking(self: HFBackend, prompts: Sequence[Prompt], batch: Batch) -> Iterator[dict[str, Completion | Failed]]:
        yield next(whole(self, prompts, batch))
        raise HarnessError("the machine goes down")

    with monkeypatch.context() as patched:
        patched.setattr(HFBackend, "generate", breaking)
        assert evaluate(tmp_path, "--generations", "3", *WARM, "--batch-tokens", "600").exit_code == 2
    (begun,) = tmp_path.glob("steps/generate-*/generations.journal")
    assert 0 < len(Journal(begun).finished) < 30
    pd.testing.assert_series_equal(outputs(evaluated(tmp_path, "--generations", "3", *WARM)), outputs(three))


def test_greedy_answers_are_asked_and_written_as_before(tmp_path: Path) -> None:
    table = evaluated(tmp_path, "--generations", "1", "--temperature", "0")
    assert not {"generation", "temperature"} & set(table.columns)
    (generated,) = steps(tmp_path, "generate")
    inputs = generated["inputs"]
    assert isinstance(inputs, dict)
    assert not {"generations", "temperature", "seed"} & set(inputs)
    (journal,) = tmp_path.glob("steps/generate-*/generations.journal")
    assert set(Journal(journal).finished) == set(table["example_id"])


def test_one_sampled_answer_is_another_step_than_a_greedy_one(tmp_path: Path) -> None:
    sampled = evaluated(tmp_path, *WARM)
    assert set(sampled["generation"]) == {1}
    evaluated(tmp_path)
    assert len(steps(tmp_path, "generate")) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"generations": 3}, "3 greedy generations are 3 times the same answer; sample them with --temperature"),
        ({"generations": 0}, "ask for at least 1 answer"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": -1.0}, "temperature is -1"),
    ],
)
def test_what_cannot_be_sampled_is_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        EngineConfig(**settings)  # type: ignore[arg-type]


def test_the_command_line_refuses_in_one_line(tmp_path: Path) -> None:
    result = evaluate(tmp_path, "--generations", "3")
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1
    assert "--temperature" in result.output


def test_a_preset_may_ask_for_generations(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("[run]\ngenerations = 4\ntemperature = 0.7\n")
    config = load_preset(str(preset))
    assert (config.generations, config.temperature) == (4, 0.7)
    assert RunConfig().sampling(1) == {}


def test_a_server_gets_seed_and_temperature(tmp_path: Path) -> None:
    with serving() as server:
        table = evaluated(tmp_path, "--backend", "served", "--url", server.url, "--generations", "2", *WARM)
        bodies = server.answered
    assert len(bodies) == 20 == table.drop_duplicates(["example_id", "generation"]).shape[0]
    assert {body["temperature"] for body in bodies} == {1.3}
    assert {body["top_p"] for body in bodies} == {1.0}
    assert len({body["seed"] for body in bodies}) == 20


def test_a_greedy_request_to_a_server_has_no_seed(tmp_path: Path) -> None:
    with serving() as server:
        evaluated(tmp_path, "--backend", "served", "--url", server.url)
        assert not any({"seed", "top_p"} & set(body) for body in server.answered)


@pytest.mark.parametrize("seed", [None, 7])
def test_vllm_gets_the_seed_with_each_request(seed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM itself answers in tests/test_vllm.py."""
    inner = SimpleNamespace(modify_gen_kwargs=lambda settings: ({"temperature": settings["temperature"]}, [], 20))
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(SamplingParams=dict))
    backend = VLLMBackend.__new__(VLLMBackend)
    backend._inner = inner
    request = SimpleNamespace(args=("text", {"temperature": 0.7, "do_sample": True}))
    params = backend._params(Prompt("e#1", (1, 2), request, seed))  # type: ignore[arg-type]
    assert params["temperature"] == 0.7
    assert params.get("seed") == seed


def test_the_plan_counts_every_answer(tmp_path: Path) -> None:
    def planned(*more: str) -> int:
        result = CliRunner().invoke(main, ["plan", *SMALL, "--output", str(tmp_path), "--no-probe", "--json", *more])
        assert result.exit_code == 0, result.output
        return int(json.loads(result.stdout)["new_tokens"])

    assert planned("--generations", "3", *WARM) == 3 * planned()


def test_the_scores_say_how_answers_were_written(run: Path, three: pd.DataFrame) -> None:
    said = " ".join(evaluate(run, "--generations", "3", *WARM).stdout.split())
    assert "3 answers to each" in said
    assert "sampled at temperature 1.3" in said
    assert "pass@k" in said


def test_the_same_run_again_is_the_same(run: Path, three: pd.DataFrame, tmp_path: Path) -> None:
    pd.testing.assert_series_equal(outputs(evaluated(tmp_path, "--generations", "3", *WARM)), outputs(three))
