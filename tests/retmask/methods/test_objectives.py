"""Every objective for distributed heads, from its option to a checkpoint that was trained on the pairs it makes.

Hand-made cases of each stand with what does it: ``contrast`` in test_contrast.py, ``strength`` in heads/test_ablate.py and
heads/test_vllm_mask.py, ``token_weights`` in pairs/test_disagreement.py and training/test_train.py, ``self-context`` in
pairs/test_contexts.py, ``components`` in heads/test_components.py.
"""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.api import Artifact, Json, Outcome
from retmask.methods.retmask import RetMask
from retmask.pairs.contexts import CONTEXT
from retmask.pairs.pairing import read_pairs
from retmask.training.train import train
from tests.retmask.directory import DirectoryContext
from tests.retmask.small import unigram_model, word_level

OPTIONS: dict[str, Json] = {
    "detector": "query",
    "detection_lengths": [120],
    "detection_trials": 2,
    "prompts_from": "generated",
    "prompts": 8,
    "contrast_prompts": 8,
    "max_new_tokens": 6,
    "temperature": 1.0,
    "heads_after": False,
    "learning_rate": 1e-3,
    "epochs": 1.0,
    "batch_size": 4,
    "micro_batch_size": 4,
}


@pytest.fixture(autouse=True)
def _trains_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process; test_methods.py has the process that a run starts."""
    monkeypatch.setattr("retmask.stages.launch", lambda config, say, _command: train(config, say))


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that ends what it writes, so that it can write instructions."""
    path = tmp_path_factory.mktemp("speaker")
    unigram_model(word_level(), end=0.1).save_pretrained(path)
    word_level().save_pretrained(path)
    return path


def end_to_end(root: Path, checkpoint: Path, **options: Json) -> tuple[Outcome, dict[str, Artifact]]:
    """Run a method; its trained model has other weights than the one it began with."""
    context = DirectoryContext(root, checkpoint, {**OPTIONS, **options})
    outcome = RetMask().run(context)
    before, after = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (checkpoint, outcome.checkpoint))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    return outcome, {each.name: each for each in context.artifacts}


def test_contrast(words: Path, tmp_path: Path) -> None:
    outcome, steps = end_to_end(tmp_path, words, contrast=0.5)
    assert outcome.facts["masked heads"] == steps["contrast"].facts["k"]
    assert float(str(outcome.facts["share of answers that the mask changes"])) >= 0.5


def test_strength(words: Path, tmp_path: Path) -> None:
    outcome, steps = end_to_end(tmp_path, words, top_k=3, strength=0.5)
    assert outcome.facts["strength"] == 0.5
    assert steps["rejected-retmask"].manifest["inputs"]["strength"] == 0.5  # type: ignore[index,call-overload]


def test_token_weights(words: Path, tmp_path: Path) -> None:
    _, steps = end_to_end(tmp_path, words, top_k=3, token_weights="disagreement")
    weighted = read_pairs(steps["weights"].path / "pairs.jsonl")
    assert all(len(set(pair.chosen_weights)) > 1 for pair in weighted if len(pair.chosen_ids) > 1)
    plain = steps["pairs"].manifest["facts"]
    assert len(weighted) == plain["pairs"]  # type: ignore[index,call-overload]


def test_token_weights_change_what_is_learned(words: Path, tmp_path: Path) -> None:
    even, weighted = (
        AutoModelForCausalLM.from_pretrained(end_to_end(tmp_path, words, top_k=3, token_weights=weights)[0].checkpoint).state_dict()
        for weights in ("even", "disagreement")
    )
    assert max(float((even[name] - weighted[name]).abs().max()) for name in even) > 1e-5


def test_self_context(speaker: Path, tmp_path: Path) -> None:
    outcome, steps = end_to_end(tmp_path, speaker, top_k=3, prompts_from=CONTEXT, context_tokens=32, prompts_max_tokens=40)
    assert all("A question about this text:" in instruction for instruction in outcome.instructions)
    assert {pair.prompt for pair in read_pairs(steps["pairs"].path / "pairs.jsonl")} >= set(outcome.instructions)


@pytest.mark.parametrize(("component", "name", "top_k"), [("mlp", "neurons", 12), ("layers", "layers", 1)])
def test_components(words: Path, tmp_path: Path, component: str, name: str, top_k: int) -> None:
    outcome, steps = end_to_end(tmp_path, words, components=component, top_k=top_k, detector="copy")
    assert outcome.facts[f"masked {name}"] == top_k
    assert steps["rejected-retmask"].manifest["inputs"]["component"] == component  # type: ignore[index,call-overload]
