"""Pairs: sampling that repeats and resumes, joining that counts what it drops."""

import json
import resource
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.api import HarnessError, IncompleteError
from harness.engines.cache import RoomyCache
from retmask import decode
from retmask.decode import forward
from retmask.heads.masks import HeadMask
from retmask.heads.scores import Head
from retmask.pairs import hf_sampler as sampler
from retmask.pairs.hf_sampler import Chooser, GumbelNoise, sample
from retmask.pairs.pairing import PairFilter, PreferencePair, as_text, join, read_pairs, repetition, write_pairs
from retmask.pairs.responses import Response, Sampler, Sampling, read_responses
from retmask.pairs.samplers import Lazily, open_sampler
from tests.retmask.small import random_model

PROMPTS = ["The door", "Near the river the bread was wet every evening.", "Nobody knew", "the map", "Since then", "The clock and the boat"]
SETTINGS = Sampling(temperature=1.0, max_new_tokens=6, seed=11)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return random_model("Llama")


def drawn(logits: torch.Tensor, settings: Sampling, count: int = 4000) -> torch.Tensor:
    """How often each token is drawn from the same logits by ``count`` rows."""
    chooser = Chooser(settings, [(row, 0) for row in range(count)], torch.device("cpu"))
    return torch.bincount(chooser(logits.expand(count, -1).clone(), range(count)), minlength=len(logits)) / count


def test_sampling_follows_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -3.0])
    torch.testing.assert_close(drawn(logits, Sampling(temperature=1.0)), logits.softmax(-1), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn(logits, Sampling(temperature=0.5)), (logits / 0.5).softmax(-1), atol=0.03, rtol=0)


def test_top_p_leaves_the_tail_out() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -3.0])  # 0.66, 0.24, 0.09, 0.00
    share = drawn(logits, Sampling(temperature=1.0, top_p=0.8))
    torch.testing.assert_close(share, torch.tensor([0.731, 0.269, 0.0, 0.0]), atol=0.03, rtol=0)


def test_noise_belongs_to_the_row_and_goes_on_from_step_to_step() -> None:
    pair, alone = (GumbelNoise(3, rows, torch.device("cpu")) for rows in (((5, 0), (9, 1)), ((9, 1),)))
    ids = torch.zeros(2, 1, dtype=torch.long)
    steps = [(pair(ids, torch.zeros(2, 7)), alone(ids[:1], torch.zeros(1, 7))) for _ in range(2)]
    for both, one in steps:
        assert torch.equal(both[1], one[0])
        assert not torch.equal(both[0], both[1])
    assert not torch.equal(steps[0][1], steps[1][1])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_that_are_done_leave_the_batch_and_change_no_other(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    settings = Sampling(temperature=temperature, max_new_tokens=40, seed=11)
    sizes, stops = list[int](), range(5, len(tokenizer), 12)  # often enough that rows end one after another
    monkeypatch.setattr(sampler, "stop_ids", lambda *_: list(stops))

    def watched(network: PreTrainedModel, cache: RoomyCache, ids: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        sizes.append(len(ids))
        return forward(network, cache, ids, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(decode, "forward", watched)
        leaving = sample(model, tokenizer, PROMPTS, settings, tmp_path / "leaving.jsonl")
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 2
    monkeypatch.setattr(sampler, "has_plain_cache", lambda _: False)
    assert leaving == sample(model, tokenizer, PROMPTS, settings, tmp_path / "staying.jsonl"), "transformers' own loop"


def test_batch_size_has_no_part_in_what_is_drawn(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    alone = sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "a.jsonl", batch_tokens=1)
    together = sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "b.jsonl", batch_tokens=100_000)
    assert alone == together
    assert [response.prompt for response in alone] == list(range(len(PROMPTS)))
    other = sample(model, tokenizer, PROMPTS, Sampling(1.0, 1.0, 6, seed=12), tmp_path / "c.jsonl")
    assert [response.ids for response in other] != [response.ids for response in alone]


def test_temperature_zero_takes_the_most_likely_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    settings = Sampling(temperature=0, max_new_tokens=1)
    response = sample(model, tokenizer, PROMPTS[:1], settings, tmp_path / "a.jsonl")[0]
    rendered = "<|user|>The door<|end|><|assistant|><|nothink|>"
    with torch.no_grad():
        expected = model(tokenizer(rendered, return_tensors="pt")["input_ids"]).logits[0, -1].argmax()
    assert response.ids == (int(expected),)
    assert not response.finished


def test_the_end_of_text_ends_an_answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    free = sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "a.jsonl")
    model.generation_config.eos_token_id = free[2].ids[1]
    try:
        stopped = sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "b.jsonl")[2]
    finally:
        model.generation_config.eos_token_id = 1
    assert stopped.ids == free[2].ids[:2]
    assert stopped.finished


