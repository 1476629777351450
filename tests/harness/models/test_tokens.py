"""The same prompt is the same tokens for suite, engines, detection, pairs and training, whatever tokenizer and template write around it.

Ten shapes: five templates, with a tokenizer that adds a begin-of-text token and with one that adds none.
"""

import copy
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from harness.builtin import MODEL_DIR
from harness.engines.framing import rendered_prompt
from harness.engines.served import Served
from harness.engines.vllm import VLLMBackend
from harness.evaluation import suite
from harness.evaluation.suite import SuiteConfig, build_examples
from harness.models.tokens import token_ids
from retmask.heads.needle_texts import Needle
from retmask.heads.trials import _Prompt
from retmask.model import render
from retmask.pairs import hf_sampler, vllm_sampler
from retmask.pairs.pairing import PreferencePair
from retmask.pairs.responses import Sampling
from retmask.training.encoded_pairs import encode_pairs

NEEDLE = Needle("a", "The secret of the river is a wet door.", "What is the secret of the river?", "a wet door")
SENTENCES = ["The map was old.", "Nobody saw it.", "It rained."]
TURNS = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}[assistant]"
TEMPLATES = {
    "none": None,
    "without bos": TURNS,  # Zephyr, TinyLlama
    "with bos": "{{ bos_token }}" + TURNS,  # Llama 3, Gemma
    "with another token": "<E>" + TURNS,  # ChatML
    "with a blank first": " " + TURNS,
}
SHAPES = list(product(TEMPLATES, [True, False]))


@pytest.fixture(params=SHAPES, ids=lambda shape: f"{shape[0]}, {'adds' if shape[1] else 'no'} bos")
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    template, adds = request.param
    found: Any = AutoTokenizer.from_pretrained(MODEL_DIR)
    found.add_special_tokens({"bos_token": "<B>", "additional_special_tokens": ["<E>"]})
    if adds:
        found.backend_tokenizer.post_processor = TemplateProcessing(single="<B> $A", special_tokens=[("<B>", found.bos_token_id)])
    found.chat_template = TEMPLATES[template]
    return found  # type: ignore[no-any-return]


def engine(tokenizer: PreTrainedTokenizerBase) -> HFLM:
    """lm-eval's engine as far as it encodes."""
    found = HFLM.__new__(HFLM)
    found.tokenizer, found.add_bos_token, found.custom_prefix_token_id = tokenizer, None, None  # type: ignore[assignment]
    found.backend, found.truncation = "causal", False  # type: ignore[assignment]
    found._config = SimpleNamespace()  # type: ignore[assignment]
    return found


def sampled(tokenizer: PreTrainedTokenizerBase, text: str) -> Iterator[list[int]]:
    """What both samplers of pairs would read of an instruction."""
    drawn: list[list[int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hf_sampler, "_draw", lambda _model, _tokenizer, encoded, *_: drawn.append(encoded(0)))
        patch.setattr(vllm_sampler.VLLMSampler, "_draw", lambda _self, encoded, *_: drawn.append(encoded(0)))
        how, journal = Sampling(), Path()
        hf_sampler.sample(cast("Any", None), tokenizer, [text], how, journal)
        by_vllm = vllm_sampler.VLLMSampler.__new__(vllm_sampler.VLLMSampler)
        by_vllm.tokenizer = tokenizer
        by_vllm.sample([text], how, None, journal)
    assert len(drawn) == 2
    yield from drawn


#: Letters and what templates, tokenizers and models write: their own tokens, blanks, ends of lines, another script.
PIECES = ("a", "The", " ", "  ", "\n", "river", "<B>", "<E>", "<|end|>", "[user]", "\u6771", "\u00e9", "7,301")
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("Where is the river?")
@example(" a blank, and the door")
@example("<B>begun already")
@given(TEXTS)
def test_everyone_reads_the_same_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """hf, vllm, served, pairs and training; detection and suite have tests of their own below, against the same engine."""
    rendered = render(tokenizer, text)
    ids = token_ids(tokenizer, rendered)
    assert engine(tokenizer).tok_encode(rendered) == ids
    assert engine(tokenizer).tok_batch_encode([rendered])[0][0].tolist() == ids
    for backend in (Served, VLLMBackend):
        found = backend.__new__(backend)
        found.tokenizer = tokenizer
        assert found.tok_encode(rendered) == ids
    assert list(sampled(tokenizer, text)) == [ids, ids]
    (row,) = encode_pairs(tokenizer, [PreferencePair(text, "yes", "no")])
    assert row["prompt_ids"].tolist() == ids


def test_at_most_one_token_begins_the_text(tokenizer: PreTrainedTokenizerBase) -> None:
    for text in ("Where is the river?", " a blank, and the door"):
        assert token_ids(tokenizer, render(tokenizer, text)).count(tokenizer.bos_token_id) <= 1


def test_detection_reads_the_same_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    for boundary in range(len(SENTENCES) + 1):
        composed = _Prompt.compose(tokenizer, NEEDLE, SENTENCES, boundary)
        assert composed.ids == engine(tokenizer).tok_encode(composed.text)


def test_a_suite_counts_the_same_tokens(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: dict[str, list[int]] = {}

    def seen(asked: PreTrainedTokenizerBase, text: str) -> list[int]:
        counted[text] = token_ids(asked, text)
        return counted[text]

    monkeypatch.setattr(suite, "token_ids", seen)
    for framing in ("task", "chat"):
        list(build_examples(SuiteConfig(("rag", "icl"), (512,), 1, 0, framing=framing), copy.copy(tokenizer)))
    assert counted
    for text, ids in counted.items():
        assert engine(tokenizer).tok_encode(text) == ids


def test_no_example_is_longer_than_its_length(tokenizer: PreTrainedTokenizerBase) -> None:
    for framing in ("task", "chat"):
        for built in build_examples(SuiteConfig(("rag", "icl"), (512,), 2, 0, framing=framing), copy.copy(tokenizer)):
            rendered = rendered_prompt(tokenizer, built.prompt, built.answer_prefix, frame="completion" if framing == "task" else None)
            assert len(engine(tokenizer).tok_encode(rendered)) + 16 <= 512


def test_every_caller_asks_the_one_function() -> None:
    """Nobody decides by itself what a tokenizer adds to a prompt."""
    root = Path(__file__).parents[3]
    for path in (*root.glob("harness/**/*.py"), *root.glob("retmask/**/*.py")):
        if path.name != "tokens.py":
            assert "add_special_tokens=not" not in path.read_text(), path
