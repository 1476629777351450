"""What the methods' tests share."""

from pathlib import Path

import pytest

from tests.retmask.small import random_model, word_level


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose tokenizer makes short prompts."""
    path = tmp_path_factory.mktemp("words")
    random_model("Llama").save_pretrained(path)
    word_level().save_pretrained(path)
    return path
