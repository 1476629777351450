"""Text into tokens: one rule for suites, engines, detection, pairs and training, so that all of them mean the same prompt.

A tokenizer puts its own tokens around a text, such as begin-of-text, unless the text begins with that token already, as rendered chats
often do. A template that writes none gets the tokenizer's: so lm-eval's engines read it, and a suite that counted otherwise would be a
token too long.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def adds_special(tokenizer: "PreTrainedTokenizerBase", text: str) -> bool:
    """Tell whether the tokenizer's own tokens belong around ``text``."""
    begin = tokenizer.bos_token
    return not (isinstance(begin, str) and begin and text.startswith(begin))


def token_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Encode a prompt, rendered in a chat template or plain, as every engine reads it."""
    return list(tokenizer(text, add_special_tokens=adds_special(tokenizer, text))["input_ids"])
