"""Fixtures of the retmask tests."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that tests.retmask.small is found however pytest was started

from tests.retmask.small import byte_bpe, random_model

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """The machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """The byte-level one, with a chat template."""
    return byte_bpe()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase) -> Path:
    """A small random Llama with its tokenizer, on disk."""
    path = tmp_path_factory.mktemp("llama")
    random_model("Llama").save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
