"""A model's configuration fetches no compiled code."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from harness.models.lookup import resolve


def with_config(tmp_path: Path, change: dict[str, Any]) -> Path:
    path = tmp_path / "model"
    shutil.copytree(MODEL_DIR, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **change}))
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"attn_implementation": "kernels-community/flash-attn"},
        {"_attn_implementation": "somebody/kernel@main:forward"},
        {"_attn_implementation_internal": "somebody/kernel"},
        {"attn_implementation": {"": "sdpa", "text_config": "somebody/kernel"}},
        {"text_config": {"attn_implementation": "somebody/kernel"}},
        {"experts_implementation": "somebody/kernel"},
        {"attn_implementation": "flash_attention_3"},
    ],
)
def test_a_kernel_in_a_configuration_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = with_config(tmp_path, change)
    with pytest.raises(HarnessError, match=r"config\.json: .*implementation.* would be fetched and run"):
        resolve(str(path))


@pytest.mark.parametrize("name", ["eager", "sdpa", None])
def test_what_transformers_has_itself_is_no_kernel(tmp_path: Path, name: str | None) -> None:
    assert resolve(str(with_config(tmp_path, {"attn_implementation": name}))).digest
