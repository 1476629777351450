"""Pairs as tokens: an answer that comes as text is put, and ends, as the chat template does it, if and only if it was finished."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from harness.builtin import MODEL_DIR
from retmask.model import encode, render
from retmask.pairs.pairing import PreferencePair, read_pairs, write_pairs
from retmask.pairs.turns import AssistantTurn, assistant_turn
from retmask.training.encoded_pairs import encode_pairs

USER = "{% for m in messages %}"
#: Name -> template, what stands before an answer, what ends it. `<E>` is a token of its own beside the end of text.
TEMPLATES = {
    "end of turn": (
        USER + "[{{ m.role }}] {{ m.content }}<E>{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}",
        "",
        "<E>",
    ),
    "a blank": (
        USER + "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        " ",
        "eos",
    ),
    "words": (
        USER + "{{ m.role }}: {{ m.content }} ##\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
        "",
        " ##",
    ),
    "no answers": ("{{ messages[0].content }}", "", "eos"),
}


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(MODEL_DIR)
    found.add_special_tokens({"additional_special_tokens": ["<E>"]})
    return found


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_answer_is_put_as_the_template_puts_it(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template, lead, end = TEMPLATES[name]
    end = str(tokenizer.eos_token) if end == "eos" else end
    assert assistant_turn(tokenizer) == AssistantTurn(lead, end)
    pair = PreferencePair("Where is it?", "in the river", "by the door", rejected_finished=False)
    (row,) = encode_pairs(tokenizer, [pair])
    prompt = render(tokenizer, pair.prompt)
    assert row["prompt_ids"].tolist() == encode(tokenizer, prompt)
    chosen, rejected = row["chosen_ids"].tolist(), row["rejected_ids"].tolist()
    assert tokenizer.decode([*row["prompt_ids"], *chosen]) == tokenizer.decode(encode(tokenizer, f"{prompt}{lead}in the river{end}"))
    assert chosen[-len(tokenizer(end, add_special_tokens=False)["input_ids"]) :] == tokenizer(end, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(rejected).strip() == "by the door", "an unfinished answer has no end"
    if name == "a blank":  # which makes one token with the word after it
        assert chosen[0] == tokenizer(" in", add_special_tokens=False)["input_ids"][0]


def test_without_a_template_the_end_of_text_ends_an_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = None
    (row,) = encode_pairs(tokenizer, [PreferencePair("the", "river", "door")])
    assert row["chosen_ids"].tolist()[-1] == tokenizer.eos_token_id


def test_tokens_are_taken_as_they_are(tokenizer: PreTrainedTokenizerBase) -> None:
    (row,) = encode_pairs(tokenizer, [PreferencePair("the", "river", "", (5, 6))])
    assert (row["chosen_ids"].tolist(), row["rejected_ids"].tolist()) == ([5, 6], [])


def test_the_shipped_models_answers_have_the_blank_of_its_template() -> None:
    tokenizer = AutoTokenizer.from_pretrained(Path(MODEL_DIR))
    assert assistant_turn(tokenizer) == AssistantTurn(" ", str(tokenizer.eos_token))


@pytest.mark.parametrize("cut", [True, False])
def test_a_text_beside_tokens_ends_as_they_do_where_nothing_says_how(tokenizer: PreTrainedTokenizerBase, cut: bool, tmp_path: Path) -> None:
    """Otherwise the end alone would tell the two apart."""
    end = tokenizer.eos_token_id
    ids = [5, 6] if cut else [5, 6, end]
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "the", "chosen": "river", "rejected": "door", "chosen_ids": ids}))
    (row,) = encode_pairs(tokenizer, read_pairs(path))
    assert (row["rejected_ids"].tolist()[-1] == end) is not cut
    write_pairs(read_pairs(path), path)
    (again,) = encode_pairs(tokenizer, read_pairs(path))
    assert again["rejected_ids"].tolist() == row["rejected_ids"].tolist()


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_blank_that_tokens_of_another_model_begin_with_is_the_templates(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = TEMPLATES[name][0]
    (row,) = encode_pairs(tokenizer, [PreferencePair("Where is it?", "in the river", " in the river")])
    assert row["chosen_ids"].tolist() == row["rejected_ids"].tolist()
