"""The user's turn, found in templates of every style."""

import pytest
from transformers import PreTrainedTokenizerBase

from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from retmask.model import load_tokenizer
from retmask.pairs.turns import UserTurn, user_turn
from tests.retmask.small import SPECIAL, TEMPLATE, byte_bpe

SYSTEM = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|user|>Be kind.<|end|>{% endif %}"
    "<|user|>\n{{ message['content'] }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
BRACKETS = "{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}"
HEADINGS = (
    "{% for message in messages %}### Instruction:\n{{ message['content'] }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)
MIXED = "{% for message in messages %}You: {{ message['content'] }} Bot:<|end|>{% endfor %}"
ENDLESS = "{% for message in messages %}User: {{ message['content'] }}{% endfor %}"
END, ASSISTANT = (SPECIAL.index(token) for token in ("<|end|>", "<|assistant|>"))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return byte_bpe()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (TEMPLATE, UserTurn("<|user|>", (END,))),
        (TEMPLATE.replace("<|end|>", "\n"), UserTurn("<|user|>", (ASSISTANT,))),
        (SYSTEM, UserTurn("<|user|>Be kind.<|end|><|user|>\n", (END,))),
        (BRACKETS, UserTurn("[INST]", (), " [/INST]")),
        (HEADINGS, UserTurn("### Instruction:\n", (), "\n\n### Response:")),
        (MIXED, UserTurn("You:", (), " Bot:")),
        (ENDLESS, UserTurn("User:")),
    ],
    ids=["plain", "next turn", "system prompt", "brackets", "headings", "text before a token", "nothing after it"],
)
def test_what_stands_around_a_users_words(tokenizer: PreTrainedTokenizerBase, template: str, expected: UserTurn) -> None:
    tokenizer.chat_template = template
    assert user_turn(tokenizer, "m") == expected


def test_the_shipped_models_turn() -> None:
    tokenizer = load_tokenizer(MODEL_DIR)
    assert user_turn(tokenizer, "builtin") == UserTurn("<|user|>\n", (tokenizer.convert_tokens_to_ids("<|end|>"),))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "m has no chat template, so it cannot write instructions of its own; name a source of instructions with prompts_from"),
        ("{{ raise_exception('no users here') }}", r"m cannot write instructions of its own: .*no users here.*, or name a source"),
        ("{{ messages[0]['role'] }}", "writes a user's message 0 times, not once"),
        ("{{ messages[0]['content'] }}<|end|>", "writes nothing before a user's message"),
        ("{{ messages[0]['content'] * 2 }}", "writes a user's message 2 times, not once"),
    ],
)
def test_a_template_without_a_users_turn(tokenizer: PreTrainedTokenizerBase, template: str | None, message: str) -> None:
    tokenizer.chat_template = template
    with pytest.raises(HarnessError, match=message) as caught:
        user_turn(tokenizer, "m")
    assert "\n" not in str(caught.value)
