"""Tokenizers, without a model's weights."""

from typing import TYPE_CHECKING

from harness.api import Model
from harness.models.loading import loading, try_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(model: Model) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a model's directory. HarnessError for one that cannot be loaded, or is not sound."""
    from transformers import AutoTokenizer

    with loading(model.path):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model.path, trust_remote_code=model.trust_remote_code)
    try_tokenizer(tokenizer, model.path)
    return tokenizer