def test_an_interrupted_run_goes_on_where_it_was(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    whole = sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "whole.jsonl", batch_tokens=40)
    journal = tmp_path / "journal.jsonl"

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(model, tokenizer, PROMPTS, SETTINGS, journal, stop, batch_tokens=40)
    first = journal.read_text()
    assert 0 < len(first.splitlines()) < len(PROMPTS)
    with journal.open("a") as file:
        file.write('{"prompt": 4, "text": "cut off in the mid')  # the crash came while this line was written
    said: list[str] = []
    assert sample(model, tokenizer, PROMPTS, SETTINGS, journal, said.append, batch_tokens=40) == whole
    assert journal.read_text().startswith(first)
    assert len(read_responses(journal)) == len(journal.read_text().splitlines()) == len(PROMPTS)
    assert said[0] == f"{len(first.splitlines())} of {len(PROMPTS)} responses were already there"


def test_a_damaged_response_costs_itself_alone(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    journal = tmp_path / "responses.journal"
    whole = sample(model, tokenizer, PROMPTS, SETTINGS, journal, batch_tokens=1)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"ids": [', b'"ids": [1', 1)  # still JSON, and another answer
    journal.write_bytes(b"".join(lines))
    said: list[str] = []
    assert sample(model, tokenizer, PROMPTS, SETTINGS, journal, said.append, batch_tokens=1) == whole
    assert "1 damaged records are passed over" in said[0]
    assert len(journal.read_bytes().splitlines()) == len(PROMPTS) + 1


def test_a_batch_that_does_not_fit_is_halved(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "whole.journal")
    original, tried = sampler._sample_batch, list[int]()

    def small_memory(model: object, tokenizer: object, coded: dict[object, list[int]], settings: object, turn: object) -> list[Response]:
        tried.append(len(coded))
        if len(coded) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(model, tokenizer, coded, settings, turn)  # type: ignore[arg-type]

    monkeypatch.setattr(sampler, "_sample_batch", small_memory)
    said: list[str] = []
    assert sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "halved.journal", said.append) == whole
    assert tried[0] == len(PROMPTS)
    assert any("did not fit in memory; going on with" in line for line in said)


def test_a_prompt_that_does_not_fit_alone_is_named_and_all_others_are_kept(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "whole.journal")
    original, journal = sampler._sample_batch, tmp_path / "kept.journal"

    def small_memory(
        model: object, tokenizer: object, coded: dict[tuple[int, int], list[int]], settings: object, turn: object
    ) -> list[Response]:
        if (1, 0) in coded:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(model, tokenizer, coded, settings, turn)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(sampler, "_sample_batch", small_memory)
        with pytest.raises(IncompleteError, match="did not fit in memory even alone: number 1,"):
            sample(model, tokenizer, PROMPTS, SETTINGS, journal)
    before = journal.read_bytes()
    assert len(read_responses(journal)) == len(PROMPTS) - 1
    assert sample(model, tokenizer, PROMPTS, SETTINGS, journal) == whole
    assert journal.read_bytes().startswith(before)


def answers(*texts: str) -> list[Response]:
    return [Response(index, text, tuple(range(len(text))), finished=text != "long") for index, text in enumerate(texts)]


def test_joining_drops_and_counts() -> None:
    pairs = join(["p", "q", "r", "s"], answers("yes", "same ", "", "long"), answers("no", " same", "x", "no"))
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs.kept] == [("p", "yes", "no"), ("s", "long", "no")]
    assert pairs.dropped == {"empty": 1, "identical": 1, "repetitive": 0, "unfinished": 0}
    assert pairs.identical_share == 0.25
    assert pairs.mean_chosen_tokens == (3 + 5 + 0 + 4) / 4
    assert pairs.unfinished == 1


def of_tokens(*rows: list[int]) -> list[Response]:
    return [Response(index, str(row), tuple(row), finished=len(row) < 40) for index, row in enumerate(rows)]


FRESH, OTHER, STUCK, LONG = list(range(30)), list(range(50, 80)), [7, 8] * 15, list(range(40))


def test_repetition_is_the_share_of_repeated_ngrams() -> None:
    assert repetition(FRESH) == 0
    assert repetition([7] * 24) == 20 / 21  # 21 four-grams, all but one of them repeated
    assert repetition([7] * 10) == 0  # too short to tell


def test_repetitive_and_unfinished_answers_are_dropped_on_request() -> None:
    prompts = ["p", "q", "r"]
    chosen, rejected = of_tokens(FRESH, FRESH, LONG), of_tokens(STUCK, OTHER, FRESH)
    assert [pair.prompt for pair in join(prompts, chosen, rejected).kept] == prompts
    found = join(prompts, chosen, rejected, PairFilter(repetitive=True, unfinished=True))
    assert [pair.prompt for pair in found.kept] == ["q"]
    assert found.dropped == {"empty": 0, "identical": 0, "repetitive": 1, "unfinished": 1}
    assert found.degenerate_rejected == pytest.approx(1 / 3)


def test_figures_that_warn() -> None:
    prompts = [f"p{index}" for index in range(40)]
    even = [FRESH if index % 2 else OTHER[:-1] for index in range(40)]
    odd = [OTHER[:-1] if index % 2 else FRESH for index in range(40)]
    calm = join(prompts, of_tokens(*even), of_tokens(*odd))
    assert calm.warnings() == []
    assert calm.longer_chosen == 0.5
    same = join(prompts, of_tokens(*even), of_tokens(*even[:30], *odd[30:]))
    assert same.identical_share == 0.75
    assert "75% of the pairs were identical" in same.warnings()[0]
    longer = join(prompts, of_tokens(*[LONG] * 40), of_tokens(*[FRESH] * 40))
    assert [warning[:45] for warning in longer.warnings()] == [
        "the chosen answer is the longer one in 100% o",
        "50% of the answers were cut off; raise max_ne",
    ]
    broken = join(prompts, of_tokens(*[FRESH] * 40), of_tokens(*[STUCK] * 40))
    assert broken.warnings()[0].startswith("100% of the rejected answers repeat themselves (0% of the chosen)")
    assert broken.facts()["warnings"] == broken.warnings()


def test_several_answers_to_a_prompt(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    settings = Sampling(temperature=1.0, max_new_tokens=6, seed=11, n=3)
    drawn = sample(model, tokenizer, PROMPTS[:2], settings, tmp_path / "a.jsonl")
    assert [(response.prompt, response.number) for response in drawn] == [(p, n) for p in range(2) for n in range(3)]
    assert len({response.ids for response in drawn[:3]}) == 3
    once = sample(model, tokenizer, PROMPTS[:2], SETTINGS, tmp_path / "b.jsonl")
    assert [drawn[0].ids, drawn[3].ids] == [response.ids for response in once]  # more answers leave the first as it was
    other = sample(model, tokenizer, PROMPTS[:2], Sampling(1.0, 1.0, 6, seed=12, n=3), tmp_path / "c.jsonl")
    assert len(join(PROMPTS[:2], drawn, other).kept) > 2


def test_a_sampler_masks_for_one_call_alone(checkpoint: Path, tmp_path: Path) -> None:
    mask = HeadMask("random", tuple(Head(layer, head) for layer in range(2) for head in range(4)))
    opened = []

    def open_it() -> Sampler:
        opened.append(open_sampler("hf", checkpoint, "float32", "cpu"))
        return opened[-1]

    greedy = Sampling(temperature=0, max_new_tokens=6)
    with Lazily(open_it) as engine:
        assert not opened
        before, without, after = (
            engine.sample(PROMPTS, greedy, heads, tmp_path / f"{index}.jsonl") for index, heads in enumerate((None, mask, None))
        )
    assert len(opened) == 1
    assert before == after != without
    with pytest.raises(HarnessError, match="unknown sampler 'vlm'; choose from hf"):
        open_sampler("vlm", checkpoint, "float32", "cpu")


def test_a_full_disk_keeps_what_was_sampled(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    whole = sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "whole.jsonl", batch_tokens=1)
    room = (tmp_path / "whole.jsonl").stat().st_size // 2
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "journal.jsonl", batch_tokens=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = read_responses(tmp_path / "journal.jsonl")
    assert 0 < len(kept) < len(PROMPTS)
    said: list[str] = []
    assert sample(model, tokenizer, PROMPTS, SETTINGS, tmp_path / "journal.jsonl", said.append, batch_tokens=1) == whole
    assert said[0] == f"{len(kept)} of {len(PROMPTS)} responses were already there"


def test_pairs_for_a_model_with_another_tokenizer_are_text() -> None:
    pair = PreferencePair("p", "a", "b", (1,), (2,))
    assert as_text([pair]) == [PreferencePair("p", "a", "b")]
    assert as_text([pair], rejected_only=True) == [PreferencePair("p", "a", "b", (1,))]


def test_a_text_says_whether_it_ended_only_where_it_did_not(tmp_path: Path) -> None:
    pairs = [
        PreferencePair("p", "a", "b", (1,), (2,), False, False),
        PreferencePair("p", "a", "b", (1,), (), False, False),
        PreferencePair("p", "a", "b"),
    ]
    write_pairs(pairs, tmp_path / "pairs.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [{name for name in line if name.endswith("finished")} for line in lines] == [set(), {"rejected_finished"}, set()]
    assert [pair.rejected_finished for pair in read_pairs(tmp_path / "pairs.jsonl")] == [True, False, True]
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b", "chosen_finished": "no"}))
    with pytest.raises(HarnessError, match="must be true or false"):
        read_pairs(tmp_path / "pairs.jsonl")


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(HarnessError, match=r"none of 2 prompts gave a usable pair \(1 empty, 1 identical, 0 repetitive, 0 unfinished\)"):
        join(["p", "q"], answers("a", "b"), answers("a", " "))


def test_pairs_come_back_from_their_file(tmp_path: Path) -> None:
    pairs = [PreferencePair("p\u2028q", "a\n", "ü", (1, 2), (3,)), PreferencePair("p", "a", "b")]
    write_pairs(pairs, tmp_path / "pairs.jsonl")
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": "a", "chosen": "b"}', json.dumps({"prompt": "a", "chosen": "", "rejected": "c"})])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    good = json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"})
    (tmp_path / "pairs.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(HarnessError, match=r"pairs\.jsonl, line 2"):
        read_pairs(tmp_path / "pairs.jsonl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "p", "answer": "a"}', "it lacks prompt, chosen, rejected and has 'question', 'answer'"),
        ('["p", "a", "b"]', "not a JSON object"),
        ('{"prompt": "p", "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b"}', "of a chat, the words alone"),
    ],
)
def test_pairs_of_other_tools_are_told_by_their_columns(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "pairs.jsonl").write_text(line)
    with pytest.raises(HarnessError, match=message):
        read_pairs(tmp_path / "pairs.jsonl")


def test_pairs_may_begin_with_a_mark_and_must_be_utf8(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"})
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n{line}\r\n".encode())
    assert len(read_pairs(path)) == 2
    path.write_bytes(line.encode("utf-16"))
    with pytest.raises(HarnessError, match="no UTF-8 text"):
        read_pairs(path)
