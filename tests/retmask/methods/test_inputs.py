"""What a method is to be given and is not there is told before anything is measured, and by the plan too."""

from pathlib import Path

import pytest

from harness.api import HarnessError, Json, Model
from harness.methods import find_method
from harness.models.lookup import BUILTIN, resolve
from tests.retmask.directory import DirectoryContext

CONTEXT = {"prompts_from": "self-context", "prompts": 4}
METHODS = ("retmask", "sft", "smaller-model")


@pytest.fixture(scope="module")
def builtin() -> Model:
    return resolve(BUILTIN)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({**CONTEXT, "context_from": "absent"}, "context_from = 'absent' is not there"),
        ({**CONTEXT, "context_from": "empty.txt"}, "holds no text"),
        ({**CONTEXT, "context_from": "folder"}, "holds no text"),
        ({**CONTEXT, "context_from": "binary.txt"}, "binary.txt cannot be read as UTF-8 text"),
        ({"prompts_from": "absent.jsonl"}, "prompts_from = 'absent.jsonl': no such file"),
        ({"prompts_from": "selfcontext"}, "a data set on the Hub, self, self-context or generated"),
        ({"prompts_from": "empty.txt"}, "prompts_from = 'empty.txt': expected .jsonl"),
        ({"prompts": 0}, "prompts = 0; ask for at least 1"),
        ({"top_k": 40}, "top_k = 40: the model has 40 heads"),
        ({"pairs_from": "absent.jsonl"}, "absent.jsonl"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_measured(
    builtin: Model, method: str, options: dict[str, Json], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("empty.txt").write_text("")
    Path("binary.txt").write_bytes(bytes(range(256)))
    if "top_k" in options and method != "retmask":
        return
    options = {**options, **({"rejected_from": "model builtin"} if method == "smaller-model" else {})}
    plugin = find_method(method)
    context = DirectoryContext(tmp_path / "run", builtin.path, options)
    with pytest.raises(HarnessError) as refused:
        plugin.prepare(context)
    assert said in str(refused.value)
    assert not context.artifacts
    with pytest.raises(HarnessError) as refused:
        list(plugin.plan(options, builtin))
    assert said in str(refused.value)


def test_another_model_that_is_not_there_is_told_before_anything_is_measured(builtin: Model, tmp_path: Path) -> None:
    options: dict[str, Json] = {"rejected_from": f"model {tmp_path / 'absent'}"}
    with pytest.raises(HarnessError, match="absent"):
        find_method("smaller-model").prepare(DirectoryContext(tmp_path / "run", builtin.path, options))
