"""The same prompt is the same tokens for suite, engines, detection, pairs and training, whatever tokenizer and template write around it."""

import copy
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from harness.builtin import MODEL_DIR
from harness.engines.framing import rendered_prompt
from harness.engines.served import Served
from harness.evaluation.suite import SuiteConfig, build_examples
from harness.models.tokens import token_ids
from retmask.heads.needle_texts import Needle
from retmask.heads.trials import _Prompt
from retmask.model import encode, render
from retmask.pairs.pairing import PreferencePair
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


def test_everyone_reads_the_same_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    for text in ("Where is the river?", " a blank, and the door"):
        rendered = render(tokenizer, text)
        ids = token_ids(tokenizer, rendered)
        assert ids.count(tokenizer.bos_token_id) <= 1
        assert engine(tokenizer).tok_encode(rendered) == ids
        assert engine(tokenizer).tok_batch_encode([rendered])[0][0].tolist() == ids
        served = Served.__new__(Served)
        served.tokenizer = tokenizer
        assert served.tok_encode(rendered) == ids
        assert encode(tokenizer, rendered) == ids
        (row,) = encode_pairs(tokenizer, [PreferencePair(text, "yes", "no")])
        assert row["prompt_ids"].tolist() == ids
    composed = _Prompt.compose(tokenizer, NEEDLE, SENTENCES, 1)
    assert composed.ids == token_ids(tokenizer, composed.text)


def test_no_example_is_longer_than_its_length(tokenizer: PreTrainedTokenizerBase) -> None:
    for framing in ("task", "chat"):
        for example in build_examples(SuiteConfig(("rag", "icl"), (512,), 2, 0, framing=framing), copy.copy(tokenizer)):
            rendered = rendered_prompt(tokenizer, example.prompt, example.answer_prefix, frame="completion" if framing == "task" else None)
            assert len(engine(tokenizer).tok_encode(rendered)) + 16 <= 512


def test_every_caller_asks_the_one_function() -> None:
    """Nobody decides by itself what a tokenizer adds to a prompt."""
    root = Path(__file__).parents[3]
    for path in (*root.glob("harness/**/*.py"), *root.glob("retmask/**/*.py")):
        if path.name != "tokens.py":
            assert "add_special_tokens=not" not in path.read_text(), path
