"""``harness plan``: it finds what a run left, counts what is left, and says what cannot fit. On the shipped model."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.root import main
from harness.models import footprint
from harness.models.footprint import DeviceMemory
from harness.planning.table import duration

SMALL = ("--model", "builtin", "--preset", "builtin", "--tasks", "niah_mk", "--lengths", "128,256", "--examples", "3")
STAGE = ("--model", "builtin", "--preset", "builtin")


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def plan(root: Path, *more: str, asked: tuple[str, ...] = SMALL) -> dict[str, object]:
    result = invoke("plan", *asked, "--output", root, "--json", "--no-probe", *more)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.output)
    return found


def test_each_measurement_of_heads_has_a_state_of_its_own(tmp_path: Path) -> None:
    more = ("--set", "detection_trials=4", "--set", "prompts=2", "--set", "max_new_tokens=4", "--set", "batch_size=2", "--set", "epochs=1")
    assert invoke("pairs", *STAGE, "--output", tmp_path, *more).exit_code == 0
    begun = states(plan(tmp_path, "--method", "retmask", *more, asked=STAGE))
    assert begun["heads"] == begun["chosen"] == begun["rejected-retmask"] == "finished"
    assert begun["dpo (retmask)"] == begun["heads after training (retmask)"] == "to do"
    assert invoke("train", *STAGE, "--output", tmp_path, *more).exit_code == 0
    trained = states(plan(tmp_path, "--method", "retmask", *more, asked=STAGE))
    assert trained["heads"] == trained["dpo (retmask)"] == "finished"
    assert trained["heads after training (retmask)"] == "to do"


def states(found: dict[str, object]) -> dict[str, str]:
    steps = found["steps"]
    assert isinstance(steps, list)
    return {step["name"]: step["state"] for step in steps}


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "run"
    found = plan(root, "--method", "retmask", "--method", "randmask")
    assert not root.exists()
    assert set(states(found).values()) == {"to do"}
    names = list(states(found))
    assert names[:4] == ["suite", "generate: baseline", "eval: baseline", "heads"]
    assert names.count("heads") == names.count("chosen") == 1, "what methods share is planned once"
    assert {"eval: retmask", "eval: randmask"} <= set(names)


def test_a_plan_counts_variants(tmp_path: Path) -> None:
    more = ("--method", "retmask(top_k=2)", "--method", "retmask(top_k=3, detection_trials=2)", "--method", "randmask(top_k=2)")
    names = list(states(plan(tmp_path / "run", *more)))
    assert names.count("heads") == names.count("chosen") == 1
    assert "heads (retmask(detection_trials=2, top_k=3))" in names, "another detection is another step"
    assert [name for name in names if name.startswith("dpo")] == [
        "dpo (retmask(top_k=2))", "dpo (retmask(detection_trials=2, top_k=3))", "dpo (randmask(top_k=2))",
    ]  # fmt: skip


def test_a_mask_that_is_not_drawn_has_the_same_rejected_answers_for_every_training(tmp_path: Path) -> None:
    more = ("--method", "retmask", "--method", "retmask(token_weights=disagreement)", "--method", "randmask", "--seeds", "1,2")
    names = [name for name in states(plan(tmp_path / "run", *more)) if name.startswith("rejected")]
    assert names == ["rejected-retmask", "rejected-randmask (randmask, seed 1)", "rejected-randmask (randmask, seed 2)"]


def test_what_a_run_finished_is_found_and_no_longer_counted(tmp_path: Path) -> None:
    before = plan(tmp_path)
    assert before["prefill_tokens"] == 3 * (128 + 256)
    assert invoke("eval", *SMALL, "--output", tmp_path).exit_code == 0
    after = plan(tmp_path)
    assert states(after) == {"suite": "finished", "generate: baseline": "finished", "eval: baseline": "finished"}
    assert after["prefill_tokens"] == after["new_tokens"] == 0
    assert states(plan(tmp_path, "--seed", "1")) == {"suite": "to do", "generate: baseline": "to do", "eval: baseline": "to do"}
    assert states(plan(tmp_path, "--dtype", "bfloat16")) == {"suite": "finished", "generate: baseline": "to do", "eval: baseline": "to do"}


def test_what_a_run_began_is_found(tmp_path: Path) -> None:
    assert invoke("eval", *SMALL, "--output", tmp_path).exit_code == 0
    (generated,) = tmp_path.glob("steps/generate-*")
    (generated / "manifest.json").unlink()
    generated.rename(generated.with_suffix(".work"))
    assert states(plan(tmp_path)) == {"suite": "finished", "generate: baseline": "started", "eval: baseline": "to do"}


def test_the_counts_are_upper_bounds_of_what_an_evaluation_takes(tmp_path: Path) -> None:
    import pandas as pd

    expected = plan(tmp_path)
    assert invoke("eval", *SMALL, "--output", tmp_path).exit_code == 0
    (path,) = tmp_path.glob("steps/eval-*/samples.parquet")
    samples = pd.read_parquet(path).drop_duplicates("example_id")
    read, written = expected["prefill_tokens"], expected["new_tokens"]
    assert isinstance(read, int)
    assert isinstance(written, int)
    assert samples["prompt_tokens"].sum() <= read < 1.5 * samples["prompt_tokens"].sum()
    assert samples["output_tokens"].sum() <= written


def test_what_does_not_fit_is_said_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.planning.plan.devices", lambda device: (DeviceMemory("a small device", 20 << 20, 10 << 20),))
    result = invoke("plan", *SMALL, "--output", tmp_path, "--method", "retmask", "--no-probe")
    assert result.exit_code == 0
    warnings = [line for line in result.output.splitlines() if line.startswith("WARNING")]
    assert any("dpo does not fit" in line and "LoRA" in line and "a small device has 10.0 MiB free" in line for line in warnings)
    assert any("generate does not fit" in line and "--batch-tokens" in line for line in warnings)


def test_a_disk_that_is_too_small_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("harness.planning.plan.shutil.disk_usage", lambda path: usage._replace(free=1 << 20))
    result = invoke("plan", *SMALL, "--output", tmp_path / "run", "--method", "retmask", "--no-probe")
    assert "checkpoints take" in result.output
    assert f"{tmp_path} has 1.0 MiB free" in result.output


def test_tensor_parallel_divides_the_model_among_devices(tmp_path: Path) -> None:
    one = plan(tmp_path, "--backend", "vllm")["needs"]
    two = plan(tmp_path, "--backend", "vllm", "--tensor-parallel", "2")["needs"]
    assert isinstance(one, list)
    assert isinstance(two, list)
    assert two[0]["weights"] == one[0]["weights"] // 2
    assert two[0]["kv_cache"] == one[0]["kv_cache"] // 2


def test_the_probe_gives_a_time(tmp_path: Path) -> None:
    result = invoke("run", *SMALL, "--output", tmp_path / "run", "--method", "retmask", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "by a short probe" in result.output
    assert "left, together" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "1024k"], "takes at most"),
        (["--method", "retmask", "--set", "no_such=1"], "unknown key 'no_such'"),
        (["--method", "nothing"], "unknown method 'nothing'"),
    ],
)
def test_what_would_stop_the_run_stops_the_plan(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = invoke("plan", *SMALL, "--output", tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_methods_without_heads_have_numbers_of_their_own(tmp_path: Path) -> None:
    def work(method: str, *more: str) -> dict[str, dict[str, int]]:
        found = plan(tmp_path, "--method", method, "--set", "prompts=10", "--set", "max_new_tokens=20", *more)["steps"]
        assert isinstance(found, list)
        return {step["name"]: step["work"] for step in found if step["name"].split()[0] not in ("suite", "generate:", "eval:", "report")}

    smaller, alone = work("smaller-model", "--set", "rejected_from=model builtin"), work("sft")
    assert list(smaller) == ["chosen", "rejected-smaller-model", "dpo (smaller-model)"]
    assert list(alone) == ["chosen", "sft (sft)"], "no head is measured"
    assert smaller["chosen"] == alone["chosen"]
    assert alone["chosen"]["new_tokens"] == smaller["rejected-smaller-model"]["new_tokens"] == 200
    assert 0 < 2 * alone["sft (sft)"]["train_tokens"] == smaller["dpo (smaller-model)"]["train_tokens"], "a pair has two answers"


def test_instructions_that_the_model_writes_are_counted(tmp_path: Path) -> None:
    def step(*more: str) -> list[dict[str, int]]:
        found = plan(tmp_path, "--method", "sft", "--set", "prompts=40", "--set", "prompts_max_tokens=30", *more)["steps"]
        assert isinstance(found, list)
        return [step["work"] for step in found if step["name"] == "prompts"]

    (work,) = step("--set", "prompts_from=self")
    assert work["new_tokens"] == work["prompts"] * 30
    assert 40 < work["prompts"] < 80
    assert all(work["new_tokens"] == 0 for work in step()), "the shipped model's are generated"


def test_files_of_prompts_and_pairs_are_counted(tmp_path: Path) -> None:
    def training(*more: str) -> int:
        found = plan(tmp_path / "run", "--method", "sft", "--set", "max_new_tokens=20", "--set", "epochs=1", *more)["steps"]
        assert isinstance(found, list)
        return next(int(step["work"]["train_tokens"]) for step in found if step["work"]["step"] == "sft")

    prompts, pairs = tmp_path / "prompts.jsonl", tmp_path / "pairs.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"say {number}"}) + "\n" for number in range(7)))
    pairs.write_text("".join(json.dumps({"prompt": f"say {number}", "chosen": "yes"}) + "\n" for number in range(3)))
    one = training("--set", f"prompts_from={prompts}", "--set", "prompts=1")
    assert training("--set", f"prompts_from={prompts}", "--set", "prompts=0") == 7 * one
    assert training("--set", f"pairs_from={pairs}") == 3 * one


def test_a_container_may_allow_less_than_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text(f"{64 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{16 << 20}\n")
    monkeypatch.setattr(footprint, "_CGROUP", tmp_path)
    assert footprint.devices("cpu")[0].free == 48 << 20
    (tmp_path / "memory.max").write_text("max\n")
    assert footprint.devices("cpu")[0].free > 48 << 20


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.1, "1 s"), (80, "80 s"), (100, "2 min"), (3_599, "60 min"), (5_400, "1.5 h"), (200_000, "2.3 days")]
)
def test_durations_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
