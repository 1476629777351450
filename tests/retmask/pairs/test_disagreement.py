"""Weights of tokens: by hand, on a model, in the file of pairs, and through a method."""

import json
from pathlib import Path

import pytest
import torch

from harness.api import HarnessError, Json
from retmask.heads.ablate import ablated
from retmask.heads.masks import HeadMask
from retmask.heads.scores import Head
from retmask.methods.retmask import RetMask
from retmask.model import encode, load_model, load_tokenizer, render
from retmask.options import parse_options
from retmask.pairs.disagreement import weighted, weights
from retmask.pairs.pairing import PreferencePair, read_pairs, write_pairs
from tests.retmask.directory import DirectoryContext

MASK = HeadMask("some", (Head(0, 1), Head(1, 2)))
PAIR = PreferencePair("Near the river", "The door.", "A map.", (40, 41, 42), (50, 51))


def test_weights_by_hand() -> None:
    assert weights([-1.0, -1.0, -2.0, -1.0], [-1.0, -3.0, -2.0, -2.0]) == (0.0, 2.6667, 0.0, 1.3333)
    assert weights([-1.0, -2.0], [-1.0, -2.0]) == (1.0, 1.0)
    assert weights([], []) == ()


def test_a_tokens_weight_is_how_far_the_two_models_are_apart_on_it(checkpoint: Path) -> None:
    model, tokenizer = load_model(checkpoint, "float32", "cpu"), load_tokenizer(checkpoint)
    (found,) = weighted(model, tokenizer, [PAIR], MASK)
    prompt = encode(tokenizer, render(tokenizer, PAIR.prompt))
    for answer, given in ((PAIR.chosen_ids, found.chosen_weights), (PAIR.rejected_ids, found.rejected_weights)):
        apart = []
        for place, token in enumerate(answer):  # one at a time, as it would be written
            ids = torch.tensor([[*prompt, *answer[:place]]])
            with torch.no_grad():
                intact = model(ids).logits[0, -1].log_softmax(-1)[token]
                with ablated(model, MASK):
                    apart.append(abs(float(intact - model(ids).logits[0, -1].log_softmax(-1)[token])))
        assert given == pytest.approx([each * len(apart) / sum(apart) for each in apart], abs=1e-2)
        assert sum(given) / len(given) == pytest.approx(1.0, abs=1e-3)


def test_weights_are_kept_with_the_pairs_and_plain_pairs_are_written_as_before(tmp_path: Path) -> None:
    from dataclasses import replace

    heavy = replace(PAIR, chosen_weights=(0.0, 1.0, 2.0), rejected_weights=(1.5, 0.5))
    write_pairs([PAIR, heavy], tmp_path / "pairs.jsonl")
    assert read_pairs(tmp_path / "pairs.jsonl") == [PAIR, heavy]
    first, second = map(json.loads, (tmp_path / "pairs.jsonl").read_text().splitlines())
    assert set(second) - set(first) == {"chosen_weights", "rejected_weights"}


@pytest.mark.parametrize(
    "broken", [{"chosen_weights": [1.0]}, {"chosen_weights": [1, 1, -1]}, {"rejected_weights": [1, "x"]}, {"rejected_weights": [1, 1]}]
)
def test_weights_that_fit_no_tokens_are_refused(tmp_path: Path, broken: dict[str, Json]) -> None:
    row = {"prompt": "p", "chosen": "c", "rejected": "r", "chosen_ids": [1, 2, 3], "rejected_ids": [4, 5], **broken}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    with pytest.raises(HarnessError, match="line 1: chosen_weights and rejected_weights must be numbers of 0 or more"):
        read_pairs(tmp_path / "pairs.jsonl")


def test_a_method_trains_on_weighted_pairs(checkpoint: Path, tmp_path: Path) -> None:
    options: dict[str, Json] = {
        "detector": "query", "detection_lengths": [120], "detection_trials": 2, "top_k": 2, "prompts": 6, "prompts_from": "generated",
        "max_new_tokens": 6, "temperature": 1.0, "token_weights": "disagreement", "strength": 0.5,
    }  # fmt: skip
    context = DirectoryContext(tmp_path, checkpoint, options)
    artifact = RetMask().pairs(context)
    assert [each.name for each in context.artifacts][-2:] == ["pairs", "weights"]
    plain, found = (read_pairs(each.path / "pairs.jsonl") for each in context.artifacts[-2:])
    assert [pair.chosen_ids for pair in found] == [pair.chosen_ids for pair in plain]
    assert all(len(pair.chosen_weights) == len(pair.chosen_ids) and len(pair.rejected_weights) == len(pair.rejected_ids) for pair in found)
    assert artifact.facts["pairs"] == len(found)
    assert 0.1 < float(str(artifact.facts["weight_of_the_heaviest_tenth"])) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token_weights": "odd"}, "token_weights = 'odd'; choose even or disagreement"),
        ({"token_weights": "disagreement", "loss": "sft"}, "leave it out with loss = sft"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Json], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        parse_options(options)
